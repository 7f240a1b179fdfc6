"""SERAC (Mitchell et al. 2022): a router decides which stored edit, if any, a question falls under;
a reader, the counterfactual model, answers by that edit.

Also retrieve-and-prompt, its baseline, in which the frozen base model reads the retrieved edit (no
counterfactual model)."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar

from serac_jax.core.batch import EditBatch, Examples, Tokens, take
from serac_jax.core.losses import EPS
from serac_jax.core.types import Params
from serac_jax.editors import edit_table
from serac_jax.editors.edit_table import EditTable
from serac_jax.editors.protocol import Aux, Editor, Route
from serac_jax.editors.serac import loss as losses
from serac_jax.editors.serac.loss import Options
from serac_jax.editors.serac.reader import Reader
from serac_jax.editors.serac.router import Router


class Edited(NamedTuple):
    """The base model's parameters, and the edits that it is to answer by."""

    base: Any
    table: EditTable


def serac(
    router: Router,
    scope_params: Any,
    base: Reader,
    counterfactual: Reader | None,
    counterfactual_params: Any,
    options: Options,
) -> Editor:
    """The editor.

    Args:
        counterfactual: the reader of edits; None: the base model reads them.
    """

    def init(key: Array, base_params: Any) -> Params:
        networks = {"scope": scope_params}
        return networks | ({"counterfactual": counterfactual_params} if counterfactual else {})

    def start(params: Params, base_params: Any, room: Examples) -> Edited:
        width = jax.eval_shape(router.keys, params["scope"], room).shape[1]
        table = edit_table.empty(room.labels.shape[0], jnp.zeros((0, width)), room)
        return Edited(base_params, table)

    def edit(params: Params, edited: Edited, edits: Examples) -> Edited:
        keys = router.keys(params["scope"], edits)
        return edited._replace(table=edit_table.write(edited.table, keys, edits))

    def route(params: Params, edited: Edited, queries: Examples, key: Array | None = None) -> Route:
        return router.route(params["scope"], edited.table, queries, key)

    def reader(params: Params, base_params: Any) -> tuple[Reader, Any]:
        """The model that reads an edit before a query."""
        if counterfactual is None:
            return base, base_params
        return counterfactual, params["counterfactual"]

    def apply(
        params: Params, edited: Edited, queries: Examples, key: Array | None = None
    ) -> Float[Array, "n t v"]:
        found = route(params, edited, queries, key)
        model, weights = reader(params, edited.base)
        prefix = take(edited.table.edits.prefix, found.index)
        changed = model.logits_after(weights, prefix, queries, key)
        unchanged = base.model.logits(edited.base, queries)
        if options.soft_weighting or not options.supervised:
            similarity = jnp.exp(found.log_similarity)[:, None, None]
            mixed = mixture(unchanged, changed, similarity)
            return jnp.where(edited.table.live.any(), mixed, unchanged)
        return jnp.where(found.hit[:, None, None], changed, unchanged)

    def generate(params: Params, edited: Edited, queries: Examples, steps: int) -> Array:
        found = route(params, edited, queries)
        prefix = take(edited.table.edits.prefix, found.index)
        if counterfactual is None:  # one model, so that a miss reads an empty edit
            kept = prefix_or_opening(prefix, found.hit, queries.inputs, base.lead)
            return base.answer_after(edited.base, kept, queries.inputs, steps)
        changed = counterfactual.answer_after(
            params["counterfactual"], prefix, queries.inputs, steps
        )
        unchanged = base.answer(edited.base, queries.inputs, steps)
        return jnp.where(found.hit[:, None], changed, unchanged)

    def loss(
        params: Params, base_params: Any, batch: EditBatch, key: Array | None = None
    ) -> tuple[Scalar, Aux]:
        params = held(params, options.freeze)
        if options.supervised:
            return losses.supervised_loss(router, counterfactual, options, params, batch, key)

        def mixed(params: Params, base_params: Any, table: EditTable, *rest: Any) -> Array:
            return apply(params, Edited(base_params, table), *rest)

        return losses.mixture_loss(router, base, options, mixed, params, base_params, batch, key)

    groups = partial(trained_groups, freeze=options.freeze)
    return Editor(init, start, edit, apply, generate, loss, groups, route)


def prefix_or_opening(
    prefix: Tokens, hit: Bool[Array, " n"], questions: Tokens, lead: int
) -> Tokens:
    """The edits to read; where none is hit, only what opens the question."""
    kept = Tokens(prefix.ids, prefix.mask & hit[:, None])
    if not lead:
        return kept
    missing = ((0, 0), (0, prefix.ids.shape[1] - lead))
    opening = (jnp.pad(leaf[:, :lead], missing) for leaf in (questions.ids, questions.mask))
    return Tokens(*(jnp.where(hit[:, None], *both) for both in zip(kept[:2], opening, strict=True)))


def held(params: Params, freeze: int | None) -> Params:
    """Cuts the gradient of frozen leaves, so that it is not even computed."""

    def held_leaf(name: str, leaf: Array) -> Array:
        return jax.lax.stop_gradient(leaf) if name == "frozen" else leaf

    return jax.tree.map(held_leaf, trained_groups(params, freeze), params)


def trained_groups(params: Params, freeze: int | None) -> Any:
    """For every leaf "weights", or "frozen" where it is of the scope classifier, but not of its
    last `freeze` blocks or its head; None: nothing is frozen."""
    blocks = sorted(
        (name for name in params["scope"] if name.startswith("block_")),
        key=lambda name: int(name.split("_")[1]),
    )
    last = blocks[len(blocks) - freeze :] if freeze is not None else ()
    trained = {"head", "pre_head", *last}

    def group(path: tuple[Any, ...], leaf: Array) -> str:
        part, block = path[0].key, path[1].key
        frozen = part == "scope" and freeze is not None and block not in trained
        return "frozen" if frozen else "weights"

    return jax.tree_util.tree_map_with_path(group, params)


def mixture(unchanged: Array, changed: Array, similarity: Float[Array, "n 1 1"]) -> Array:
    """Logits of (1−s)·p(unchanged) + s·p(changed)."""
    mixed = (1 - similarity) * jax.nn.softmax(unchanged) + similarity * jax.nn.softmax(changed)
    return jnp.log(mixed + EPS)
