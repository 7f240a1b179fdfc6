"""Scores with one value per row, to be averaged, summed, split by kind or resampled."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Scalar

from serac_jax.core.arrays import AnyArray
from serac_jax.core.batch import EditBatch
from serac_jax.core.losses import token_kl, weighted_mean


class Score(NamedTuple):
    """One value per row; a row of weight 0 does not count.

    kind: the kind of each row's question, as a position in the task's list of kinds. None: the rows
        are no questions.
    edit: the edit of the batch that each row belongs to. None: rows belong to no edit.
    """

    value: Float[AnyArray, " n"]
    weight: Float[AnyArray, " n"]
    kind: Int[AnyArray, " n"] | None = None
    edit: Int[AnyArray, " n"] | None = None


def inside_score(batch: EditBatch, value: Float[AnyArray, " b"]) -> Score:
    """A score with a value per query in scope."""
    return Score(value, batch.inside.rows, batch.inside_kind, batch.edit_of)


def outside_score(batch: EditBatch, value: Float[AnyArray, " o"]) -> Score:
    """A score with a value per query out of scope."""
    return Score(value, batch.outside.rows, batch.outside_kind, batch.outside_of)


def whole_answer_right(
    logits: Float[Array, "n t v"], labels: Int[Array, "n t"], weight: Float[Array, "n t"]
) -> Float[Array, " n"]:
    """1 where every labelled position's argmax is its label: the edit success of question
    answering."""
    return ((logits.argmax(-1) == labels) | (weight == 0)).all(-1).astype(jnp.float32)


def answer_kept(
    before: Float[Array, "n t v"], after: Float[Array, "n t v"], weight: Float[Array, "n t"]
) -> Float[Array, " n"]:
    """1 where no labelled position's argmax changed, and for rows without labels.

    Drawdown is 1 minus its mean.
    """
    return ((before.argmax(-1) == after.argmax(-1)) | (weight == 0)).all(-1).astype(jnp.float32)


def mean_kl(
    before: Float[Array, "n t v"], after: Float[Array, "n t v"], weight: Float[Array, "n t"]
) -> Float[Array, " n"]:
    """KL(before ‖ after), averaged over each row's labelled positions."""
    count = weight.sum(-1)
    return (token_kl(before, after) * weight).sum(-1) / jnp.where(count > 0, count, 1.0)


def scalar_score(value: Scalar) -> Score:
    """A value of the whole batch, such as its loss."""
    return Score(value[None], jnp.ones(1))


def mean(score: Score) -> Scalar:
    """The average over rows that count; 0 where none does."""
    return weighted_mean(score.value, score.weight)
