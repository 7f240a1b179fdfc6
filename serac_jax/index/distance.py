"""How two keys are compared."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Float

from serac_jax.core.arrays import OneKind


class Distance(NamedTuple):
    """How an embedding classifier compares two vectors; by default by their squared Euclidean
    distance.

    square=False: the distance itself; cosine: 1 − cos; bounded: tanh of the vectors first; heads:
        the least over so many slices of the vectors.
    """

    cosine: bool = False
    square: bool = True
    bounded: bool = False
    heads: int = 1


SQUARED = Distance()


def log_similarity(
    a: Float[OneKind, "*#n d"], b: Float[OneKind, "*#n d"], distance: Distance, xp: Any = jnp
) -> Float[OneKind, "*n"]:
    """Minus the distance of vectors, already bounded where they should be. xp: numpy, where arrays
    are of that, and few."""
    a, b = (v.reshape(*v.shape[:-1], distance.heads, -1) for v in (a, b))
    if distance.cosine:
        lengths = norm(a, xp) * norm(b, xp)
        far = 1 - (a * b).sum(-1) / xp.where(lengths > 0, lengths, 1.0)
        far = xp.where(
            far < 0, 0.0, far
        )  # rounding; a similarity above 1 would have no logarithm of 1 − s
    elif distance.square:
        far = xp.square(a - b).sum(-1)
    else:
        far = norm(a - b, xp)
    return -xp.min(far, -1)


def norm(x: Float[OneKind, "*n d"], xp: Any = jnp) -> Float[OneKind, "*n"]:
    """Euclidean norm, with gradient 0 at 0."""
    square = xp.square(x).sum(-1)
    return xp.where(square > 0, xp.sqrt(xp.where(square > 0, square, 1.0)), 0.0)
