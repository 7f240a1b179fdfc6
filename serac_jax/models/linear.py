"""The editing seam: the one layer through which every network multiplies by a kernel.

Editors such as MEND need, for a kernel W, the input x and the gradient δ of the output of every
token of the edit loss. `Linear` gives both without touching the networks: its input can be
captured, and a zero-valued "tap" can be added to its output, so that the gradient with respect to
the tap is δ. Then Σ x⊗δ is exactly the gradient with respect to W.

Dropout and attention masks are here too, because no two networks should differ in them.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from serac_jax.core.sharding import whole_width


class Linear(nn.Module):
    """x @ kernel (+ bias).

    The collection "inputs" receives x when it is mutable; unused, it costs nothing under jit. The
    collection "taps", where it holds a value "y" for this layer, is added to the output."""

    features: int
    use_bias: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*n d"]) -> Float[Array, "*n f"]:
        kernel = self.param("kernel", nn.initializers.normal(0.02), (x.shape[-1], self.features))
        self.sow("inputs", "x", x)
        y = x @ kernel.astype(self.dtype)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
            y = y + bias.reshape(*(1,) * (y.ndim - 1), -1)
        if self.has_variable("taps", "y"):
            y = y + self.get_variable("taps", "y")
        return y


class Embed(nn.Embed):
    """An embedding: a row of the table an id.

    The table is split over its width, but what is read of it is whole, and so is what it is
    compared with. Were that not said, the partitioner would keep all that passes between layers
    split over the width, and every norm and every kernel would have to put it together again."""

    def __call__(self, inputs: Int[Array, "*n"]) -> Float[Array, "*n d"]:
        return whole_width(super().__call__(inputs))

    def attend(self, query: Float[Array, "*n d"]) -> Float[Array, "*n v"]:
        return super().attend(whole_width(query))


class Dropout(nn.Module):
    """Dropout wherever a "dropout" key is given to `apply`; the identity elsewhere."""

    rate: float

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return nn.Dropout(self.rate, deterministic=not self.has_rng("dropout"))(x)


def at_least_float32(x: Array) -> Array:
    """In float32 at least: for sums over many numbers, and for what leaves a network."""
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def masked(bias: Float[Array, "..."], mask: Bool[Array, "..."]) -> Float[Array, "..."]:
    """Attention bias with the most negative finite number where masked: a wholly masked row attends
    uniformly."""
    return jnp.where(mask, bias, jnp.finfo(jnp.float32).min)
