"""Layers that several networks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from serac_jax.models.linear import at_least_float32, weight
from serac_jax.models.network import WeightError

# By their names in Hugging Face configurations.
ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "gelu_pytorch_tanh": lambda x: jax.nn.gelu(x, approximate=True),
}


def known_activation(name: str) -> str:
    """The name of an activation function. Raises WeightError where it is not implemented."""
    if name not in ACTIVATIONS:
        raise WeightError(
            f"config.json asks for the activation function {name!r}, which is not implemented;"
            f" implemented are {', '.join(ACTIVATIONS)}"
        )
    return name


def unit_length(x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
    """Vectors divided by their lengths; zeros, as of a row of padding, stay zeros with gradient
    0."""
    square = jnp.square(at_least_float32(x)).sum(-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(square, 1e-24)).astype(x.dtype)


def stacked(
    block: type[nn.Module], remat: bool, *methods: str, static: tuple[int, ...] = ()
) -> Callable[..., Any]:
    """A layer of a stack: layers that differ in their weights alone are traced and lowered once for
    each of these methods. (XLA inlines them.)

    Args:
        remat: whether the backward pass computes a layer again.
        static: the places of arguments that are no arrays, behind `self`.
    """
    block = nn.remat(block, static_argnums=static) if remat else block
    return nn.jit(block, methods=methods, static_argnums=static)


def fitting(length: int, positions: int) -> int:
    """The length of a text. Raises WeightError where it is more than the network was made for."""
    if length > positions:
        raise WeightError(
            f"a text padded to {length} tokens is longer than the {positions} positions of the"
            " network; shorten it, or lower data.question_tokens and data.answer_tokens"
        )
    return length


class RMSNorm(nn.Module):
    """Divides by the root of the mean square, and multiplies by a learned scale.

    unit_offset: whether it multiplies by 1 + the scale.
    """

    eps: float
    dtype: Any
    unit_offset: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
        scale = weight(self, "scale", (x.shape[-1],))
        scale = at_least_float32(scale) + 1.0 if self.unit_offset else at_least_float32(scale)
        x = at_least_float32(x)
        x = x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + self.eps)
        return (x * scale.reshape(*(1,) * (x.ndim - 1), -1)).astype(self.dtype)


class LayerNorm(nn.Module):
    """Subtracts the mean, divides by the standard deviation, and applies a learned scale and bias.

    Unlike Flax's, it computes in float32 whatever the weights and the output are."""

    eps: float
    dtype: Any

    @nn.compact
    def __call__(self, x: Float[Array, "*n d"]) -> Float[Array, "*n d"]:
        scale, bias = (
            at_least_float32(weight(self, name, (x.shape[-1],))).reshape(*(1,) * (x.ndim - 1), -1)
            for name in ("scale", "bias")
        )
        x = at_least_float32(x)
        x = x - x.mean(-1, keepdims=True)
        x = x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + self.eps)
        return (x * scale + bias).astype(self.dtype)
