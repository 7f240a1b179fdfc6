"""Distances between keys."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Float

from serac_jax.core.arrays import OneKind


class Distance(NamedTuple):
    """How an embedding classifier compares two vectors; by default, squared Euclidean distance.

    Attributes:
      cosine: 1 − cos.
      square: Square the Euclidean distance.
      bounded: Apply tanh to the vectors first.
      heads: Take the minimum over so many slices of the vectors.
    """

    cosine: bool = False
    square: bool = True
    bounded: bool = False
    heads: int = 1


SQUARED = Distance()


def log_similarity(
    a: Float[OneKind, "*#n d"], b: Float[OneKind, "*#n d"], distance: Distance, xp: Any = jnp
) -> Float[OneKind, "*n"]:
    """Minus the distance of vectors, to which tanh was already applied if `distance.bounded`.

    Args:
      xp: The arrays' module: jax.numpy or numpy.
    """
    a, b = (v.reshape(*v.shape[:-1], distance.heads, -1) for v in (a, b))
    if distance.cosine:
        lengths = norm(a, xp) * norm(b, xp)
        far = 1 - (a * b).sum(-1) / xp.where(lengths > 0, lengths, 1.0)
        # rounding can make it negative; the loss takes log(1 − s)
        far = xp.where(far < 0, 0.0, far)
    elif distance.square:
        far = xp.square(a - b).sum(-1)
    else:
        far = norm(a - b, xp)
    return -xp.min(far, -1)


def norm(x: Float[OneKind, "*n d"], xp: Any = jnp) -> Float[OneKind, "*n"]:
    """Euclidean norm, with gradient 0 at 0."""
    square = xp.square(x).sum(-1)
    return xp.where(square > 0, xp.sqrt(xp.where(square > 0, square, 1.0)), 0.0)
