"""Scores: a row each, the whole answer or nothing."""

import jax.numpy as jnp

from serac_jax.core import metrics
from serac_jax.core.metrics import Score

LABELS = jnp.array([[1, 2, 0], [1, 2, 0], [1, 2, 0]])
WEIGHT = jnp.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])


def logits(answers):
    return jnp.eye(4)[jnp.array(answers)]


def test_an_answer_is_right_only_as_a_whole_and_padding_counts_as_right():
    answers = logits([[1, 2, 3], [1, 3, 0], [3, 3, 3]])
    assert metrics.whole_answer_right(answers, LABELS, WEIGHT).tolist() == [1, 0, 1]


def test_an_answer_is_kept_where_no_labelled_position_changed():
    before, after = (
        logits([[1, 2, 3], [1, 2, 3], [1, 2, 3]]),
        logits([[1, 2, 0], [1, 0, 3], [0, 0, 0]]),
    )
    assert metrics.answer_kept(before, after, WEIGHT).tolist() == [1, 0, 1]


def test_rows_of_weight_0_do_not_count():
    assert metrics.mean(Score(jnp.array([1.0, 0.0, 7.0]), jnp.array([1.0, 1.0, 0.0]))) == 0.5
    assert metrics.mean(Score(jnp.array([1.0]), jnp.array([0.0]))) == 0
