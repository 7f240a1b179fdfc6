"""Losses, an element at a time, and the reductions that every editor uses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Scalar

from serac_jax.core.arrays import AnyArray
from serac_jax.core.batch import Examples

EPS = float(np.finfo(np.float32).eps)  # keeps logarithms finite, in every precision the same


def weighted_mean(values: Float[AnyArray, "*shape"], weight: Float[AnyArray, "*shape"]) -> Scalar:
    """Σw·x/Σw; 0, with gradient 0, where every weight is 0."""
    total = weight.sum()
    return (jnp.where(weight > 0, values, 0.0) * weight).sum() / jnp.where(total > 0, total, 1.0)


def token_log_probs(
    logits: Float[Array, "n t v"], labels: Int[AnyArray, "n t"]
) -> Float[Array, "n t"]:
    """log p(label) at every position; relative to the largest logit, so that a probability near 1
    keeps its digits."""
    logits -= jax.lax.stop_gradient(logits.max(-1, keepdims=True))
    chosen = jnp.take_along_axis(logits, labels[..., None], -1)[..., 0]
    return chosen - jnp.log(jnp.exp(logits).sum(-1))


def nll(
    logits: Float[Array, "n t v"], labels: Int[AnyArray, "n t"], weight: Float[Array, "n t"]
) -> Scalar:
    """Mean negative log-likelihood over the tokens of the batch (not over its rows), as in the
    original."""
    return -weighted_mean(token_log_probs(logits, labels), weight)


def edit_loss(
    logits: Float[Array, "n t v"],
    queries: Examples,
    wanted: Bool[Array, " n"],
    unlikelihood: bool = True,
) -> Scalar:
    """How far answers are from what an edit asks for: the NLL of wanted rows + −mean log(1−p) over
    the tokens of unwanted rows.

    The second term (Welleck et al. 2020; sentiment editing) is 0 where every row is wanted.
    `unlikelihood=False` leaves it out."""
    log_probs, wanted_weight = (
        token_log_probs(logits, queries.labels),
        queries.weight * wanted[:, None].astype(queries.weight.dtype),
    )
    loss = -weighted_mean(log_probs, wanted_weight)
    if unlikelihood:
        rest = 1 - jnp.exp(log_probs) + EPS
        loss -= weighted_mean(jnp.log(rest), queries.weight - wanted_weight)
    return loss


def locality_loss(
    before: Float[Array, "n t v"], after: Float[Array, "n t v"], queries: Examples
) -> Scalar:
    """Mean KL(before ‖ after) over the labelled positions of the batch."""
    return weighted_mean(token_kl(before, after), queries.weight)


def token_kl(before: Float[Array, "n t v"], after: Float[Array, "n t v"]) -> Float[Array, "n t"]:
    """KL(before ‖ after) at every position: how far an edit moved an answer that it should leave
    alone."""
    log_before = jax.nn.log_softmax(before)
    return (jnp.exp(log_before) * (log_before - jax.nn.log_softmax(after))).sum(-1)


def balanced_bce(
    inside: Float[Array, " p"],
    inside_weight: Float[AnyArray, " p"],
    outside: Float[Array, " q"],
    outside_weight: Float[AnyArray, " q"],
) -> Scalar:
    """The scope loss (Mitchell et al. 2022, section 3.2): mean of −log s over positives + mean of
    −log(1−s) over negatives.

    inside, outside: log-similarities log s of pairs that are in and out of scope. Each class counts
        the same, however many
    pairs it has.
    """
    miss = 1 - jnp.exp(outside)
    miss = jnp.where(miss == 0, miss + EPS, miss)  # s = 1: a large loss, not an infinite one
    return weighted_mean(-inside, inside_weight) + weighted_mean(-jnp.log(miss), outside_weight)
