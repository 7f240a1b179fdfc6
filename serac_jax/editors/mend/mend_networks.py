"""MEND's networks and the running moments that normalise their inputs (Mitchell et al. 2022a,
section 3).

A row is one token of an edit: an edited layer's input and the gradient of its output, concatenated.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from serac_jax.core.arrays import AnyArray

# Initializers of "down" and "up".
IDENTITY = (nn.initializers.normal(1.0), nn.initializers.zeros)  # x + relu(0) is x
XAVIER = (
    nn.initializers.glorot_uniform(),
    nn.initializers.variance_scaling(2.0, "fan_avg", "uniform"),
)

Moments = dict[str, Array]  # "count", "mean", and "square": Σ (row − mean)²


class LowRank(nn.Module):
    """relu(x · down · up + bias), plus x if the layer starts as the identity.

    Attributes:
      weights: How many edited weights share the layer, each with its own scale and shift; None: no
        scales and shifts.
    """

    rank: int
    identity: bool
    weights: int | None

    @nn.compact
    def __call__(self, x: Float[Array, "n d"], weight: Int[AnyArray, " n"]) -> Float[Array, "n d"]:
        width = x.shape[-1]
        rank = min(self.rank, width)
        down, up = IDENTITY if self.identity else XAVIER
        y: Array = x @ self.param("down", down, (width, rank)) @ self.param("up", up, (rank, width))
        y = y + self.param("bias", nn.initializers.zeros, (width,))[None]
        if self.weights is not None:
            scale, shift = (
                self.param(name, init, (self.weights, width))
                for name, init in (
                    ("scale", nn.initializers.ones),
                    ("shift", nn.initializers.zeros),
                )
            )
            y = y * scale[weight] + shift[weight]
        y = jnp.where(y >= 0, y, 0.0)  # a relu with gradient 1 at 0, where every y starts
        return x + y if self.identity else y


class Network(nn.Module):
    """`hidden` + 1 low-rank layers, as wide as their input."""

    hidden: int
    rank: int
    identity: bool
    weights: int | None

    @nn.compact
    def __call__(self, x: Float[Array, "n d"], weight: Int[AnyArray, " n"]) -> Float[Array, "n d"]:
        for number in range(self.hidden + 1):
            x = LowRank(self.rank, self.identity, self.weights, name=f"layer_{number}")(x, weight)
        return x


def blank(width: int) -> Moments:
    """The moments of no rows."""
    return {"count": jnp.zeros(()), "mean": jnp.zeros(width), "square": jnp.zeros(width)}


def renewed(moments: Moments, rows: Float[Array, "n d"], live: Float[Array, " n"]) -> Moments:
    """Updates moments with rows, of which those with `live` 0 do not count.

    Equal to Welford's updates row by row (Chan et al. 1979). Sums are taken around the old mean, or
    the first row, so that a constant coordinate has variance 0 instead of a rounding error.
    """
    new, old = live.sum(), moments["count"]
    total = old + new
    around = jnp.where(old > 0, moments["mean"], rows[live.argmax()] * live.max())
    offset = (rows - around[None]) * live[:, None]
    step = offset.sum(0) / jnp.maximum(new, 1)
    share = new / jnp.maximum(total, 1)
    spread = (jnp.square(offset - step[None]) * live[:, None]).sum(0)
    return {
        "count": total,
        "mean": around + share * step,
        "square": moments["square"] + spread + jnp.square(step) * old * share,
    }


def normalised(moments: Moments, rows: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Normalises rows to mean 0 and standard deviation 1, once two rows were counted."""
    count = moments["count"]
    deviation = jnp.sqrt(moments["square"] / jnp.maximum(count - 1, 1)) + 1e-7
    return jnp.where(count > 1, (rows - moments["mean"][None]) / deviation[None], rows)
