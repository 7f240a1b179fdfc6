"""What a decoder remembers from one output position to the next."""

from __future__ import annotations

from typing import NamedTuple

import jax
from jaxtyping import Array, Bool

Pair = tuple[Array, Array]  # keys and values, "n l h d"


class Cache(NamedTuple):
    """Keys and values of every layer, of the decoder's own positions and of the input."""

    own: tuple[Pair, ...]
    encoded: tuple[Pair, ...]
    mask: Bool[Array, "n l"]


def written(own: Pair, new: Pair, at: Array) -> Pair:
    """A layer's own keys and values, with those of the position at index `at`."""
    keys, values = (
        jax.lax.dynamic_update_slice_in_dim(old, fresh, at, axis=1)
        for old, fresh in zip(own, new, strict=True)
    )
    return keys, values
