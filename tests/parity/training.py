"""Training, step by step, each compared from where the original stood: our own rounding is not
carried from step to step.

Adam divides a gradient by its own size, so where a gradient is rounding noise, two right programs
take steps in two directions, and are apart in all that follows. Here our gradient is compared with
the recorded one, the optimizer is given the recorded one, and the next batch is asked of the
parameters that were recorded after the step; of our own where nothing was recorded."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from serac_jax.core.batch import EditBatch
from serac_jax.editors.protocol import Editor
from serac_jax.training import steps
from tests.parity import golden
from tests.parity.compare import Comparison
from tests.parity.precision import double
from tests.parity.recorded import Locate, compare_leaves, with_recorded


class Learner(NamedTuple):
    """What the training of an editor is, in a case.

    gradient: (params, batch) -> the gradient that the original descends, and leaves, by path, that
        are overwritten instead.
    locate: one of the original's names -> our parameter path; several where one of its arrays holds
        a number for each.
    compare: (prefix, params, batch): compares what is recorded of a batch besides its gradient.
    settle: (prefix, params) -> params with what else is recorded after a batch, once it was
        compared.
    """

    editor: Editor
    params: Any
    gradient: Callable[[Any, EditBatch], tuple[Any, dict[str, Any]]]
    locate: Locate
    compare: Callable[[str, Any, EditBatch], None]
    settle: Callable[[str, Any], Any] = lambda prefix, params: params


def batches_of(manifest: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Names of the batch that a case evaluates, if it does, and of those that it was trained on."""
    evaluated, trained = (
        manifest.get("eval_batch"),
        manifest.get("batches") or manifest.get("train_batches"),
    )
    return [evaluated] if evaluated else [], trained or []


def run(
    comparison: Comparison, case: golden.Case, learner: Learner, batches: list[EditBatch]
) -> None:
    """Every batch: its scalars and gradient; parameters wherever the optimizer stepped.

    A case of kind "train_step" ran the original's own training step: it gathers gradients of
    several batches, and says where it stepped."""
    config, values = case.manifest["config"], case.manifest["values"]
    whole = case.manifest["kind"] == "train_step"
    if whole:
        comparison.depart(
            "the original's first optimizer step comes a batch late; compared on its schedule"
        )
    prefix, share = ("iter", 1 / config["accumulate_bs"]) if whole else ("train", 1.0)
    optimizer = steps.make_optimizer(
        SimpleNamespace(
            lr=config["lr"],
            lr_lr=config["lr_lr"],
            clip=config["grad_clip"],
            schedule="constant",
        ),
        learner.editor,
    )
    step, params = stepper(optimizer), learner.params
    with double():
        state = jax.jit(optimizer.init)(params)
    total, exact = jax.tree.map(np.zeros_like, params), True
    for number, batch in enumerate(batches):
        name, comparison.drifted = f"{prefix}{number}", not exact
        learner.compare(name, params, batch)
        if "train" in case.manifest["errors"]:
            comparison.depart(
                f"the original stops: {case.manifest['errors']['train'].splitlines()[0][:80]}"
            )
            return
        gradient, renewed = learner.gradient(params, batch)
        compare_leaves(comparison, case, f"grad{number}", gradient, learner.locate)
        given, found = with_recorded(case, f"grad{number}", gradient, learner.locate)
        ours, total, exact = (
            added(total, gradient, share),
            added(total, given, share),
            exact and found,
        )  # of the optimizer's state, too
        if values.get(f"{name}/stepped", True):
            norm = values.get(f"{name}/grad_norm", values.get(f"{name}/info", {}).get("grad"))
            if norm is not None:
                noise = 2 * comparison.noise_of(
                    f"grad{number}", "max_rel_to_array_max"
                )  # each of two programs is off by as much
                comparison.check(
                    f"{name}/grad_norm", norm_of(ours), np.float32(norm), rounding=noise * norm
                )
            params, state = step(params, state, total)
            total = jax.tree.map(np.zeros_like, total)
        params = steps.overwrite(params, renewed, jnp.array(True))
        params = learner.settle(name, params)
        after = name if whole else f"step{number + 1}"
        compare_leaves(
            comparison, case, after, params, learner.locate, set() if exact else noisy(comparison)
        )
        params, _ = with_recorded(case, after, params, learner.locate)


def added(total: Any, gradient: Any, share: float) -> Any:
    return jax.tree.map(
        lambda old, new: old + np.asarray(new) * np.asarray(share, new.dtype), total, gradient
    )


def stepper(optimizer: optax.GradientTransformation) -> Callable[[Any, Any, Any], tuple[Any, Any]]:
    """(params, state, gradient) -> (params, state).

    Adam's bias corrections are in double precision, as PyTorch has them: in float32, 1 − 0.999 is
    off by 1.3e-5 of itself, and so is a first step."""

    @jax.jit
    def step(params: Any, state: Any, gradient: Any) -> tuple[Any, Any]:
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    def stepped(params: Any, state: Any, gradient: Any) -> tuple[Any, Any]:
        with double():
            return step(params, state, gradient)

    return stepped


def norm_of(gradient: Any) -> np.ndarray:
    return np.sqrt(
        sum(np.square(np.asarray(leaf, np.float64)).sum() for leaf in jax.tree.leaves(gradient))
    )


def noisy(comparison: Comparison) -> set[str]:
    """Names of parameters whose gradient is rounding noise."""
    return {
        entry[0]
        for entry in comparison.noise.get("zero_or_noise_gradients(name, f32 max, f64 max)", [])
    }
