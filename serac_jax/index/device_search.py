"""Compiled programs over keys in slots that are split over devices: write, grow, search.

Each device searches its own rows, and the results are merged.
"""

from __future__ import annotations

from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int, Int8, UInt16, UInt32

from serac_jax.core.arrays import AnyArray, OneKind
from serac_jax.core.sharding import path_name, spec
from serac_jax.index.distance import Distance, log_similarity

# Storage types. bfloat16 is stored as its bits, since CPUs widen all of it to write or slice it.
KINDS = {"float32": jnp.float32, "bfloat16": jnp.uint16, "int8": jnp.int8}
COLUMNS = 1024  # of folded scores, see `largest`


class Stored(NamedTuple):
    """keys: "c d", of one of KINDS; those that are not float32 only propose. scales: "c 1", what a
    key of int8 is multiplied by; None for others.

    squares: "c h", the squared lengths of what is kept, a head each. tags: "c w", bits.
    """

    keys: Float[Array, "c d"] | UInt16[Array, "c d"] | Int8[Array, "c d"]
    scales: Float[Array, "c 1"] | None
    squares: Float[Array, "c h"]
    tags: UInt32[Array, "c w"]


def specs(stored: Stored) -> Any:
    """How each leaf is split, by the table of `serac_jax.core.sharding`."""

    def of_leaf(path: tuple[Any, ...], leaf: Array) -> P:
        return spec(f"index/{path_name(path)}", leaf.shape)

    return jax.tree_util.tree_map_with_path(of_leaf, stored)


def shardings(stored: Stored, mesh: Mesh) -> Any:
    def of_spec(found: P) -> NamedSharding:
        return NamedSharding(mesh, found)

    return jax.tree.map(of_spec, specs(stored), is_leaf=lambda leaf: isinstance(leaf, P))


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def blank(rows: int, width: int, heads: int, kind: str, mesh: Mesh) -> Stored:
    """Empty slots."""
    stored = Stored(
        jnp.zeros((rows, width), KINDS[kind]),
        jnp.zeros((rows, 1), jnp.float32) if kind == "int8" else None,
        jnp.zeros((rows, heads), jnp.float32),
        jnp.zeros((rows, 1), jnp.uint32),
    )
    return jax.lax.with_sharding_constraint(stored, shardings(stored, mesh))


@partial(jax.jit, static_argnames=("rows", "words", "mesh"))
def grown(stored: Stored, *, rows: int, words: int, mesh: Mesh) -> Stored:
    """Appends empty slots and words of tags."""

    def longer(leaf: Array) -> Array:
        return jnp.pad(leaf, ((0, rows - leaf.shape[0]), (0, 0)))

    more = jax.tree.map(longer, stored)
    more = more._replace(tags=jnp.pad(more.tags, ((0, 0), (0, words - more.tags.shape[1]))))
    return jax.lax.with_sharding_constraint(more, shardings(more, mesh))


@partial(jax.jit, donate_argnums=0, static_argnames="mesh")
def fill(
    stored: Stored,
    slots: Int[Array, " n"],
    keys: Float[Array, "n d"],
    tags: UInt32[Array, "n w"],
    *,
    mesh: Mesh,
) -> Stored:
    """Writes slots; rows with slot −1 are padding."""

    def part(stored: Stored, slots: Array, keys: Array, tags: Array) -> Stored:
        kept, scales = packed(keys, stored.keys.dtype)
        heads = numbers(kept, scales).reshape(
            keys.shape[0], stored.squares.shape[1], -1
        )  # lengths of the rounded keys, which err least for near ones
        at = own(slots, stored)

        def changed(leaf: Array, rows: Array) -> Array:
            return leaf.at[at].set(rows, mode="drop")

        new = Stored(kept, scales, jnp.square(heads).sum(-1), tags)
        return jax.tree.map(changed, stored, new)

    return jax.shard_map(
        part,
        mesh=mesh,
        in_specs=(specs(stored), P(), P(), P()),
        out_specs=specs(stored),
        check_vma=False,
    )(stored, slots, keys, tags)


@partial(jax.jit, donate_argnums=0, static_argnames="mesh")
def empty(stored: Stored, slots: Int[Array, " n"], *, mesh: Mesh) -> Stored:
    """Makes slots invisible to every query; slots −1 are padding."""

    def part(stored: Stored, slots: Array) -> Stored:
        return stored._replace(
            tags=stored.tags.at[own(slots, stored)].set(jnp.uint32(0), mode="drop")
        )

    return jax.shard_map(
        part, mesh=mesh, in_specs=(specs(stored), P()), out_specs=specs(stored), check_vma=False
    )(stored, slots)


def packed(keys: Float[Array, "n d"], dtype: Any) -> tuple[Array, Float[Array, "n 1"] | None]:
    """Keys in their storage type, and the factors of int8 keys (a row's largest value / 127)."""
    if dtype == jnp.float32:
        return keys, None
    if dtype == jnp.uint16:
        return jax.lax.bitcast_convert_type(keys.astype(jnp.bfloat16), jnp.uint16), None
    scales = jnp.abs(keys).max(-1, keepdims=True) / 127.0
    return jnp.round(keys / jnp.where(scales > 0, scales, 1.0)).astype(jnp.int8), scales


def numbers(keys: Array, scales: Array | None) -> Float[Array, "n d"]:
    """Stored keys in float32."""
    if keys.dtype == jnp.uint16:
        return jax.lax.bitcast_convert_type(keys, jnp.bfloat16).astype(jnp.float32)
    return keys.astype(jnp.float32) if scales is None else keys.astype(jnp.float32) * scales


def is_exact(stored: Stored) -> bool:
    return stored.keys.dtype == jnp.float32


def own(slots: Int[Array, " n"], stored: Stored) -> Int[Array, " n"]:
    """Slots as rows of this device; other devices' slots become out of range and are dropped."""
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
    """The k best of `proposed` candidates from every device, best first.

    Returns:
      Slots, and log-similarities if keys are float32, else scores as from `rough`; −∞ where there
      are fewer.
    """
    part = partial(of_device, proposed=proposed, block=block, distance=distance)
    slots, scores = jax.shard_map(
        part,
        mesh=mesh,
        in_specs=(specs(stored), P(), P()),
        out_specs=P(None, "data"),
        check_vma=False,
    )(stored, queries, seen)
    scores, at = jax.lax.top_k(scores, k)
    return jnp.take_along_axis(slots, at, -1), scores


def of_device(
    stored: Stored, queries: Array, seen: Array, *, proposed: int, block: int, distance: Distance
) -> tuple[Int[Array, "n p"], Float[Array, "n p"]]:
    """Selects candidates block by block by matrix products; float32 keys are then scored by the
    classifier's own distance."""
    rows, kept = queries.shape[0], min(proposed, block)

    def step(best: tuple[Array, Array], start: Array) -> tuple[tuple[Array, Array], None]:
        def sliced(leaf: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(leaf, start, block)

        keys, scales, squares, tags = jax.tree.map(sliced, stored)
        closeness = rough(queries, numbers(keys, scales), squares, distance)
        top, at = largest(jnp.where(visible(tags, seen), closeness, -jnp.inf), kept)
        both = jnp.concatenate([best[0], top], -1), jnp.concatenate([best[1], at + start], -1)
        top, at = jax.lax.top_k(both[0], kept)
        return (top, jnp.take_along_axis(both[1], at, -1)), None

    count = stored.tags.shape[0]
    nothing = jnp.full((rows, kept), -jnp.inf), jnp.zeros((rows, kept), jnp.int32)
    (scores, slots), _ = jax.lax.scan(step, nothing, jnp.arange(0, count, block, dtype=jnp.int32))
    if is_exact(stored):
        scores = jnp.where(
            scores > -jnp.inf,
            log_similarity(stored.keys[slots], queries[:, None], distance),
            -jnp.inf,
        )
    return slots + jax.lax.axis_index("data") * count, scores


def visible(tags: UInt32[AnyArray, "b w"], seen: UInt32[AnyArray, "n w"]) -> Bool[AnyArray, "n b"]:
    """Whether a query sees a slot."""
    return ((tags[None] & seen[:, None]) != 0).any(-1)


def largest(scores: Float[Array, "n b"], k: int) -> tuple[Float[Array, "n k"], Int[Array, "n k"]]:
    """The k largest values of each row, and their positions.

    Long rows are folded into columns: the k largest lie in the k columns with the largest maxima,
    and a maximum is cheaper than a sort.
    """
    count = scores.shape[1]
    if count % COLUMNS or count // COLUMNS < 2 or k >= COLUMNS:
        found, at = jax.lax.top_k(scores, k)
        return found, at
    folded = scores.reshape(-1, count // COLUMNS, COLUMNS)
    columns = jax.lax.top_k(folded.max(1), k)[1]
    found, at = jax.lax.top_k(
        jnp.take_along_axis(folded, columns[:, None], 2).reshape(scores.shape[0], -1), k
    )
    return found, at // k * COLUMNS + jnp.take_along_axis(columns, at % k, -1)


def rough(
    queries: Float[OneKind, "n d"],
    keys: Float[OneKind, "b d"],
    lengths_keys: Float[OneKind, "b h"],
    distance: Distance,
    xp: Any = jnp,
) -> Float[OneKind, "n b"]:
    """Closeness that orders as the distance does up to rounding: products and squared lengths.

    Args:
      xp: The arrays' module: jax.numpy or numpy.
    """

    def of_head(head: int) -> Float[OneKind, "n b"]:
        own = slice(head * width, (head + 1) * width)
        a, b = queries[:, own], keys[:, own]
        length, length_key = xp.square(a).sum(-1, keepdims=True), lengths_keys[None, :, head]
        if distance.cosine:
            scale = xp.sqrt(length * length_key)
            return product(a, b.T) / xp.where(scale > 0, scale, 1.0)
        return product(2.0 * a, b.T) - length_key - length

    product = xp.matmul if xp is np else partial(jnp.matmul, precision="highest")
    width = keys.shape[1] // distance.heads
    return reduce(xp.maximum, map(of_head, range(distance.heads)))


@partial(jax.jit, static_argnames=("k", "distance"))
def rescored(
    keys: Float[Array, "n p d"],
    queries: Float[Array, "n d"],
    rough_scores: Float[Array, "n p"],
    *,
    k: int,
    distance: Distance,
) -> tuple[Int[Array, "n k"], Float[Array, "n k"]]:
    """The k best of exact keys that were proposed, by their places, and their log-similarities."""
    scores, at = jax.lax.top_k(
        jnp.where(
            rough_scores > -jnp.inf, log_similarity(keys, queries[:, None], distance), -jnp.inf
        ),
        k,
    )
    return at, scores
