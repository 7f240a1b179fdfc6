"""The small networks of MEND, and the running moments that normalise what they read (Mitchell et
al. 2022a, section 3).

A row is one token of an edit: the input of an edited layer and the gradient of its output, side by
    side.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from serac_jax.core.arrays import AnyArray

IDENTITY = (
    nn.initializers.normal(1.0),
    nn.initializers.zeros,
)  # of "down" and "up": x + relu(0) is x
XAVIER = (
    nn.initializers.glorot_uniform(),
    nn.initializers.variance_scaling(2.0, "fan_avg", "uniform"),
)

Moments = dict[str, Array]  # "count", "mean", and "square": Σ (row − mean)²


class LowRank(nn.Module):
    """relu(x · down · up + bias), plus x where the layer is to start as the identity.

    weights: how many edited weights share the layer, each with a scale and a shift of its own;
        None: neither.
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
        y = jnp.where(
            y >= 0, y, 0.0
        )  # with gradient 1 at 0: at the start every y is 0, and has to learn
        return x + y if self.identity else y


class Network(nn.Module):
    """`hidden` + 1 layers of low rank, all as wide as their input."""

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
    """The moments of no row."""
    return {"count": jnp.zeros(()), "mean": jnp.zeros(width), "square": jnp.zeros(width)}


def renewed(moments: Moments, rows: Float[Array, "n d"], live: Float[Array, " n"]) -> Moments:
    """The moments after some more rows, of which those with `live` 0 do not count.

    What Welford's updates give, one row after the other, in one go (Chan et al. 1979). Sums are
    taken around the old mean, or the first row: a coordinate that is always the same has variance
    0, not the rounding of a mean."""
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
    """Rows with mean 0 and standard deviation 1; as they are while fewer than two rows were
    counted."""
    count = moments["count"]
    deviation = jnp.sqrt(moments["square"] / jnp.maximum(count - 1, 1)) + 1e-7
    return jnp.where(count > 1, (rows - moments["mean"][None]) / deviation[None], rows)
