"""What SERAC learns from (Mitchell et al. 2022, section 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Scalar

from serac_jax.core.batch import EditBatch, Examples, join, packed, spread, take
from serac_jax.core.losses import balanced_bce, edit_loss, locality_loss
from serac_jax.core.metrics import Score, inside_score, scalar_score, whole_answer_right
from serac_jax.core.types import Params
from serac_jax.editors.edit_table import EditTable
from serac_jax.editors.protocol import Aux
from serac_jax.editors.serac.reader import Reader
from serac_jax.editors.serac.router import Router


class Options(NamedTuple):
    """How SERAC is trained.

    supervised: on the labels of pairs; else through the mixture of both models' answers.
    soft_weighting: mix the two models' probabilities by the similarity; always so where
        unsupervised.
    all_negatives: every out-of-scope query is a negative of every edit, not only of its own.
    freeze: train only the last so many blocks of the scope classifier, and its head.
    cedit, cloc: weights of the loss in scope and of the scope (or locality) loss.
    unlikelihood: also make unwanted answers less likely.
    """

    supervised: bool = True
    soft_weighting: bool = False
    all_negatives: bool = False
    freeze: int | None = None
    cedit: float = 0.1
    cloc: float = 1.0
    unlikelihood: bool = True


Apply = Callable[..., Float[Array, "n t v"]]  # (params, base, table, queries, key) -> logits


def supervised_loss(
    router: Router,
    counterfactual: Reader | None,
    options: Options,
    params: Params,
    batch: EditBatch,
    key: Array | None,
) -> tuple[Scalar, Aux]:
    """cedit · NLL given the gold edit + cloc · scope loss: no base model, no retrieval, no pairs
    that the loss does not read.

    Where the base model takes the counterfactual model's place, its NLL is a constant of what is
    learned and is left out.
    """
    scope, keys = router.scope, split(key, 4)
    inside, outside, questions, layout = batch.inside, batch.outside, batch.asked, batch.layout
    edit_of = batch.edit_of[:: layout.alike]
    edits = batch.edits._replace(scope=packed(batch.edits.scope, layout.text_fill))
    stored = scope.keys(params["scope"], edits, keys[1])
    # Both kinds of queries at once: larger products, and no two gradients of every weight to add.
    both = questions._replace(
        scope=packed(join(questions.scope, outside.scope), layout.text_fill), words=None
    )
    vectors, count = scope.queries(params["scope"], both, keys[2]), len(edit_of)

    def paired(of: Int[Array, " n"], vectors: Array, queries: Examples) -> Float[Array, " n"]:
        """Log-similarity of each query and the edit that it belongs to."""
        edits = take(batch.edits, of)
        return scope.pairs(params["scope"], stored[of], edits, vectors, queries, keys[3], layout)

    if options.all_negatives:
        positive = paired(edit_of, vectors[:count], questions)
        everything = EditTable(stored, batch.edits, jnp.asarray(batch.edits.rows) > 0, jnp.int32(0))
        negative = scope.table(params["scope"], everything, vectors[count:], outside, keys[3])
        negative = negative.reshape(-1)
        negative_weight = (outside.rows[:, None] * batch.edits.rows[None]).reshape(-1)
    else:
        similarities = paired(jnp.concatenate([edit_of, batch.outside_of]), vectors, both)
        positive, negative = similarities[:count], similarities[count:]
        negative_weight = outside.rows
    positive = spread(positive, len(inside.labels))
    scope_loss = balanced_bce(positive, inside.rows, negative, negative_weight)

    hits = [router.thresholds.hit(jnp.exp(side)) for side in (positive, negative)]
    metrics = {
        "loss_scope": scalar_score(scope_loss),
        "pairs_inside": inside_score(batch, hits[0].astype(jnp.float32)),
        "pairs_outside": Score((~hits[1]).astype(jnp.float32), negative_weight),
    }
    if counterfactual is None:
        return options.cloc * scope_loss, Aux(metrics)
    logits = counterfactual.logits_after(
        params["counterfactual"], take(batch.edits.prefix, edit_of), questions, keys[0], layout
    )
    answers, wanted = batch.answers
    answer_loss = edit_loss(logits, answers, wanted, options.unlikelihood)
    right = batch.whole(whole_answer_right(logits, answers.labels, answers.weight))
    metrics |= {
        "loss_counterfactual": scalar_score(answer_loss),
        "counterfactual_accuracy": inside_score(batch, right),
    }
    return options.cedit * answer_loss + options.cloc * scope_loss, Aux(metrics)


def mixture_loss(
    router: Router,
    base: Reader,
    options: Options,
    apply: Apply,
    params: Params,
    base_params: Any,
    batch: EditBatch,
    key: Array | None,
) -> tuple[Scalar, Aux]:
    """cedit · NLL of the mixture in scope + cloc · KL(base ‖ mixture) out of scope, without labels
    of pairs.

    Args:
        apply: the edited model's logits, by a table of edits.
    """
    keys = split(key, 3)
    stored = router.scope.keys(params["scope"], batch.edits, keys[0])
    table = EditTable(stored, batch.edits, jnp.asarray(batch.edits.rows) > 0, jnp.int32(0))
    inside, outside = (
        apply(params, base_params, table, queries, key)
        for queries, key in ((batch.inside, keys[1]), (batch.outside, keys[2]))
    )
    answer_loss = edit_loss(inside, batch.inside, batch.wanted, options.unlikelihood)
    before = base.model.logits(base_params, batch.outside)
    kl = locality_loss(before, outside, batch.outside)
    metrics = {"loss_edit": scalar_score(answer_loss), "loss_kl": scalar_score(kl)}
    return options.cedit * answer_loss + options.cloc * kl, Aux(metrics)


def split(key: Array | None, count: int) -> list[Array | None]:
    return [None] * count if key is None else list(jax.random.split(key, count))
