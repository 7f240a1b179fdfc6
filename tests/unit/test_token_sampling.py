"""Tokens are drawn from the distribution that `transformers` draws from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers.generation.logits_process import (
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from serac_jax.core.errors import UserError
from serac_jax.models.token_sampling import Sampling, allowed, draw

LOGITS = np.random.default_rng(0).normal(size=(3, 50)).astype(np.float32) * 3


@pytest.mark.parametrize(
    "how",
    [
        Sampling(),
        Sampling(temperature=0.3),
        Sampling(top_k=5),
        Sampling(top_k=500),
        Sampling(top_p=0.6),
        Sampling(top_p=1e-6),
        Sampling(0.7, 20, 0.9),
    ],
)
def test_the_distribution_is_that_of_transformers(how):
    expected = TemperatureLogitsWarper(how.temperature)(None, torch.tensor(LOGITS))
    if how.top_k:
        expected = TopKLogitsWarper(how.top_k)(None, expected)
    if how.top_p < 1:
        expected = TopPLogitsWarper(how.top_p)(None, expected)
    ours = np.asarray(allowed(jnp.asarray(LOGITS), how))
    assert np.array_equal(np.isinf(ours), np.isinf(expected.numpy()))
    assert np.allclose(ours, expected.numpy(), rtol=1e-6)


def test_tokens_come_as_often_as_they_are_likely():
    """Within five standard errors of 20,000 draws."""
    how, count = Sampling(0.8, 10), 20_000
    logits = jnp.broadcast_to(jnp.asarray(LOGITS[:1]), (count, 50))
    drawn = np.bincount(np.asarray(draw(jax.random.key(0), logits, how)), minlength=50) / count
    likely = np.asarray(jax.nn.softmax(allowed(logits[:1], how)))[0]
    assert (np.abs(drawn - likely) <= 5 * np.sqrt(likely * (1 - likely) / count) + 1e-12).all()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (Sampling(temperature=0.0), r"temperature=0.0: expected a number above 0"),
        (Sampling(top_k=-1), r"top_k=-1: expected 0 \(all tokens\) or more"),
        (Sampling(top_p=1.5), r"top_p=1.5: expected a number above 0 and up to 1"),
    ],
)
def test_values_out_of_range_are_refused(how, message):
    with pytest.raises(UserError, match=message):
        how.check()
