"""Compiled programs on keys in slots, whose rows are split over devices: writing some, making room, and finding the nearest.

Every device searches its own rows, a block at a time; what the devices find is then merged.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int, UInt16, UInt32

from serac_jax.editors.scope import Distance, log_similarity
from serac_jax.sharding import path_name, spec


class Stored(NamedTuple):
    """keys: "c d", float32; or, where they only propose, the bits of bfloat16, which no CPU writes or slices without widening all of them.

    squares: "c h", the keys' squared lengths, a head each. tags: "c w", bits.
    """

    keys: Float[Array, "c d"] | UInt16[Array, "c d"]
    squares: Float[Array, "c h"]
    tags: UInt32[Array, "c w"]


def specs(stored: Stored) -> Any:
    """How each leaf is split, by the table of `serac_jax.sharding`."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: spec(f"index/{path_name(path)}", leaf.shape), stored)


def shardings(stored: Stored, mesh: Mesh) -> Any:
    return jax.tree.map(lambda found: NamedSharding(mesh, found), specs(stored), is_leaf=lambda leaf: isinstance(leaf, P))


def blank(rows: int, width: int, heads: int, exact: bool, mesh: Mesh) -> Stored:
    """Empty slots."""
    stored = Stored(jnp.zeros((rows, width), jnp.float32 if exact else jnp.uint16), jnp.zeros((rows, heads), jnp.float32), jnp.zeros((rows, 1), jnp.uint32))
    return jax.device_put(stored, shardings(stored, mesh))


@partial(jax.jit, static_argnames=("rows", "words", "mesh"))
def grown(stored: Stored, *, rows: int, words: int, mesh: Mesh) -> Stored:
    """The same with more empty slots behind, and more words of tags."""
    capacity, wide = stored.tags.shape
    keys, squares, tags = (jnp.pad(leaf, ((0, rows - capacity), (0, more))) for leaf, more in zip(stored, (0, 0, words - wide), strict=True))
    more = Stored(keys, squares, tags)
    return jax.lax.with_sharding_constraint(more, shardings(more, mesh))


@partial(jax.jit, donate_argnums=0, static_argnames="mesh")
def fill(stored: Stored, slots: Int[Array, " n"], keys: Float[Array, "n d"], tags: UInt32[Array, "n w"], *, mesh: Mesh) -> Stored:
    """Slots written; what belongs into no slot has the number −1."""

    def part(stored: Stored, slots: Array, keys: Array, tags: Array) -> Stored:
        kept = keys if is_exact(stored) else jax.lax.bitcast_convert_type(keys.astype(jnp.bfloat16), jnp.uint16)
        heads = numbers(kept).reshape(keys.shape[0], stored.squares.shape[1], -1)  # lengths of what is stored: then near keys err least
        new, at = Stored(kept, jnp.square(heads).sum(-1), tags), own(slots, stored)
        return Stored(*(leaf.at[at].set(rows, mode="drop") for leaf, rows in zip(stored, new, strict=True)))

    return jax.shard_map(part, mesh=mesh, in_specs=(specs(stored), P(), P(), P()), out_specs=specs(stored), check_vma=False)(stored, slots, keys, tags)


@partial(jax.jit, donate_argnums=0, static_argnames="mesh")
def empty(stored: Stored, slots: Int[Array, " n"], *, mesh: Mesh) -> Stored:
    """Slots that nobody sees any more; −1 is none."""

    def part(stored: Stored, slots: Array) -> Stored:
        return stored._replace(tags=stored.tags.at[own(slots, stored)].set(jnp.uint32(0), mode="drop"))

    return jax.shard_map(part, mesh=mesh, in_specs=(specs(stored), P()), out_specs=specs(stored), check_vma=False)(stored, slots)


def is_exact(stored: Stored) -> bool:
    return stored.keys.dtype == jnp.float32


def numbers(keys: Array) -> Float[Array, "n d"]:
    """Stored keys in float32."""
    return keys if keys.dtype == jnp.float32 else jax.lax.bitcast_convert_type(keys, jnp.bfloat16).astype(jnp.float32)


def own(slots: Int[Array, " n"], stored: Stored) -> Int[Array, " n"]:
    """Slots as rows of this device; those of others are past its end, where they are dropped."""
    rows = stored.tags.shape[0]
    at = slots - jax.lax.axis_index("data") * rows
    return jnp.where((slots >= 0) & (at >= 0) & (at < rows), at, rows)


@partial(jax.jit, static_argnames=("proposed", "k", "block", "distance", "mesh"))
def nearest(
    stored: Stored,
    queries: Float[Array, "n d"],
    seen: UInt32[Array, "n w"],
    *,
    proposed: int,
    k: int,
    block: int,
    distance: Distance,
    mesh: Mesh,
) -> tuple[Int[Array, "n k"], Float[Array, "n k"]]:
    """The k best slots, best first, of `proposed` from every device, and how near: log-similarities of exact keys, for others what `rough` gives.

    −∞ where there are fewer.
    """
    part = partial(of_device, proposed=proposed, block=block, distance=distance)
    slots, scores = jax.shard_map(part, mesh=mesh, in_specs=(specs(stored), P(), P()), out_specs=P(None, "data"), check_vma=False)(stored, queries, seen)
    scores, at = jax.lax.top_k(scores, k)
    return jnp.take_along_axis(slots, at, -1), scores


def of_device(stored: Stored, queries: Array, seen: Array, *, proposed: int, block: int, distance: Distance) -> tuple[Int[Array, "n p"], Float[Array, "n p"]]:
    """Proposes slots by products of blocks, then scores these, where keys are exact, as the classifier was trained."""
    rows, kept = queries.shape[0], min(proposed, block)
    lengths = jnp.square(queries.reshape(rows, distance.heads, -1)).sum(-1)

    def step(best: tuple[Array, Array], start: Array) -> tuple[tuple[Array, Array], None]:
        keys, squares, tags = (jax.lax.dynamic_slice_in_dim(leaf, start, block) for leaf in stored)
        closeness = rough(queries, lengths, numbers(keys), squares, distance)
        allowed = ((tags[None] & seen[:, None]) != 0).any(-1)
        top, at = jax.lax.top_k(jnp.where(allowed, closeness, -jnp.inf), kept)
        both = jnp.concatenate([best[0], top], -1), jnp.concatenate([best[1], at + start], -1)
        top, at = jax.lax.top_k(both[0], kept)
        return (top, jnp.take_along_axis(both[1], at, -1)), None

    count = stored.tags.shape[0]
    nothing = jnp.full((rows, kept), -jnp.inf), jnp.zeros((rows, kept), jnp.int32)
    (scores, slots), _ = jax.lax.scan(step, nothing, jnp.arange(0, count, block, dtype=jnp.int32))
    if is_exact(stored):
        scores = jnp.where(scores > -jnp.inf, log_similarity(stored.keys[slots], queries[:, None], distance), -jnp.inf)
    return slots + jax.lax.axis_index("data") * count, scores


def rough(queries: Float[Array, "n d"], lengths: Array, keys: Float[Array, "b d"], lengths_keys: Array, distance: Distance) -> Float[Array, "n b"]:
    """How near, in the order of the distance up to rounding, from products and squared lengths of the heads' slices."""
    a, b = (leaf.reshape(leaf.shape[0], distance.heads, -1) for leaf in (queries, keys))
    products = jnp.einsum("nhe,bhe->nbh", a, b, precision="highest")
    if distance.cosine:
        scale = jnp.sqrt(lengths[:, None] * lengths_keys[None])
        return (products / jnp.where(scale > 0, scale, 1.0)).max(-1)
    return (2.0 * products - lengths[:, None] - lengths_keys[None]).max(-1)


@partial(jax.jit, static_argnames=("k", "distance"))
def rescored(
    keys: Float[Array, "n p d"], queries: Float[Array, "n d"], rough_scores: Float[Array, "n p"], *, k: int, distance: Distance
) -> tuple[Int[Array, "n k"], Float[Array, "n k"]]:
    """The k best of exact keys that were proposed, by their places, and their log-similarities."""
    scores, at = jax.lax.top_k(jnp.where(rough_scores > -jnp.inf, log_similarity(keys, queries[:, None], distance), -jnp.inf), k)
    return at, scores
