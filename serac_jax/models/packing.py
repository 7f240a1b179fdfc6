"""Networks that compute real tokens only: these stand behind one another in one row, and in rows
and columns for attention alone.

What a network does token by token (embeddings, norms, products with its kernels) is most of its
work, and padding is a third of a batch or more."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from serac_jax.core.arrays import AnyArray
from serac_jax.core.batch import Tokens


class Packing(NamedTuple):
    """mask: true on real tokens, or on others that may be attended to. at: the positions that are
    computed, as in `Tokens.real`; None: all."""

    mask: Bool[AnyArray, "n l"]
    at: Int[Array, " p"] | None = None

    @property
    def columns(self) -> Int[Array, "1 l"] | Int[Array, "1 p"]:
        """How far in its row each position stands."""
        return (
            jnp.arange(self.mask.shape[1]) if self.at is None else self.at % self.mask.shape[1]
        )[None]

    def pack(self, x: AnyArray) -> Array:
        """From "n l …" to "1 p …": what stands on the positions that are computed."""
        if self.at is None:
            return jnp.asarray(x)
        return jnp.take(x.reshape(-1, *x.shape[2:]), self.at, axis=0, mode="fill", fill_value=0)[
            None
        ]

    def lay_out(self, x: Float[Array, "1 p e"] | Float[Array, "n l e"]) -> Float[Array, "n l e"]:
        """The way back; 0 on other positions."""
        if self.at is None:
            return x
        rows, width = self.mask.shape
        return (
            jnp.zeros((rows * width, x.shape[-1]), x.dtype)
            .at[self.at]
            .set(x[0], mode="drop")
            .reshape(rows, width, -1)
        )

    def lay_out_heads(
        self, x: Float[Array, "1 p h d"] | Float[Array, "n l h d"]
    ) -> Float[Array, "n l h d"]:
        """`lay_out` of heads."""
        if self.at is None:
            return x
        return self.lay_out(x.reshape(*x.shape[:2], -1)).reshape(*self.mask.shape, *x.shape[2:])

    def apart(self, x: Array) -> Array:
        """What is packed as rows of one position, "p 1 e"; the rest as it is."""
        return x if self.at is None else x[0][:, None]


NOTHING_PACKED = Packing(np.ones((1, 1), bool))


def packing(tokens: Tokens) -> Packing:
    return Packing(tokens.mask, tokens.real)
