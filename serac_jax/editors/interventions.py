"""Inner parameters: the kernels of the base model that an editor changes, by their paths, and what
their gradients are made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from serac_jax.core.batch import Examples
from serac_jax.core.errors import UserError
from serac_jax.core.types import Params
from serac_jax.models import Model
from serac_jax.models.convert import flatten, unflatten
from serac_jax.models.linear import at_least_float32


def select(params: Params, patterns: tuple[str, ...]) -> dict[str, Array]:
    """The kernels whose whole path matches a pattern, in the order of the patterns, then of the
    blocks.

    Raises UserError, with the candidates, where a pattern matches nothing.
    """
    kernels = {
        path: leaf
        for path, leaf in sorted(flatten(params).items(), key=lambda item: in_order(item[0]))
        if path.endswith("/kernel")
    }
    chosen: dict[str, Array] = {}
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


def in_order(path: str) -> list[Any]:
    """A path as a key of sorting in which block_10 comes after block_9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]


def replace(params: Params, leaves: Mapping[str, Array]) -> Params:
    """The parameters with some leaves, by path, in place of the old ones."""
    return unflatten(flatten(params) | dict(leaves))


class Factor(NamedTuple):
    """What a kernel's gradient is made of, a row a token: Σ input ⊗ delta."""

    input: Float[Array, "n d"]
    delta: Float[Array, "n e"]  # gradient of the layer's output


def factors(
    model: Model,
    params: Params,
    paths: Iterable[str],
    examples: Examples,
    loss: Callable[[Float[Array, "n t v"]], Scalar],
) -> dict[str, Factor]:
    """Inputs and output gradients of the layers of some kernels, by the kernels' paths, of `loss`
    of the logits of `examples`.

    One forward and one backward pass; no gradient flows through the factors.
    """
    layers = {path: path.removesuffix("/kernel") for path in paths}
    params = jax.lax.stop_gradient(params)

    def forward(taps: Mapping[str, Array]) -> tuple[Scalar, dict[str, Array]]:
        variables = {
            "params": params,
            "taps": unflatten({f"{layer}/y": tap for layer, tap in taps.items()}),
        }
        logits, state = model.module.apply(
            variables, examples.inputs, examples.labels, mutable=["inputs"]
        )
        captured = flatten(state["inputs"])
        return loss(logits), {path: captured[f"{layer}/x"][0] for path, layer in layers.items()}

    kernels = flatten(params)
    shapes = jax.eval_shape(forward, {})[1]
    taps = {
        layer: jnp.zeros((*shapes[path].shape[:-1], kernels[path].shape[1]), shapes[path].dtype)
        for path, layer in layers.items()
    }
    delta, inputs = jax.grad(forward, has_aux=True)(taps)

    def rows(leaf: Array) -> Float[Array, "n d"]:
        return at_least_float32(leaf.reshape(-1, leaf.shape[-1]))

    return {path: Factor(rows(inputs[path]), rows(delta[layer])) for path, layer in layers.items()}
