"""Losses: padding is a weight, and gradients stay finite where nothing counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from serac_jax.core import losses

RNG = np.random.default_rng(0)
LOGITS = jnp.asarray(RNG.normal(size=(4, 5, 7)), jnp.float32)
OTHER = jnp.asarray(RNG.normal(size=(4, 5, 7)), jnp.float32)
LABELS = jnp.asarray(RNG.integers(0, 7, (4, 5)), jnp.int32)


def test_nll_is_the_mean_over_tokens_of_the_slice_that_counts():
    weight = jnp.ones((4, 5)).at[2:].set(0).at[:, 3:].set(0)
    expected = -jax.nn.log_softmax(LOGITS[:2, :3])[
        jnp.arange(2)[:, None], jnp.arange(3)[None], LABELS[:2, :3]
    ].mean()
    assert losses.nll(LOGITS, LABELS, weight) == pytest.approx(float(expected), abs=1e-6)


def test_kl_is_zero_for_equal_and_positive_for_different_answers():
    assert np.abs(losses.token_kl(LOGITS, LOGITS)).max() < 1e-6
    assert losses.token_kl(LOGITS, OTHER).min() > 0


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_weight_0_gives_0_with_a_finite_gradient(bad):
    values = jnp.array([1.0, bad, 3.0])
    value, gradient = jax.value_and_grad(losses.weighted_mean)(values, jnp.array([1.0, 0.0, 1.0]))
    assert value == 2
    assert gradient.tolist() == [0.5, 0, 0.5]
    value, gradient = jax.value_and_grad(losses.weighted_mean)(values, jnp.zeros(3))
    assert value == 0
    assert gradient.tolist() == [0, 0, 0]


def test_scope_loss_weighs_both_classes_alike():
    inside, outside = jnp.log(jnp.array([0.9, 0.8])), jnp.log(jnp.array([0.3]))
    expected = -np.log([0.9, 0.8]).mean() - np.log(0.7)
    assert losses.balanced_bce(inside, jnp.ones(2), outside, jnp.ones(1)) == pytest.approx(
        expected, abs=1e-6
    )
    many = jnp.tile(outside, 10)
    assert losses.balanced_bce(inside, jnp.ones(2), many, jnp.ones(10)) == pytest.approx(
        expected, abs=1e-6
    )
    assert losses.balanced_bce(inside, jnp.zeros(2), outside, jnp.ones(1)) == pytest.approx(
        -np.log(0.7), abs=1e-6
    )


def test_scope_loss_of_a_certain_mistake_is_large_but_finite():
    value, gradient = jax.value_and_grad(
        lambda x: losses.balanced_bce(x, jnp.zeros(1), x, jnp.ones(1))
    )(jnp.zeros(1))
    assert np.isfinite(value)
    assert value > 10
    assert np.isfinite(gradient).all()
    assert gradient[0] > 0


def test_shapes_are_checked_while_tests_run():
    with pytest.raises(TypeCheckError, match="labels"):
        losses.token_log_probs(LOGITS, LABELS[:, :4])
    with pytest.raises(TypeCheckError, match="labels"):
        losses.token_log_probs(LOGITS, LABELS.astype(jnp.float32))
