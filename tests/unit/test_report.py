"""Averages by kind, their intervals, and lines of predictions."""

import numpy as np
import pytest

from serac_jax.core.metrics import Score
from serac_jax.editors.protocol import Route
from serac_jax.evaluation import estimates, predictions, report
from serac_jax.tasks.kinds import Kind
from serac_jax.tasks.zsre.zsre_questions import KINDS
from serac_jax.text.queries import Query, TextBatch
from serac_jax.training import steps

TWO = (Kind("prompt", True, ""), Kind("rephrase", True, ""), Kind("near", False, "", "near"))


def test_the_mean_counts_rows_by_weight_and_skips_padding():
    scores = [
        Score(np.array([1.0, 0.0]), np.array([1.0, 1.0])),
        Score(np.array([1.0, 9.0]), np.array([2.0, 0.0])),
    ]
    found = estimates.estimate(scores, 200, 0)
    assert found.mean == 0.75
    assert found.n == 3
    assert found.low <= found.mean <= found.high


def batches_of_kinds(seed=0):
    rng = np.random.default_rng(seed)
    return [
        {
            "edit_success": Score(
                rng.random(6), rng.integers(0, 2, 6).astype(float), rng.integers(0, 2, 6), None
            ),
            "drawdown": Score(rng.random(4), np.ones(4), np.full(4, 2), np.arange(4)),
            "loss": Score(rng.random(1), np.ones(1)),
        }
        for _ in range(5)
    ]


def test_scores_are_told_by_kind_and_pooled_as_their_kinds_say():
    """Against means over the rows of each kind, written out; validation sums the same."""
    batches = batches_of_kinds()
    found = estimates.by_kind(batches, TWO, 10, 0)
    pooled = estimates.pooled(batches, TWO, 10, 0)
    assert set(found) == {"edit_success", "drawdown", "loss"}
    assert set(found["edit_success"]) == {"prompt", "rephrase"}
    assert set(found["drawdown"]) == {"near"}
    assert set(found["loss"]) == {"all"}
    assert set(pooled) == {"edit_success", "drawdown_near"}
    value, weight, kind = (
        np.concatenate([getattr(batch["edit_success"], name) for batch in batches])
        for name in ("value", "weight", "kind")
    )
    for number, name in enumerate(("prompt", "rephrase")):
        rows = (weight > 0) & (kind == number)
        assert found["edit_success"][name].mean == pytest.approx(value[rows].mean())
        assert found["edit_success"][name].n == rows.sum()
    assert pooled["edit_success"].mean == pytest.approx(value[weight > 0].mean())
    averages = steps.averages([steps.total(batch, TWO) for batch in batches])
    flat = {
        f"{name}/{kind}": value.mean
        for name, kinds in found.items()
        for kind, value in kinds.items()
    }
    flat |= {f"{name}_pooled": value.mean for name, value in pooled.items()}
    flat["loss"] = flat.pop("loss/all")
    assert averages == pytest.approx(flat, rel=1e-5)


def test_the_interval_covers_as_it_says():
    """Of many samples of a fair coin, about 95 in 100 intervals contain one half."""
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        found = estimates.estimate(
            [Score(rng.integers(0, 2, 100).astype(float), np.ones(100))], 300, seed
        )
        hits += found.low <= 0.5 <= found.high
    assert 178 <= hits <= 200


def test_questions_of_one_edit_are_resampled_together():
    """Four questions that say the same are worth one: the interval is that of the edits alone."""
    values = np.random.default_rng(0).random(40)
    alone = estimates.estimate([Score(values, np.ones(40), None, np.arange(40))], 500, 0)
    four = Score(np.repeat(values, 4), np.ones(160), None, np.repeat(np.arange(40), 4))
    together = estimates.estimate([four], 500, 0)
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high))
    apart = estimates.estimate([four._replace(edit=None)], 500, 0)
    assert apart.high - apart.low < 0.7 * (together.high - together.low)


def test_edits_of_different_batches_are_different():
    batches = [Score(np.ones(2) * number, np.ones(2), None, np.arange(2)) for number in range(3)]
    assert len(set(estimates.joined(batches).edit.tolist())) == 6


def test_the_same_seed_gives_the_same_interval():
    score = [Score(np.arange(50.0), np.ones(50))]
    assert estimates.estimate(score, 100, 3) == estimates.estimate(score, 100, 3)
    assert estimates.estimate(score, 100, 3) != estimates.estimate(score, 100, 4)
    assert estimates.estimate(score, 0, 3) == (24.5, None, None, 50)


TEXTS = TextBatch(
    edits=[Query("Who?", "The Pope", source="a:1"), Query("Where?", "Rome"), None],
    inside=[Query("Who?", "The Pope", "prompt"), Query("At what place?", "Rome", "rephrase"), None],
    edit_of=[0, 1, 2],
    outside=[
        Query("When?", "1969", "unrelated"),
        None,
        None,
        Query("Why?", "", "near"),
        None,
        None,
    ],
    outside_of=[0, 1, 2, 0, 1, 2],
)


def test_a_prediction_says_what_was_asked_wanted_and_answered():
    answers = {
        "inside_before": ["Ann", "Oslo", ""],
        "inside_after": ["the pope.", "Oslo", ""],
        "outside_before": ["1970", "", "", "so", "", ""],
        "outside_after": ["1970", "", "", "no", "", ""],
    }
    routes = steps.Routes(
        *(
            Route(
                np.array([1, 0, 0] * copies),
                np.log([0.9, 0.2, 0.1] * copies),
                np.array([True, False, False] * copies),
            )
            for copies in (1, 2)
        )
    )
    found = list(predictions.predictions(TEXTS, answers, routes, KINDS, str, 10))
    assert found[0] == {
        "kind": "prompt",
        "question": "Who?",
        "wanted": "The Pope",
        "before": "Ann",
        "after": "the pope.",
        "right": True,
        "edit": {"index": 10, "prompt": "Who?", "answer": "The Pope"},
        "nearest": 11,
        "score": 0.9,
        "hit": True,
        "source": "",
    }
    assert [line["kind"] for line in found] == ["prompt", "rephrase", "unrelated", "near"]
    assert [line["right"] for line in found] == [True, False, True, False]
    assert [line["wanted"] for line in found] == ["The Pope", "Rome", "1970", "so"]
    assert [line["hit"] for line in found] == [True, False, True, True]
    without = list(predictions.predictions(TEXTS, answers, None, KINDS, str, 10))
    assert {line["score"] for line in without} == {None}


def test_opinions_are_not_judged_one_by_one():
    kinds = (Kind("opinion", True, "", one_answer=False),)
    texts = TextBatch(
        [Query("Topic: x", "Sentiment: Positive")],
        [Query("x?", "bad", "opinion", wanted=False)],
        [0],
        [],
        [],
    )
    answers = {name: ["meh"] for name in ("inside_before", "inside_after")}
    (line,) = predictions.predictions(texts, answers, None, kinds, str, 0)
    assert (line["wanted"], line["right"]) == (None, None)


def test_examples_show_all_kinds_and_none_twice():
    found = [{"kind": kind, "n": n} for kind in "abc" for n in range(3)]
    assert [line["kind"] for line in predictions.examples(found, 4)] == ["a", "b", "c", "a"]
    assert len(predictions.examples(found, 100)) == 9


def test_the_clock_estimates_from_all_but_the_first_batch():
    clock = report.Clock()
    assert clock.remaining(10) is None
    clock.counts |= {"batches": 3, "edits": 30}
    clock.seconds |= {"first_batch": 100.0, "rest": 4.0}
    assert clock.remaining(10) == 2.0
