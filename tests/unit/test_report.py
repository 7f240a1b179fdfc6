"""Averages and their intervals."""

import numpy as np
import pytest

from serac_jax.core.batch import EditBatch, Examples, Tokens
from serac_jax.core.metrics import Score
from serac_jax.evaluation import report


def test_the_mean_counts_rows_by_weight_and_skips_padding():
    scores = [
        Score(np.array([1.0, 0.0]), np.array([1.0, 1.0])),
        Score(np.array([1.0, 9.0]), np.array([2.0, 0.0])),
    ]
    found = report.estimate(scores, 200, 0)
    assert found.mean == 0.75
    assert found.n == 3
    assert found.low <= found.mean <= found.high


def test_a_score_without_rows_is_left_out():
    batches = [
        {"drawdown": Score(np.ones(2), np.ones(2)), "drawdown_hard": Score(np.ones(2), np.zeros(2))}
    ]
    assert list(report.estimates(batches, 10, 0)) == ["drawdown"]


def test_the_interval_covers_as_it_says():
    """Of many samples of a fair coin, about 95 in 100 intervals contain one half."""
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        found = report.estimate(
            [Score(rng.integers(0, 2, 100).astype(float), np.ones(100))], 300, seed
        )
        hits += found.low <= 0.5 <= found.high
    assert 178 <= hits <= 200


def test_the_same_seed_gives_the_same_interval():
    score = [Score(np.arange(50.0), np.ones(50))]
    assert report.estimate(score, 100, 3) == report.estimate(score, 100, 3)
    assert report.estimate(score, 100, 3) != report.estimate(score, 100, 4)


class Spelled:
    """A tokenizer whose ids are their own text."""

    def decode(self, ids, skip_special_tokens):
        return " ".join(map(str, ids))


@pytest.mark.parametrize("edits", [1, 2, 5])
def test_no_example_is_shown_twice(edits):
    ids = np.arange(edits)[:, None]
    tokens = Tokens(ids, np.ones_like(ids, bool))
    rows = Examples(tokens, tokens, tokens, ids, np.ones((edits, 1), np.float32))
    all_of, none = np.arange(edits), np.zeros(edits, bool)
    batch = EditBatch(
        edits=rows,
        inside=rows,
        edit_of=all_of,
        wanted=~none,
        hard_inside=none,
        outside=rows,
        outside_of=all_of,
        hard_outside=none,
    )
    answers = {
        f"{side}_{when}": ids for side in ("inside", "outside") for when in ("before", "after")
    }
    found = report.examples(batch, answers, Spelled(), lambda answer: str(answer[0]), 20)
    shown = [(example["kind"], example["query"]) for example in found]
    assert len(set(shown)) == len(shown)
    assert set(shown) >= {("in scope", str(row)) for row in range(edits)} | {("out of scope", "0")}
