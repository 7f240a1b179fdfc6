"""What editors do to the inner layers of a base model, by the layers' paths.

Kernels are selected by patterns of their paths, and replaced; or a layer's output is changed by an
*intervention* (`models.linear.Intervention`), which the forward pass, `prefill` and `decode` apply:
`Tap`, `LowRank` and `Correction`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from serac_jax.core.batch import Examples
from serac_jax.core.errors import UserError
from serac_jax.core.types import Params
from serac_jax.models import Model
from serac_jax.models.adapters import LowRank as LowRank
from serac_jax.models.convert import flatten, unflatten
from serac_jax.models.linear import at_least_float32


def select(params: Params, patterns: tuple[str, ...]) -> dict[str, Array]:
    """The kernels whose whole path matches a pattern, in the order of the patterns, then of the
    blocks; without a pattern, those of `last_feed_forward`.

    Raises UserError, with the candidates, where a pattern matches nothing.
    """
    kernels = {
        path: leaf
        for path, leaf in sorted(flatten(params).items(), key=lambda item: in_order(item[0]))
        if path.endswith("/kernel")
    }
    chosen: dict[str, Array] = {} if patterns else last_feed_forward(kernels)
    for pattern in patterns:
        found = {path: leaf for path, leaf in kernels.items() if re.fullmatch(pattern, path)}
        if not found:
            shown = sorted({re.sub(r"block_\d+", r"block_\\d+", path) for path in kernels})
            raise UserError(
                f"inner: the pattern {pattern!r} matches no kernel of the base model; its kernels"
                f" are {', '.join(shown)}"
            )
        chosen |= found
    return chosen


FEED_FORWARD = re.compile(r"(?:(encoder|decoder)/)?block_(\d+)/(?:mlp/)?(wi|wi_0|wi_1|wo)/kernel")


def last_feed_forward(kernels: Mapping[str, Array]) -> dict[str, Array]:
    """The feed-forward kernels of the last three blocks, or of the last two of encoder and decoder
    each, as in the experiments of Mitchell et al. 2022."""
    found = {path: match for path in kernels if (match := FEED_FORWARD.fullmatch(path))}
    last: dict[str | None, int] = {}
    for match in found.values():
        last[match[1]] = max(last.get(match[1], 0), int(match[2]))
    count = 3 if len(last) == 1 else 2
    return {
        path: kernels[path]
        for path, match in found.items()
        if int(match[2]) > last[match[1]] - count
    }


def in_order(path: str) -> list[Any]:
    """A path as a key of sorting in which block_10 comes after block_9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]


def replace(params: Params, leaves: Mapping[str, Array]) -> Params:
    """The parameters with some leaves, by path, in place of the old ones."""
    return unflatten(flatten(params) | dict(leaves))


class Tap(NamedTuple):
    """Adds a value of the same shape to the output; the gradient with respect to it, at 0, is the
    gradient of the output."""

    value: Float[Array, "*n f"]

    def __call__(self, x: Float[Array, "*n d"], y: Float[Array, "*n f"]) -> Float[Array, "*n f"]:
        return y + self.value


class Correction(NamedTuple):
    """Adds one vector to the output, for inputs within a radius of a key; as in GRACE (Hartvigsen
    et al. 2023), but added rather than put in the output's place."""

    key: Float[Array, " d"]
    radius: Scalar
    value: Float[Array, " f"]

    def __call__(self, x: Float[Array, "*n d"], y: Float[Array, "*n f"]) -> Float[Array, "*n f"]:
        key = self.key.reshape(*(1,) * (x.ndim - 1), -1)
        value = self.value.astype(y.dtype).reshape(*(1,) * (y.ndim - 1), -1)
        distance = jnp.sqrt(jnp.square(at_least_float32(x) - key).sum(-1, keepdims=True))
        return jnp.where(distance <= self.radius, y + value, y)


class Factor(NamedTuple):
    """What a kernel's gradient is made of, one row per token: Σ input ⊗ delta."""

    input: Float[Array, "n d"]
    delta: Float[Array, "n e"]  # gradient of the layer's output


def factors(
    model: Model,
    params: Params,
    paths: Iterable[str],
    examples: Examples,
    loss: Callable[[Float[Array, "n t v"]], Scalar],
) -> dict[str, Factor]:
    """What the gradients of some kernels are made of, by the kernels' paths.

    One forward and one backward pass; no gradient flows through the factors.

    Args:
        loss: of the logits of `examples`.
    """
    layers = {path: path.removesuffix("/kernel") for path in paths}
    params = jax.lax.stop_gradient(params)

    def forward(taps: Mapping[str, Tap]) -> tuple[Scalar, dict[str, Array]]:
        logits, inputs = model.logits_and_inputs(params, examples, layers.values(), taps)
        return loss(logits), inputs

    kernels = flatten(params)
    shapes = jax.eval_shape(forward, {})[1]
    taps = {
        layer: Tap(
            jnp.zeros((*shapes[layer].shape[:-1], kernels[path].shape[1]), shapes[layer].dtype)
        )
        for path, layer in layers.items()
    }
    delta, inputs = cast(
        tuple[dict[str, Tap], dict[str, Array]], jax.grad(forward, has_aux=True)(taps)
    )

    def rows(leaf: Array) -> Float[Array, "n d"]:
        return at_least_float32(leaf.reshape(-1, leaf.shape[-1]))

    return {
        path: Factor(rows(inputs[layer]), rows(delta[layer].value))
        for path, layer in layers.items()
    }
