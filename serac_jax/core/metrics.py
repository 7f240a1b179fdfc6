"""Scores, one value a row, so that whoever reports them can average them, sum them over batches or
resample them."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Scalar

from serac_jax.core.losses import token_kl, weighted_mean


class Score(NamedTuple):
    """One value a row; a row of weight 0 does not count."""

    value: Float[Array, " n"]
    weight: Float[Array, " n"]


def whole_answer_right(
    logits: Float[Array, "n t v"], labels: Int[Array, "n t"], weight: Float[Array, "n t"]
) -> Float[Array, " n"]:
    """1 where every labelled position's argmax is its label: the edit success of question
    answering."""
    return ((logits.argmax(-1) == labels) | (weight == 0)).all(-1).astype(jnp.float32)


def answer_kept(
    before: Float[Array, "n t v"], after: Float[Array, "n t v"], weight: Float[Array, "n t"]
) -> Float[Array, " n"]:
    """1 where no labelled position's argmax changed; drawdown is 1 − its mean. A row without labels
    is kept."""
    return ((before.argmax(-1) == after.argmax(-1)) | (weight == 0)).all(-1).astype(jnp.float32)


def mean_kl(
    before: Float[Array, "n t v"], after: Float[Array, "n t v"], weight: Float[Array, "n t"]
) -> Float[Array, " n"]:
    """KL(before ‖ after), averaged over each row's labelled positions."""
    count = weight.sum(-1)
    return (token_kl(before, after) * weight).sum(-1) / jnp.where(count > 0, count, 1.0)


def scope_right(log_similarity: Float[Array, " n"], in_scope: bool) -> Float[Array, " n"]:
    """1 where the similarity is on the right side of one half."""
    return ((jnp.exp(log_similarity) > 0.5) == in_scope).astype(jnp.float32)


def split_by_difficulty(
    rows: Float[Array, " n"], hard: Bool[Array, " n"]
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Row weights of the easy and of the hard rows."""
    return rows * (1 - hard.astype(rows.dtype)), rows * hard.astype(rows.dtype)


def scalar_score(value: Scalar) -> Score:
    """A value of the whole batch, such as its loss."""
    return Score(value[None], jnp.ones(1))


def mean(score: Score) -> Scalar:
    """The average over rows that count; 0 where none does."""
    return weighted_mean(score.value, score.weight)
