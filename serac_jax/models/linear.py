"""The editing seam: the one layer through which every network multiplies by a kernel.

What an editor does to a layer is an *intervention*: a function of the layer's input and output that
gives another output. Interventions are passed to the network by the layer's path, and are applied
in the forward pass, in `prefill` and in `decode` alike. Inputs can be captured.

Dropout and attention masks are here too, because no two networks should differ in them.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from serac_jax.core.arrays import AnyArray
from serac_jax.core.sharding import whole_width


@runtime_checkable
class Intervention(Protocol):
    """A change of a layer's output; a pytree, so that what it holds can be traced."""

    def __call__(self, x: Float[Array, "*n d"], y: Float[Array, "*n f"]) -> Float[Array, "*n f"]:
        """The output in place of `y`, which the layer computed from `x`."""
        ...


def product(x: Float[Array, "*n d"], kernel: Float[Array, "d f"]) -> Float[Array, "*n f"]:
    """x @ kernel, over one axis of rows: where there are two, XLA transposes what is as large as x
    in memory before it computes the kernel's gradient, which takes as long as the product."""
    rows = x.reshape(-1, x.shape[-1])
    multiply = narrow_product if kernel.dtype.itemsize < 4 else jnp.matmul
    return multiply(rows, kernel).reshape(*x.shape[:-1], kernel.shape[-1])


@jax.custom_vjp
def narrow_product(x: Float[Array, "n d"], kernel: Float[Array, "d f"]) -> Float[Array, "n f"]:
    """x @ kernel of 16-bit numbers, summed in float32, and so are both gradients: CPUs with units
    for such products are used for no others."""
    return summed_wide(x, kernel, (1, 0))


def summed_wide(x: Float[Array, "..."], y: Float[Array, "..."], axes: tuple[int, int]) -> Array:
    """The product of two matrices over an axis of each, summed in float32."""
    over = (((axes[0],), (axes[1],)), ((), ()))
    return jax.lax.dot_general(x, y, over, preferred_element_type=jnp.float32).astype(x.dtype)


def narrow_product_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return narrow_product(x, kernel), (x, kernel)


def narrow_product_backward(read: tuple[Array, Array], delta: Array) -> tuple[Array, Array]:
    x, kernel = read
    return summed_wide(delta, kernel, (1, 1)), summed_wide(x, delta, (0, 0))


narrow_product.defvjp(narrow_product_forward, narrow_product_backward)


def weight(layer: nn.Module, name: str, shape: tuple[int, ...]) -> Array:
    """A parameter of a layer; zeros where the layer is initialized, which is done for its shapes.

    `layer.param` alone would trace an initializer wherever it reads a parameter, to compare shapes,
    which loading has compared. That is a third of the time to trace a network.
    """
    if layer.has_variable("params", name):
        return layer.get_variable("params", name)
    return layer.param(name, nn.initializers.zeros, shape)


class Linear(nn.Module):
    """x @ kernel (+ bias).

    The collection "inputs" receives x where it is mutable; otherwise that costs nothing under jit.
    The collection "interventions" may hold one `Intervention` for the layer, by the name "change".
    """

    features: int
    use_bias: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "*n d"]) -> Float[Array, "*n f"]:
        kernel = weight(self, "kernel", (x.shape[-1], self.features))
        self.sow("inputs", "x", x)
        y = product(x, kernel.astype(self.dtype))
        if self.use_bias:
            bias = weight(self, "bias", (self.features,)).astype(self.dtype)
            y = y + bias.reshape(*(1,) * (y.ndim - 1), -1)
        if self.has_variable("interventions", "change"):
            y = self.get_variable("interventions", "change")(x, y)
        return y


class Embed(nn.Embed):
    """An embedding: one row of the table per id.

    The table may be sharded over its width, but what is read from it is not, nor what it is
    compared with. Otherwise the partitioner would shard all activations over the width, and every
    norm and every kernel would have to gather them again."""

    def setup(self):
        self.embedding = weight(self, "embedding", (self.num_embeddings, self.features))

    def __call__(self, inputs: Int[AnyArray, "*n"]) -> Float[Array, "*n d"]:
        return whole_width(super().__call__(inputs))

    def attend(self, query: Float[Array, "*n d"]) -> Float[Array, "*n v"]:
        return product(
            whole_width(query.astype(self.dtype)), jnp.asarray(self.embedding, self.dtype).T
        )


class Dropout(nn.Module):
    """Dropout wherever a "dropout" key is given to `apply`; the identity elsewhere."""

    rate: float

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return nn.Dropout(self.rate, deterministic=not self.has_rng("dropout"))(x)


def at_least_float32(x: Array) -> Array:
    """In float32 at least: for sums over many numbers, and for what leaves a network."""
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def masked(bias: Float[Array, "..."], mask: Bool[AnyArray, "..."]) -> Float[Array, "..."]:
    """Attention bias with the most negative finite number where masked: a wholly masked row attends
    uniformly."""
    return jnp.where(mask, bias, jnp.finfo(jnp.float32).min)
