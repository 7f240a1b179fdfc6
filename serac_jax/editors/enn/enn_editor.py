"""ENN, editable neural networks (Sinitsin et al. 2020): an edit is a few steps of gradient descent.

Each step moves the inner kernels down the edit loss, at a learned rate per kernel. Training
differentiates through the steps, and learns the rates and the model's own weights so that edits are
right in scope and change nothing out of scope.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from serac_jax.core.batch import EditBatch, Examples
from serac_jax.core.losses import edit_loss, locality_loss, nll
from serac_jax.core.metrics import scalar_score
from serac_jax.core.types import Params
from serac_jax.editors import interventions
from serac_jax.editors.protocol import Aux, Editor
from serac_jax.models import Model
from serac_jax.models.convert import flatten, unflatten
from serac_jax.models.generate import generate as decode


class Options(NamedTuple):
    steps: int = 1  # gradient steps per edit
    edit_lr: float = 1e-2  # initial rate of every kernel
    first_order: bool = False  # treat an edit's gradient as a constant in training
    train_base: bool = True  # train the model's weights too, not only the rates
    cbase: float = 1.0
    # recompute an edit's steps in the backward pass instead of storing their activations
    remat: bool = True
    cedit: float = 0.1
    cloc: float = 1.0
    unlikelihood: bool = True  # make unwanted answers less likely


def descended(
    base: Model,
    options: Options,
    weights: Params,
    kernels: dict[str, Array],
    rates: dict[str, Array],
    edits: Examples,
) -> dict[str, Array]:
    """The kernels after one step of gradient descent on the edits' NLL, without dropout."""

    def answer_loss(kernels: dict[str, Array]) -> Scalar:
        logits = base.logits(interventions.replace(weights, kernels), edits)
        return nll(logits, edits.labels, edits.weight)

    gradient = cast(dict[str, Array], jax.grad(answer_loss)(kernels))
    if options.first_order:
        gradient = jax.lax.stop_gradient(gradient)
    return {path: kernel - rates[path] * gradient[path] for path, kernel in kernels.items()}


def groups(params: Params) -> Any:
    """For every leaf "rates" or "weights"."""

    def group(path: tuple[Any, ...], leaf: Array) -> str:
        return "rates" if path[0].key == "rates" else "weights"

    return jax.tree_util.tree_map_with_path(group, params)


def enn(base: Model, patterns: tuple[str, ...], options: Options) -> Editor:
    """Makes the editor, which learns {"base": a copy of the base model's weights, "rates": a rate
    per kernel, by path}.

    Args:
      patterns: Patterns of the paths of the kernels that edits change.
    """

    def init(key: Array, base_params: Any) -> Params:
        kernels = interventions.select(base_params, patterns)
        rates = {"rates": unflatten({path: jnp.float32(options.edit_lr) for path in kernels})}
        # A copy, since the training step donates its arrays.
        return rates | ({"base": jax.tree.map(jnp.copy, base_params)} if options.train_base else {})

    def learned(params: Params, base_params: Any) -> Params:
        return params["base"] if options.train_base else base_params

    def start(params: Params, base_params: Any, room: Examples) -> Params:
        return learned(params, base_params)

    def edit(params: Params, edited: Params, edits: Examples) -> Params:
        kernels, rates = interventions.select(edited, patterns), flatten(params["rates"])
        step = partial(descended, base, options)
        move = cast(
            Callable[..., dict[str, Array]], jax.checkpoint(step) if options.remat else step
        )
        for _ in range(options.steps):
            kernels = move(edited, kernels, rates, edits)
        return interventions.replace(edited, kernels)

    def apply(params: Params, edited: Params, queries: Examples) -> Float[Array, "n t v"]:
        return base.logits(edited, queries)

    def generate(params: Params, edited: Params, queries: Examples, steps: int) -> Array:
        return decode(base, edited, queries.inputs, steps=steps)

    def loss(
        params: Params, base_params: Any, batch: EditBatch, key: Array | None = None
    ) -> tuple[Scalar, Aux]:
        """cedit · edit loss in scope + cloc · KL(unedited ‖ edited) + cbase · KL(original ‖
        unedited), both out of scope.

        The unedited model is a constant in the second term. The third exists only if the base model
        is trained."""
        keys = [None] * 3 if key is None else jax.random.split(key, 3)
        weights = learned(params, base_params)
        edited, outside = (
            edit(params, weights, batch.packed(batch.edits)),
            batch.packed(batch.outside),
        )
        unedited = base.logits(weights, outside, keys[0])
        answer_loss = edit_loss(
            base.logits(edited, batch.asked, keys[1]), *batch.answers, options.unlikelihood
        )
        kl = locality_loss(
            jax.lax.stop_gradient(unedited), base.logits(edited, outside, keys[2]), outside
        )
        total, metrics = (
            options.cedit * answer_loss + options.cloc * kl,
            {
                "loss_edit": scalar_score(answer_loss),
                "loss_kl": scalar_score(kl),
            },
        )
        if options.train_base:
            drift = locality_loss(base.logits(base_params, outside), unedited, outside)
            total, metrics = (
                total + options.cbase * drift,
                metrics | {"loss_base": scalar_score(drift)},
            )
        return total, Aux(metrics)

    return Editor(init, start, edit, apply, generate, loss, groups, None)
