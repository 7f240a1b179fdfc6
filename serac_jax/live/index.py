"""Which stored keys are nearest to a query's vector: exact, on the device, a block of keys at a time, with room that doubles.

`Index` is what the editor asks for; any other search behind the same three functions may take the place of `BlockedIndex`.
"""

from __future__ import annotations

from functools import partial
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

from serac_jax.editors.scope import Distance, log_similarity

BLOCK = 16_384  # keys compared at a time; bounds what a search of many queries allocates
FEWEST = 256  # slots to begin with
SPARE = 8  # candidates beyond the k asked for, so that rounding in the blocked pass loses none before the exact one


class Index(Protocol):
    """Keys in numbered slots; `tags` are bits (live/tags.py), and a query finds a slot where the two have a bit in common."""

    def put(self, slots: Int[np.ndarray, " n"], keys: Float[Array, "n d"], tags: UInt32[np.ndarray, "n w"]) -> None:
        """Fills slots; rows whose slot is −1 are padding."""
        ...

    def drop(self, slots: Int[np.ndarray, " n"]) -> None:
        """Empties slots."""
        ...

    def search(self, queries: Float[Array, "n d"], seen: UInt32[np.ndarray, "n w"], k: int) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
        """The k nearest slots that a query sees, best first, and their log-similarities, −∞ where there are fewer."""
        ...


class BlockedIndex:
    """A program is compiled for every capacity, number of queries (a power of two) and k: log₂ n times for n inserts."""

    def __init__(self, width: int, distance: Distance):
        self.distance = distance
        self.keys = jnp.zeros((FEWEST, width), jnp.float32)
        self.squares = jnp.zeros((FEWEST, distance.heads), jnp.float32)
        self.tags = jnp.zeros((FEWEST, 1), jnp.uint32)

    @property
    def capacity(self) -> int:
        return self.keys.shape[0]

    def put(self, slots: Int[np.ndarray, " n"], keys: Float[Array, "n d"], tags: UInt32[np.ndarray, "n w"]) -> None:
        self.grow(int(slots.max(initial=-1)) + 1, tags.shape[1])
        where = np.where(slots < 0, self.capacity, slots).astype(np.int32)  # padding goes past the end, where it is dropped
        self.keys, self.squares, self.tags = fill(self.keys, self.squares, self.tags, where, keys, self.widened(tags))

    def drop(self, slots: Int[np.ndarray, " n"]) -> None:
        where = np.full(1 << max(len(slots) - 1, 0).bit_length(), self.capacity, np.int32)
        where[: len(slots)] = slots
        self.tags = empty(self.tags, where)

    def search(self, queries: Float[Array, "n d"], seen: UInt32[np.ndarray, "n w"], k: int) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
        block = min(BLOCK, self.capacity)
        found = nearest(self.keys, self.squares, self.tags, queries, self.widened(seen), k=k, block=block, distance=self.distance)
        slots, scores = jax.device_get(found)
        return slots, scores

    def grow(self, slots: int, words: int) -> None:
        """Doubles the room, and the words of tags, until both fit."""
        capacity, wide = self.capacity, self.tags.shape[1]
        while capacity < slots:
            capacity *= 2
        if more := capacity - self.capacity:
            self.keys, self.squares, self.tags = (jnp.pad(leaf, ((0, more), (0, 0))) for leaf in (self.keys, self.squares, self.tags))
        if words > wide:
            self.tags = jnp.pad(self.tags, ((0, 0), (0, words - wide)))

    def widened(self, tags: UInt32[np.ndarray, "n w"]) -> UInt32[np.ndarray, "n v"]:
        """Tags with as many words as are stored; tags that no stored edit has are seen nowhere."""
        words = self.tags.shape[1]
        return np.pad(tags, ((0, 0), (0, max(words - tags.shape[1], 0))))[:, :words]


@partial(jax.jit, donate_argnums=(0, 1, 2))
def fill(keys: Array, squares: Array, tags: Array, slots: Array, new: Array, new_tags: Array) -> tuple[Array, Array, Array]:
    """The three stores with rows written; slots past the end are dropped."""
    lengths = jnp.square(new.reshape(new.shape[0], squares.shape[1], -1)).sum(-1)
    return keys.at[slots].set(new, mode="drop"), squares.at[slots].set(lengths, mode="drop"), tags.at[slots].set(new_tags, mode="drop")


@partial(jax.jit, donate_argnums=0)
def empty(tags: Array, slots: Array) -> Array:
    return tags.at[slots].set(jnp.uint32(0), mode="drop")


@partial(jax.jit, static_argnames=("k", "block", "distance"))
def nearest(
    keys: Float[Array, "c d"],
    squares: Float[Array, "c h"],
    tags: UInt32[Array, "c w"],
    queries: Float[Array, "n d"],
    seen: UInt32[Array, "n w"],
    *,
    k: int,
    block: int,
    distance: Distance,
) -> tuple[Int[Array, "n k"], Float[Array, "n k"]]:
    """Proposes k + SPARE slots by products of blocks, then scores these as the classifier was trained."""
    rows, kept = queries.shape[0], min(k + SPARE, block)
    lengths = jnp.square(queries.reshape(rows, distance.heads, -1)).sum(-1)

    def step(best: tuple[Array, Array], start: Array) -> tuple[tuple[Array, Array], None]:
        stored, lengths_stored, tagged = (jax.lax.dynamic_slice_in_dim(leaf, start, block) for leaf in (keys, squares, tags))
        closeness = rough(queries, lengths, stored, lengths_stored, distance)
        allowed = ((tagged[None] & seen[:, None]) != 0).any(-1)
        top, at = jax.lax.top_k(jnp.where(allowed, closeness, -jnp.inf), kept)
        both = jnp.concatenate([best[0], top], -1), jnp.concatenate([best[1], at + start], -1)
        top, at = jax.lax.top_k(both[0], kept)
        return (top, jnp.take_along_axis(both[1], at, -1)), None

    nothing = jnp.full((rows, kept), -jnp.inf), jnp.zeros((rows, kept), jnp.int32)
    (closeness, slots), _ = jax.lax.scan(step, nothing, jnp.arange(0, keys.shape[0], block, dtype=jnp.int32))
    exact = log_similarity(keys[slots], queries[:, None], distance)
    scores, at = jax.lax.top_k(jnp.where(closeness > -jnp.inf, exact, -jnp.inf), k)
    return jnp.take_along_axis(slots, at, -1), scores


def rough(queries: Float[Array, "n d"], lengths: Array, keys: Float[Array, "b d"], lengths_keys: Array, distance: Distance) -> Float[Array, "n b"]:
    """How near, in the order of the distance up to rounding, from products and squared lengths of the heads' slices."""
    a, b = (leaf.reshape(leaf.shape[0], distance.heads, -1) for leaf in (queries, keys))
    products = jnp.einsum("nhe,bhe->nbh", a, b, precision="highest")
    if distance.cosine:
        scale = jnp.sqrt(lengths[:, None] * lengths_keys[None])
        return (products / jnp.where(scale > 0, scale, 1.0)).max(-1)
    return (2.0 * products - lengths[:, None] - lengths_keys[None]).max(-1)
