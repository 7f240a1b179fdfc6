"""The training step and the evaluation of an editor: pure functions, compiled once for every batch
shape."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Scalar

from serac_jax.core.arrays import AnyArray
from serac_jax.core.batch import EditBatch, Rows
from serac_jax.core.metrics import Score, inside_score, outside_score
from serac_jax.core.sharding import (
    batch_sharding,
    gather_fsdp,
    path_name,
    place,
    row_parts,
    shardings,
)
from serac_jax.core.types import Config
from serac_jax.editors.protocol import Aux, Editor, Route
from serac_jax.models import Model
from serac_jax.models.generate import generate
from serac_jax.models.linear import at_least_float32
from serac_jax.tasks.kinds import Kind

Sums = dict[str, tuple[Array, Array]]  # Σ w·x and Σ w, by name


class Routes(NamedTuple):
    """The nearest stored edit of each query, for editors with a memory."""

    inside: Route
    outside: Route


class OptState(NamedTuple):
    """Of the optimizer, and of the batches since its last step.

    gradient: its mean over `accumulate` batches, as far as they have come; what it holds before the
        first (`kept` = 0) is not read.
    skipped: batches that were dropped because their gradient was not finite, of the whole run.
    """

    inner: Any
    gradient: Any
    kept: Scalar
    skipped: Scalar


class TrainState(NamedTuple):
    """Everything that a step changes."""

    step: Scalar
    params: Any
    opt_state: OptState


def make_optimizer(train: Config, editor: Editor) -> optax.GradientTransformation:
    """Clip, then Adam with its own rate for learned edit rates."""
    rate = train.lr
    if train.schedule == "linear":
        rate = optax.linear_schedule(train.lr, 0.0, max(train.steps // train.accumulate, 1))
    rates: dict[Hashable, Any] = {
        "weights": optax.adam(rate),
        "rates": optax.adam(train.lr_lr),
        "frozen": optax.set_to_zero(),
    }
    return optax.chain(optax.clip_by_global_norm(train.clip), optax.partition(rates, editor.groups))


def init_params(editor: Editor, base: Any, seed: int, mesh: Mesh) -> Any:
    """What training learns, before it has begun, where the sharding table puts it."""
    params = editor.init(jax.random.key(seed), base)
    return place(params, shardings(params, mesh))


def init_state(
    editor: Editor, optimizer: optax.GradientTransformation, base: Any, seed: int, mesh: Mesh
) -> TrainState:
    """The state before the first step."""
    params, start = init_params(editor, base, seed, mesh), partial(start_state, optimizer)
    return jax.jit(start, out_shardings=shardings(jax.eval_shape(start, params), mesh))(params)


def start_state(optimizer: optax.GradientTransformation, params: Any) -> TrainState:
    """The state before the first step, of given parameters."""
    gradient = jax.tree.map(jnp.zeros_like, params)
    return TrainState(
        jnp.int32(0), params, OptState(optimizer.init(params), gradient, jnp.int32(0), jnp.int32(0))
    )


def make_train_step(
    editor: Editor, state: TrainState, accumulate: int, seed: int
) -> Callable[..., tuple[TrainState, Sums]]:
    """(state, base, batch) -> (state, metrics): adds the batch's gradient to the mean; one that is
    not finite is dropped and counted.

    The key of a loss is a function of seed and step, so a resumed run repeats it. The state is
    donated, and stays where the given one is: placed anew by the compiler, it would make the second
    step compile again."""

    def train_step(state: TrainState, base: Any, batch: EditBatch) -> tuple[TrainState, Sums]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        (loss, aux), gradient = jax.value_and_grad(loss_of(editor), has_aux=True)(
            state.params, base, batch, key
        )
        # A sum is finite only where all that it adds is, and takes a fourth of the time of testing
        # every number.
        finite = jnp.isfinite(
            jnp.stack([at_least_float32(leaf.sum()) for leaf in (loss, *jax.tree.leaves(gradient))])
        ).all()
        before = state.opt_state

        def add(mean: Array, new: Array) -> Array:
            return jnp.where(before.kept > 0, mean, 0.0) + jnp.where(finite, new, 0.0) / float(
                accumulate
            )

        opt_state = before._replace(
            gradient=jax.tree.map(add, before.gradient, gradient),
            kept=before.kept + finite.astype(jnp.int32),
            skipped=before.skipped + (~finite).astype(jnp.int32),
        )
        params = overwrite(state.params, aux.overwrite or {}, finite)
        return TrainState(state.step + 1, params, opt_state), total(aux.metrics) | {
            "loss": (loss, jnp.float32(1))
        }

    return jax.jit(
        train_step,
        donate_argnums=0,
        out_shardings=(placement(state), None),
        compiler_options=compiler_options(state),
    )


def make_update_step(
    optimizer: optax.GradientTransformation, state: TrainState
) -> Callable[[TrainState], TrainState]:
    """state -> state: a step of the optimizer, and the mean begins anew. Where every batch was
    dropped, nothing changes.

    A program of its own, which runs once every `accumulate` batches: inside the training step it
    would be a branch that copies the whole state (optax.MultiSteps and optax.apply_if_finite took
    half of the time of a step on CPU)."""

    def update_step(state: TrainState) -> TrainState:
        before = state.opt_state
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to integer powers
            updates, inner = optimizer.update(before.gradient, before.inner, state.params)
        after = optax.apply_updates(state.params, updates), inner
        params, inner = jax.tree.map(
            lambda new, old: jnp.where(before.kept > 0, new, old),
            after,
            (state.params, before.inner),
        )
        return state._replace(
            params=params, opt_state=before._replace(inner=inner, kept=jnp.int32(0))
        )

    return jax.jit(update_step, donate_argnums=0, out_shardings=placement(state))


def compiler_options(state: TrainState) -> dict[str, str]:
    """How a step of a state is compiled: on a CPU, in an order that holds little memory. By
    default XLA computes there as early as it can what is recomputed for a gradient, and holds all
    of it at once."""
    (platform,) = {device.platform for device in jax.tree.leaves(state)[0].sharding.device_set}
    memory_first = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
    return memory_first if platform == "cpu" else {}


def placement(state: TrainState) -> TrainState:
    """Where every leaf of a state is."""
    return jax.tree.map(lambda leaf: leaf.sharding, state)


def loss_of(editor: Editor) -> Callable[..., tuple[Scalar, Aux]]:
    """The loss of an editor that learns."""
    if editor.loss is None:
        raise ValueError("this editor learns nothing, so it has no training step")
    return editor.loss


def overwrite(params: Any, leaves: dict[str, Array], kept: Array) -> Any:
    """The parameters with some leaves, by path, renewed, unless the batch was dropped (`kept`
    false)."""

    def renew(path: tuple[Any, ...], leaf: Array) -> Array:
        new = leaves.get(path_name(path))
        return leaf if new is None else jnp.where(kept, new, leaf)

    return jax.tree_util.tree_map_with_path(renew, params)


def make_eval_step(
    editor: Editor, base_model: Model, score: Callable[..., dict[str, Score]]
) -> Callable[..., tuple[dict[str, Score], Routes | None]]:
    """(params, base, batch) -> (scores, routes), after applying all edits of the batch at once.

    The scores are the task's, those of the editor's loss, and those of routing. The routes are None
    for editors without a memory.
    """

    def eval_step(
        params: Any, base: Any, batch: EditBatch
    ) -> tuple[dict[str, Score], Routes | None]:
        edited = editor.edit(params, editor.start(params, base, batch.edits), batch.edits)
        base, queries = gather_fsdp(base), (batch.inside, batch.outside)
        before = tuple(base_model.logits(base, query) for query in queries)
        after = tuple(editor.apply(params, edited, query) for query in queries)
        scores = score(before, after, batch)
        if editor.loss:
            loss, aux = editor.loss(params, base, batch, None)
            scores |= aux.metrics | {"loss": Score(loss[None], jnp.ones(1))}
        if editor.route is None:
            return scores, None
        routes = Routes(*(editor.route(params, edited, query) for query in queries))
        return scores | scope_scores(routes, batch), routes

    return jax.jit(eval_step)


def make_answer_step(editor: Editor, base_model: Model) -> Callable[..., dict[str, Array]]:
    """(params, base, batch) -> answers of in-scope and out-of-scope queries before and after the
    batch's edits.

    Token ids, by greedy decoding; of a classifier, which generates nothing, the likeliest class.
    """

    def answer_step(params: Any, base: Any, batch: EditBatch) -> dict[str, Array]:
        edited = editor.edit(params, editor.start(params, base, batch.edits), batch.edits)
        base, answers = gather_fsdp(base), {}
        for side, queries in (("inside", batch.inside), ("outside", batch.outside)):
            steps = queries.labels.shape[1]
            if base_model.decodes:
                before, after = (
                    generate(base_model, base, queries.inputs, steps=steps),
                    editor.generate(params, edited, queries, steps),
                )
            else:
                before, after = (
                    base_model.logits(base, queries).argmax(-1),
                    editor.apply(params, edited, queries).argmax(-1),
                )
            answers |= {f"{side}_before": before, f"{side}_after": after}
        return answers

    return jax.jit(answer_step)


def evaluate(
    eval_step: Callable[..., tuple[dict[str, Score], Routes | None]],
    params: Any,
    base: Any,
    batches: Iterable[EditBatch],
    mesh: Mesh,
    limit: int,
    kinds: tuple[Kind, ...],
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, float] | None:
    """Average scores, by kind and pooled, over at most `limit` batches (0: all).

    None where `stopping`, which is asked before every batch, ends it.
    """
    summed = jax.jit(partial(total, kinds=kinds))
    sums: list[Sums] = []
    for batch in itertools.islice(batches, limit or None):
        if stopping():
            return None
        sums.append(summed(eval_step(params, base, shard_batch(batch, mesh))[0]))
        jax.block_until_ready(sums[-2:-1])  # no more is under way than a batch and the next
    return averages(sums)


def scope_scores(routes: Routes, batch: EditBatch) -> dict[str, Score]:
    """Scores of routing, with all edits of the batch in memory.

    scope_inside: 1 where a query in scope is routed to an edit. scope_outside: 1 where a query out
        of scope is left to the base model.
    retrieval: 1 where the nearest edit of a query in scope is its own.
    """
    own = (routes.inside.index == batch.edit_of).astype(jnp.float32)
    return {
        "scope_inside": inside_score(batch, routes.inside.hit.astype(jnp.float32)),
        "scope_outside": outside_score(batch, (~routes.outside.hit).astype(jnp.float32)),
        "retrieval": inside_score(batch, own),
    }


def total(scores: dict[str, Score], kinds: tuple[Kind, ...] = ()) -> Sums:
    """Σ w·x and Σ w of every score: what is kept of a batch when only the average is wanted.

    Where `kinds` are given, each score of questions is summed as "NAME/KIND" for every kind, and as
    "NAME_pooled" over all kinds that are pooled under the same name.
    """
    sums: Sums = {}
    for name, score in scores.items():
        for label, weight in labelled_weights(name, score, kinds):
            sums[label] = (score.value * weight).sum(), weight.sum()
    return sums


def labelled_weights(
    name: str, score: Score, kinds: tuple[Kind, ...]
) -> Iterator[tuple[str, AnyArray]]:
    """The names under which a score is reported, with the row weights that count for each."""
    if score.kind is None or not kinds:
        yield name, score.weight
        return
    pools: dict[str, AnyArray] = {}
    for number, kind in enumerate(kinds):
        weight = score.weight * (score.kind == number).astype(score.weight.dtype)
        yield f"{name}/{kind.name}", weight
        pool = "_".join(part for part in (name, kind.pool, "pooled") if part)
        pools[pool] = pools.get(pool, 0.0) + weight
    yield from pools.items()


def averages(sums: list[Sums]) -> dict[str, float]:
    """The averages over several batches; a score that no row counted for is left out. Waits for the
    device."""
    added = jax.tree.map(lambda *parts: sum(parts), *jax.device_get(sums))
    return {name: float(value / weight) for name, (value, weight) in added.items() if weight > 0}


def pad_rows_to_mesh(batch: Rows, mesh: Mesh) -> Rows:
    """The batch, or any part of one, with rows of padding, whose weight is 0, up to a multiple of
    the data axes.

    Where rows are split, all of their positions are computed: real tokens alone would lie unevenly.
    """
    if row_parts(mesh) > 1 and isinstance(batch, EditBatch):
        batch = batch._replace(
            layout=replace(batch.layout, text_fill=None, context_fill=None, label_fill=None)
        )

    def fill(leaf: Any) -> Any:
        missing = -leaf.shape[0] % row_parts(mesh)
        return np.pad(leaf, [(0, missing)] + [(0, 0)] * (leaf.ndim - 1)) if missing else leaf

    return jax.tree.map(fill, batch)


def shard_batch(batch: Rows, mesh: Mesh) -> Rows:
    """A batch on the devices, its rows split over the data axes, which they are filled up to divide
    evenly."""
    return place(pad_rows_to_mesh(batch, mesh), batch_sharding(mesh))
