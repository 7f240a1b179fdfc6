"""SERAC (Mitchell et al. 2022): edits in a memory, a scope classifier that routes, a counterfactual
model that reads them.

Also retrieve-and-prompt, its baseline, in which the frozen base model reads the retrieved edit (no
counterfactual model)."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Scalar

from serac_jax.core.batch import (
    NOTHING_KNOWN,
    EditBatch,
    Examples,
    Layout,
    Tokens,
    join,
    packed,
    splice,
    spread,
    take,
)
from serac_jax.core.losses import EPS, balanced_bce, edit_loss, locality_loss
from serac_jax.core.metrics import (
    Score,
    inside_score,
    scalar_score,
    scope_right,
    whole_answer_right,
)
from serac_jax.core.types import Params
from serac_jax.editors import edit_table
from serac_jax.editors.edit_table import EditTable
from serac_jax.editors.protocol import Aux, Decision, Editor
from serac_jax.editors.serac.scope import Scope
from serac_jax.models import Model
from serac_jax.models.generate import generate as decode


class Options(NamedTuple):
    supervised: bool = (
        True  # train on the labels of pairs; else through the mixture of both models' answers
    )
    soft_weighting: bool = (
        False  # mix the two models' probabilities by the similarity; always so where unsupervised
    )
    all_negatives: bool = (
        False  # every out-of-scope query is a negative of every edit, not only of its own
    )
    freeze: int | None = (
        None  # train only the last so many blocks of the scope classifier, and its head
    )
    cedit: float = 0.1
    cloc: float = 1.0
    unlikelihood: bool = True  # also make unwanted answers less likely


class Edited(NamedTuple):
    base: Any  # parameters
    memory: EditTable


def serac(
    base: Model,
    scope: Scope,
    scope_params: Any,
    counterfactual: Model | None,
    counterfactual_params: Any,
    lead: int,
    options: Options,
) -> Editor:
    """The editor. `counterfactual=None`: the base model reads the retrieved edit. `lead`: opening
    special tokens of the base vocabulary."""

    def init(key: Array, base_params: Any) -> Params:
        return {"scope": scope_params} | (
            {} if counterfactual is None else {"counterfactual": counterfactual_params}
        )

    def start(params: Params, base_params: Any, room: Examples) -> Edited:
        width = jax.eval_shape(scope.keys, params["scope"], room).shape[1]
        return Edited(
            base_params, edit_table.empty(room.labels.shape[0], jnp.zeros((0, width)), room)
        )

    def edit(params: Params, edited: Edited, edits: Examples) -> Edited:
        return edited._replace(
            memory=edit_table.write(edited.memory, scope.keys(params["scope"], edits), edits)
        )

    def decide(
        params: Params, edited: Edited, queries: Examples, key: Array | None = None
    ) -> Decision:
        vectors = scope.queries(params["scope"], queries, key)
        return Decision(
            *edit_table.nearest(
                edited.memory, scope.table(params["scope"], edited.memory, vectors, queries, key)
            )
        )

    def reader(params: Params, base_params: Any) -> tuple[Model, Any]:
        """The model that reads an edit before a query."""
        return (
            (base, base_params)
            if counterfactual is None
            else (counterfactual, params["counterfactual"])
        )

    def in_context(prefix: Tokens, queries: Examples, layout: Layout = NOTHING_KNOWN) -> Examples:
        return queries._replace(
            inputs=packed(splice(prefix, queries.inputs, lead, layout.context), layout.context_fill)
        )

    def apply(
        params: Params, edited: Edited, queries: Examples, key: Array | None = None
    ) -> Float[Array, "n t v"]:
        decision = decide(params, edited, queries, key)
        model, weights = reader(params, edited.base)
        changed = model.logits(
            weights, in_context(take(edited.memory.edits.prefix, decision.index), queries), key
        )
        unchanged = base.logits(edited.base, queries)
        similarity = jnp.exp(decision.log_similarity)[:, None, None]
        if options.soft_weighting or not options.supervised:
            return jnp.where(
                edited.memory.live.any(), mixture(unchanged, changed, similarity), unchanged
            )
        return jnp.where(similarity > 0.5, changed, unchanged)

    def generate(params: Params, edited: Edited, queries: Examples, steps: int) -> Array:
        decision = decide(params, edited, queries)
        hit = jnp.exp(decision.log_similarity) > 0.5
        prefix = take(edited.memory.edits.prefix, decision.index)
        if counterfactual is None:
            kept = Tokens(prefix.ids, prefix.mask & hit[:, None])
            return decode(base, edited.base, splice(kept, queries.inputs, lead), steps=steps)
        changed = decode(
            counterfactual,
            params["counterfactual"],
            splice(prefix, queries.inputs, lead),
            steps=steps,
        )
        return jnp.where(
            hit[:, None], changed, decode(base, edited.base, queries.inputs, steps=steps)
        )

    def groups(params: Params) -> Any:
        def group(path: tuple[Any, ...], leaf: Array) -> str:
            part, block = path[0].key, path[1].key
            frozen = part == "scope" and options.freeze is not None and block not in trained
            return "frozen" if frozen else "weights"

        blocks = sorted(
            (name for name in params["scope"] if name.startswith("block_")),
            key=lambda name: int(name.split("_")[1]),
        )
        trained = {
            "head",
            "pre_head",
            *(blocks[len(blocks) - options.freeze :] if options.freeze is not None else ()),
        }
        return jax.tree_util.tree_map_with_path(group, params)

    def hold(params: Params) -> Params:
        """Cuts the gradient of frozen leaves, so that it is not even computed."""
        return jax.tree.map(
            lambda name, leaf: jax.lax.stop_gradient(leaf) if name == "frozen" else leaf,
            groups(params),
            params,
        )

    def loss(
        params: Params, base_params: Any, batch: EditBatch, key: Array | None = None
    ) -> tuple[Scalar, Aux]:
        kind = supervised_loss if options.supervised else mixture_loss
        return kind(hold(params), base_params, batch, key)

    def supervised_loss(
        params: Params, base_params: Any, batch: EditBatch, key: Array | None
    ) -> tuple[Scalar, Aux]:
        """cedit · NLL given the gold edit + cloc · scope loss (section 3.2): no base model, no
        retrieval, no pairs that the loss does not read.

        Where the base model takes the counterfactual model's place, its NLL is a constant of what
        is learned and is left out."""
        keys = split(key, 4)
        inside, outside, questions, layout = batch.inside, batch.outside, batch.asked, batch.layout
        edit_of = batch.edit_of[:: layout.alike]
        stored = scope.keys(
            params["scope"],
            batch.edits._replace(scope=packed(batch.edits.scope, layout.text_fill)),
            keys[1],
        )
        # Both kinds of queries at once: larger products, and no two gradients of every weight to
        # add up.
        both, count = (
            questions._replace(
                scope=packed(join(questions.scope, outside.scope), layout.text_fill)
            ),
            len(edit_of),
        )
        vectors = scope.queries(params["scope"], both, keys[2])

        def paired(of: Int[Array, " n"], vectors: Array, queries: Examples) -> Float[Array, " n"]:
            """Log-similarity of each query and the edit that it belongs to."""
            return scope.pairs(
                params["scope"],
                stored[of],
                take(batch.edits, of),
                vectors,
                queries,
                keys[3],
                layout,
            )

        if options.all_negatives:
            positive = paired(edit_of, vectors[:count], questions)
            everything = EditTable(stored, batch.edits, batch.edits.rows > 0, jnp.int32(0))
            negative = scope.table(params["scope"], everything, vectors[count:], outside, keys[3])
            negative, negative_weight = (
                negative.reshape(-1),
                (outside.rows[:, None] * batch.edits.rows[None]).reshape(-1),
            )
        else:
            similarities = paired(jnp.concatenate([edit_of, batch.outside_of]), vectors, both)
            positive, negative, negative_weight = (
                similarities[:count],
                similarities[count:],
                outside.rows,
            )
        positive = spread(positive, len(inside.labels))
        scope_loss = balanced_bce(positive, inside.rows, negative, negative_weight)

        metrics = {
            "loss_scope": scalar_score(scope_loss),
            "pairs_inside": inside_score(batch, scope_right(positive, True)),
            "pairs_outside": Score(scope_right(negative, False), negative_weight),
        }
        if counterfactual is None:
            return options.cloc * scope_loss, Aux(metrics)
        contexts = in_context(take(batch.edits.prefix, edit_of), questions, layout)
        logits = counterfactual.logits(params["counterfactual"], contexts, keys[0])
        answers, wanted = batch.answers
        answer_loss = edit_loss(logits, answers, wanted, options.unlikelihood)
        right = batch.whole(whole_answer_right(logits, answers.labels, answers.weight))
        metrics |= {
            "loss_counterfactual": scalar_score(answer_loss),
            "counterfactual_accuracy": inside_score(batch, right),
        }
        return options.cedit * answer_loss + options.cloc * scope_loss, Aux(metrics)

    def mixture_loss(
        params: Params, base_params: Any, batch: EditBatch, key: Array | None
    ) -> tuple[Scalar, Aux]:
        """cedit · NLL of the mixture in scope + cloc · KL(base ‖ mixture) out of scope, without
        labels of pairs."""
        keys = split(key, 3)
        stored = scope.keys(params["scope"], batch.edits, keys[0])
        everything = EditTable(stored, batch.edits, batch.edits.rows > 0, jnp.int32(0))
        edited = Edited(base_params, everything)
        inside, outside = (
            apply(params, edited, batch.inside, keys[1]),
            apply(params, edited, batch.outside, keys[2]),
        )
        answer_loss = edit_loss(inside, batch.inside, batch.wanted, options.unlikelihood)
        kl = locality_loss(base.logits(base_params, batch.outside), outside, batch.outside)
        metrics = {"loss_edit": scalar_score(answer_loss), "loss_kl": scalar_score(kl)}
        return options.cedit * answer_loss + options.cloc * kl, Aux(metrics)

    return Editor(init, start, edit, apply, generate, loss, groups, decide)


def mixture(unchanged: Array, changed: Array, similarity: Float[Array, "n 1 1"]) -> Array:
    """Logits of (1−s)·p(unchanged) + s·p(changed)."""
    mixed = (1 - similarity) * jax.nn.softmax(unchanged) + similarity * jax.nn.softmax(changed)
    return jnp.log(mixed + EPS)


def split(key: Array | None, count: int) -> list[Array | None]:
    return [None] * count if key is None else list(jax.random.split(key, count))
