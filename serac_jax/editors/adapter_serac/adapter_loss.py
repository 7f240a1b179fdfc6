"""What adapter SERAC learns from: a contrastive loss of the sentence encoder, and the reader's
verdicts and answers."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Scalar

from serac_jax.core.arrays import AnyArray
from serac_jax.core.batch import EditBatch, Examples, Tokens, join, places, take
from serac_jax.core.losses import token_log_probs, weighted_mean
from serac_jax.core.metrics import Score, inside_score, outside_score, scalar_score
from serac_jax.core.types import Params
from serac_jax.editors.adapter_serac.judge import FOLLOWS, SAME, UNRELATED, Judge
from serac_jax.models.adapters import LowRank

LEAST = float(np.finfo(np.float32).min)


class Pairs(NamedTuple):
    """Pairs of an edit and a question, in scope and then out of scope.

    Attributes:
        edit: the edit of each pair.
        verdict: what the reader should say of it.
        weight: 1 for real pairs, 0 for padding.
    """

    edit: Int[Array, " n"]
    verdict: Int[Array, " n"]
    weight: Float[Array, " n"]


def pairs_of(batch: EditBatch) -> Pairs:
    """The pairs of a batch. A question in scope whose answer is the edit's own asks the same."""
    same = answers_agree(batch.inside, take(batch.edits, batch.edit_of))
    inside = jnp.where(same, SAME, FOLLOWS)
    outside = jnp.full(batch.outside_of.shape, UNRELATED)
    return Pairs(
        jnp.concatenate([batch.edit_of, batch.outside_of]),
        jnp.concatenate([inside, outside]),
        jnp.concatenate([batch.inside.rows, batch.outside.rows]),
    )


def answers_agree(queries: Examples, edits: Examples) -> Bool[Array, " n"]:
    """Whether the labels of each row are the same."""
    width = max(queries.labels.shape[1], edits.labels.shape[1])
    one, other = (
        jnp.pad(
            jnp.where(rows.weight > 0, rows.labels, -1),
            ((0, 0), (0, width - rows.labels.shape[1])),
            constant_values=-1,
        )
        for rows in (queries, edits)
    )
    return (one == other).all(-1)


def contrastive_loss(
    keys: Float[Array, "k d"],
    vectors: Float[Array, "n d"],
    pairs: Pairs,
    edit_weight: Float[AnyArray, " k"],
    temperature: float,
) -> Scalar:
    """InfoNCE (van den Oord et al. 2018) both ways: each question in scope picks its edit among all
    edits, and each edit its question among all questions out of its scope, hard ones included.

    Args:
        keys, vectors: of edits and of questions, of length 1.
    """
    similarity = vectors @ keys.T / temperature
    asked = jnp.where(pairs.verdict != UNRELATED, pairs.weight, 0.0)
    own = pairs.edit[:, None] == jnp.arange(keys.shape[0])[None]
    positive = jnp.take_along_axis(similarity, pairs.edit[:, None], 1)[:, 0]

    among_edits = jnp.where(edit_weight[None] > 0, similarity, -jnp.inf)
    to_edit = jax.nn.logsumexp(among_edits, -1) - positive

    negative = ~(own & (asked[:, None] > 0)) & (pairs.weight[:, None] > 0)
    rest = jnp.where(negative, similarity, LEAST)
    against: Array = jax.nn.logsumexp(rest, 0)
    to_question = jnp.logaddexp(positive, against[pairs.edit]) - positive
    return weighted_mean(to_edit, asked) + weighted_mean(to_question, asked)


def reader_loss(
    judge: Judge,
    base_params: Params,
    change: dict[str, LowRank],
    batch: EditBatch,
    pairs: Pairs,
) -> tuple[Scalar, dict[str, Score]]:
    """Negative log-likelihood of verdicts, and of the answers that follow; with scores."""
    prefix = take(batch.edits.prefix, pairs.edit)
    questions = join(batch.inside.inputs, batch.outside.inputs)
    read = judge.reader.joined(prefix, questions, batch.layout)
    blank = jnp.zeros((len(batch.outside_of), batch.inside.labels.shape[1]), jnp.int32)
    words = jnp.asarray(judge.words, jnp.int32)[pairs.verdict]
    labels = jnp.concatenate(
        [words[:, None], jnp.concatenate([batch.inside.labels, blank])], axis=1
    )
    follows = (pairs.verdict == FOLLOWS).astype(jnp.float32)[:, None]
    spoken = follows * jnp.concatenate([batch.inside.weight, jnp.zeros(blank.shape)])
    weight = jnp.concatenate([pairs.weight[:, None], spoken], axis=1)

    answers, count = len(batch.edit_of), len(pairs.verdict)
    fill = batch.layout.label_fill
    wanted = None if fill is None else count + fill * answers * (labels.shape[1] - 1)
    at = places(weight > 0, None if wanted is None else min(wanted / weight.size, 1.0))
    nothing = Tokens(blank[:, :0], blank[:, :0] > 0)
    logits = judge.model.logits(
        base_params,
        Examples(read, nothing, nothing, labels, weight, at),
        interventions=change,
    )
    rows = jnp.arange(count)[:, None].repeat(labels.shape[1], 1)
    first = jnp.zeros(labels.shape, bool).at[:, 0].set(True)
    if at is not None:
        labels, weight, rows, first = (
            jnp.take(leaf.reshape(-1), at, mode="fill", fill_value=0)[:, None]
            for leaf in (labels, weight, rows, first)
        )
    # A verdict is one of three words, an answer one of all.
    of_three = jax.nn.log_softmax(logits[..., jnp.asarray(judge.words)])
    verdict = jnp.take_along_axis(of_three, pairs.verdict[rows][..., None], -1)[..., 0]
    is_verdict, is_answer = jnp.where(first, weight, 0.0), jnp.where(first, 0.0, weight)
    unrelated = pairs.verdict[rows] == UNRELATED
    # Both sides of the scope count the same, however many pairs they have.
    loss_verdict = -weighted_mean(verdict, jnp.where(unrelated, is_verdict, 0.0))
    loss_verdict -= weighted_mean(verdict, jnp.where(unrelated, 0.0, is_verdict))
    loss_answer = -weighted_mean(token_log_probs(logits, labels), is_answer)

    judged = (
        jnp.zeros(count)
        .at[jnp.where(is_verdict > 0, rows, count).reshape(-1)]
        .set(
            (of_three.argmax(-1) == pairs.verdict[rows]).astype(jnp.float32).reshape(-1),
            mode="drop",
        )
    )
    wrong = (logits.argmax(-1) != labels) & (is_answer > 0)
    right = jnp.ones(count).at[rows.reshape(-1)].min((~wrong).reshape(-1).astype(jnp.float32))
    said = inside_score(batch, right[:answers])
    scores = {
        "loss_verdict": scalar_score(loss_verdict),
        "loss_answer": scalar_score(loss_answer),
        "verdict_inside": inside_score(batch, judged[:answers]),
        "verdict_outside": outside_score(batch, judged[answers:]),
        "answer_accuracy": said._replace(weight=said.weight * follows[:answers, 0]),
    }
    return loss_verdict + loss_answer, scores
