"""What a decoder remembers from one position to the next."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

Pair = tuple[Array, Array]  # keys and values, "n l h d"
Prefix = tuple[Pair, ...]  # every layer's, of a text that all rows continue, "1 p h d"; (): none


class Cache(NamedTuple):
    """Keys and values of every layer; all arrays have a row per text.

    Args:
        own: of the decoder's own positions, with room for those to come.
        length: how many of those positions each row has; rows may differ.
        encoded: of the encoder's output, in encoder–decoder networks.
        mask: true on real tokens of the encoder's input.
    """

    own: tuple[Pair, ...]
    length: Int[Array, " n"]
    encoded: tuple[Pair, ...] = ()
    mask: Bool[Array, "n l"] | None = None

    @property
    def room(self) -> int:
        """How many positions fit."""
        return self.own[0][0].shape[1]

    @property
    def seen(self) -> Bool[Array, "n 1 1 c"]:
        """The positions that the next token of each row attends to, itself included."""
        return (jnp.arange(self.room)[None] <= self.length[:, None])[:, None, None]


def blank(rows: int, room: int, layers: int, heads: int, width: int, dtype: Any) -> Cache:
    """A cache without positions."""
    empty: Float[Array, "n c h d"] = jnp.zeros((rows, room, heads, width), dtype)
    return Cache(tuple((empty, empty) for _ in range(layers)), jnp.zeros(rows, jnp.int32))


def written(own: Pair, new: Pair, length: Int[Array, " n"]) -> Pair:
    """A layer's keys and values with those of one more position, behind the `length` of each
    row."""
    rows = jnp.arange(len(length))
    keys, values = (
        old.at[rows, length].set(fresh[:, 0], mode="drop")
        for old, fresh in zip(own, new, strict=True)
    )
    return keys, values
