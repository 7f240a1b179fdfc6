"""Results of an evaluation: averages with bootstrap intervals, a table, examples in words, and
results.json.

The schema of results.json:

    scores              {name: {"mean", "low", "high", "n"}}: the average over n rows and its 95% bootstrap interval; names: MEANING
    counts              {"batches", "edits", "inside", "outside"}: what was scored
    seconds             {"first_batch", "rest"}: the first batch includes compilation
    queries_per_second  after the first batch, edits and answers before and after included
    step                of the checkpoint
    examples            [{"edit", "kind", "query", "before", "after"}]
    config, versions    of the run
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from serac_jax.core.batch import EditBatch
from serac_jax.core.metrics import Score
from serac_jax.core.types import Config
from serac_jax.training.run_folder import as_json, versions

# What each score means, in the order in which they are shown.
MEANING = {
    "edit_success": (
        "in scope: answered as the edit asks (teacher forcing); in sentiment editing sentiment ×"
        " topic"
    ),
    "edit_success_generated": "in scope: free (greedy) generation gives exactly the new answer",
    "edit_success_easy": "… of the question itself and its rephrasings",
    "edit_success_hard": "… of implications, yes/no questions and claims that evidence decides",
    "sentiment": "… wanted opinions are likelier than the others",
    "topic": "… likelihood that is left of the wanted opinions",
    "drawdown": (
        "out of scope: the answer changed (teacher forcing; in sentiment editing KL(before ‖ after)"
        " a token); lower is better"
    ),
    "drawdown_generated": "out of scope: free generation changed; lower is better",
    "drawdown_hard": "… hard negatives, drawn near the edit",
    "kl": "out of scope: KL(before ‖ after) a token; lower is better",
    "base_accuracy": "out of scope: true answers of the unedited model",
    "base_accuracy_generated": "… in free generation",
    "scope_inside_easy": "in scope, routed to an edit",
    "scope_inside_hard": "… implications, yes/no questions and claims that evidence decides",
    "scope_outside_easy": "out of scope, left to the base model",
    "scope_outside_hard": "… hard negatives",
    "retrieval": "in scope: the nearest stored edit is the right one",
    "counterfactual_accuracy": (
        "in scope: the counterfactual model, given the right edit, answers as wanted"
    ),
    "loss": "the training loss",
}


class Estimate(NamedTuple):
    mean: float
    low: float
    high: float
    n: int


def estimate(scores: list[Score], resamples: int, seed: int) -> Estimate | None:
    """The weighted mean over all rows, with the 2.5% and 97.5% quantiles of its bootstrap; None
    where no row counts."""
    value = np.concatenate([np.asarray(score.value) for score in scores])
    weight = np.concatenate([np.asarray(score.weight) for score in scores])
    value, weight = value[weight > 0].astype(np.float64), weight[weight > 0].astype(np.float64)
    if not len(value):
        return None
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for i in range(resamples):
        drawn = rng.integers(len(value), size=len(value))
        means[i] = (value[drawn] * weight[drawn]).sum() / weight[drawn].sum()
    low, high = np.quantile(means, [0.025, 0.975]) if resamples else (np.nan, np.nan)
    return Estimate(
        float((value * weight).sum() / weight.sum()), float(low), float(high), len(value)
    )


def estimates(batches: list[dict[str, Score]], resamples: int, seed: int) -> dict[str, Estimate]:
    """An estimate of every score, in the order of MEANING."""
    names = [*MEANING, *sorted(set(batches[0]) - set(MEANING))]
    found = {
        name: estimate([scores[name] for scores in batches], resamples, seed)
        for name in names
        if name in batches[0]
    }
    return {name: value for name, value in found.items() if value is not None}


class Clock:
    """Counts and times batches; the first one, which compiles, apart."""

    def __init__(self):
        self.counts = {"batches": 0, "edits": 0, "inside": 0, "outside": 0}
        self.seconds = {"first_batch": 0.0, "rest": 0.0}
        self.first_queries, self.since = 0, time.monotonic()

    def tick(self, batch: EditBatch) -> None:
        rows = {
            name: int(getattr(batch, name).weight.any(-1).sum())
            for name in ("edits", "inside", "outside")
        }
        self.counts = {name: self.counts[name] + rows.get(name, 1) for name in self.counts}
        now = time.monotonic()
        if self.counts["batches"] == 1:
            self.first_queries = rows["inside"] + rows["outside"]
        self.seconds["first_batch" if self.counts["batches"] == 1 else "rest"] += now - self.since
        self.since = now

    def rate(self) -> float | None:
        """Queries a second after the first batch; None where there was only one."""
        queries = self.counts["inside"] + self.counts["outside"] - self.first_queries
        return queries / self.seconds["rest"] if queries else None


def results(
    scores: list[dict[str, Score]],
    clock: Clock,
    config: Config,
    step: int,
    texts: list[dict[str, str]],
) -> dict[str, Any]:
    """Everything that results.json holds."""
    found = estimates(scores, config.eval.resamples, config.seed)
    return {
        "scores": {name: value._asdict() for name, value in found.items()},
        "counts": clock.counts,
        "seconds": clock.seconds,
        "queries_per_second": clock.rate(),
        "step": step,
        "examples": texts,
        "config": as_json(config),
        "versions": versions(),
    }


def table(results: dict[str, Any]) -> str:
    """Scores, counts and times as lines of text."""
    scores, counts, seconds = results["scores"], results["counts"], results["seconds"]
    width = max(map(len, scores))
    lines = [
        f"{name:<{width}}  {s['mean']:6.3f}  [{s['low']:.3f}, {s['high']:.3f}]  n={s['n']:<6}"
        f" {MEANING.get(name, '')}".rstrip()
        for name, s in scores.items()
    ]
    rate = (
        f", {results['queries_per_second']:.0f} queries a second"
        if results["queries_per_second"]
        else ""
    )
    lines.append(
        f"{counts['edits']} edits, {counts['inside']} + {counts['outside']} queries in"
        f" {seconds['first_batch'] + seconds['rest']:.0f} s{rate}"
    )
    return "\n".join(lines)


def examples(
    batch: EditBatch,
    generated: dict[str, np.ndarray],
    tokenizer: Any,
    words: Callable[[Any], str],
    count: int,
) -> list[dict[str, str]]:
    """Queries in words, in and out of scope by turns, with the edit they belong to and the answers
    before and after.

    tokenizer: of questions. words: an answer's ids as text.
    """

    def text(ids: Any) -> str:
        return tokenizer.decode(ids, skip_special_tokens=True)

    found, chosen = [], set()
    for number in range(count):
        side = "inside" if number % 2 == 0 else "outside"
        queries, of = (
            getattr(batch, side),
            getattr(batch, "edit_of" if side == "inside" else "outside_of"),
        )
        row = (
            number // 2 if side == "inside" or number % 4 == 1 else len(of) - 1 - number // 2
        )  # from both ends: the hard negatives come last
        if not 0 <= row < len(of) or (side, row) in chosen or not queries.weight[row].any():
            continue
        chosen.add((side, row))
        edit = int(of[row])
        found.append(
            {
                "edit": f"{text(batch.edits.inputs.ids[edit])} → {words(batch.edits.labels[edit])}",
                "kind": (
                    "in scope"
                    if side == "inside"
                    else "hard negative"
                    if batch.hard_outside[row]
                    else "out of scope"
                ),
                "query": text(queries.inputs.ids[row]),
                "before": words(generated[f"{side}_before"][row]),
                "after": words(generated[f"{side}_after"][row]),
            }
        )
    return found


def shown(examples: list[dict[str, str]]) -> str:
    """Examples as lines of text."""
    return "\n".join(
        f"  edit: {e['edit']}\n  {e['kind']}: {e['query']}\n    before: {e['before']}\n    after: "
        f" {e['after']}"
        for e in examples
    )
