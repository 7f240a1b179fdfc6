"""Fine-tuning (a baseline of Mitchell et al. 2022, section 5): trains kernels on a batch of edits.

There is no training beforehand. The steps are one compiled loop that ends when every edit of the
batch is answered correctly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Scalar

from serac_jax.core.batch import Examples
from serac_jax.core.losses import locality_loss, nll
from serac_jax.core.metrics import whole_answer_right
from serac_jax.core.types import Params
from serac_jax.editors import interventions
from serac_jax.editors.protocol import Editor
from serac_jax.models import Model
from serac_jax.models.convert import flatten
from serac_jax.models.generate import generate as decode

# PyTorch's defaults: its RMSprop decays more slowly than optax's and adds ε outside the root.
OPTIMIZERS: dict[str, Callable[[float], optax.GradientTransformation]] = {
    "rmsprop": lambda lr: optax.rmsprop(lr, decay=0.99, eps=1e-8, eps_in_sqrt=False),
    "adam": optax.adam,
    "sgd": optax.sgd,
}

# What is added to each kernel, by path: one array, or two low-rank factors.
Residual = dict[str, tuple[Array, ...]]


class Options(NamedTuple):
    optimizer: str = "rmsprop"
    lr: float = 5e-6
    # at most so many evaluations of the loss; the last is not followed by an optimizer step
    steps: int = 100
    clip: float = 100.0  # of the gradient's global norm
    rank: int | None = None  # of the change of each kernel; None: full
    init_std: float = 0.01  # of the factor that does not start at 0
    seed: int = 0  # of that factor
    cedit: float = 0.01  # weight of the edit loss beside a locality loss


def finetune(
    base: Model, patterns: tuple[str, ...], options: Options, nearby: Examples | None = None
) -> Editor:
    """Makes the editor.

    Args:
      patterns: Patterns of the paths of the kernels that it changes (see `interventions.select`).
      nearby: m batches of queries whose answers should stay, with leaves "m o …": step i adds the
        locality loss of batch i modulo m. None: no locality loss.
    """

    def start(params: Params, base_params: Any, room: Examples) -> Params:
        return base_params

    def edit(params: Params, edited: Params, edits: Examples) -> Params:
        residual = draw(interventions.select(edited, patterns), options)
        return added(edited, fit(base, edited, residual, edits, options, options.steps, nearby))

    def apply(params: Params, edited: Params, queries: Examples) -> Array:
        return base.logits(edited, queries)

    def generate(
        params: Params, edited: Params, queries: Examples, steps: int
    ) -> Int[Array, "n s"]:
        return decode(base, edited, queries.inputs, steps=steps)

    return Editor(
        lambda key, base_params: {}, start, edit, apply, generate, None, lambda params: {}, None
    )


def draw(kernels: Params, options: Options) -> Residual:
    """An initial residual, which adds 0: the first factor is 0; a second one is drawn at random."""
    if options.rank is None:
        return {path: (jnp.zeros_like(kernel),) for path, kernel in kernels.items()}
    keys = jax.random.split(jax.random.key(options.seed), len(kernels))
    return {
        path: (
            jnp.zeros((kernel.shape[0], options.rank)),
            options.init_std * jax.random.normal(key, (options.rank, kernel.shape[1])),
        )
        for (path, kernel), key in zip(kernels.items(), keys, strict=True)
    }


def added(weights: Params, residual: Residual) -> Params:
    """The weights plus a residual."""
    kernels = flatten(weights)
    return interventions.replace(
        weights,
        {
            path: kernels[path] + (parts[0] if len(parts) == 1 else parts[0] @ parts[1])
            for path, parts in residual.items()
        },
    )


def fit(
    base: Model,
    weights: Params,
    residual: Residual,
    edits: Examples,
    options: Options,
    steps: int | Scalar,
    nearby: Examples | None,
) -> Residual:
    """The residual at the first evaluation of the loss at which every edit is right, or after
    `steps` of them."""
    optimizer = optax.chain(
        optax.clip_by_global_norm(options.clip), OPTIMIZERS[options.optimizer](options.lr)
    )

    def loss(residual: Residual, step: Scalar) -> tuple[Scalar, Array]:
        after = added(weights, residual)
        logits = base.logits(after, edits)
        right = whole_answer_right(logits, edits.labels, edits.weight).all()
        value = nll(logits, edits.labels, edits.weight)
        if nearby is None:
            return value, right

        def in_turn(leaf: Array) -> Array:
            return leaf[step % leaf.shape[0]]

        batch = jax.tree.map(in_turn, nearby)
        return (
            locality_loss(base.logits(weights, batch), base.logits(after, batch), batch)
            + options.cedit * value,
            right,
        )

    def unfinished(state: tuple[Scalar, Array, Residual, Any]) -> Array:
        step, right, _, _ = state
        return (step < steps - 1) & ~right

    def descend(state: tuple[Scalar, Array, Residual, Any]) -> tuple[Scalar, Array, Residual, Any]:
        step, _, residual, opt_state = state
        (_, right), gradient = jax.value_and_grad(loss, has_aux=True)(residual, step)
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer powers
            updates, opt_state = optimizer.update(gradient, opt_state, residual)

        def stepped(old: Array, change: Array) -> Array:
            return jnp.where(right, old, old + change)

        residual = jax.tree.map(stepped, residual, updates)
        return step + 1, right, residual, opt_state

    state = jnp.int32(0), jnp.array(False), residual, optimizer.init(residual)
    return jax.lax.while_loop(unfinished, descend, state)[2]
