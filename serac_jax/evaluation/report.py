"""The results of an evaluation: results.json, and the table that eval.py prints.

results.json is an object with

    scores              {score: {kind: estimate}}; an estimate is {"mean", "low", "high", "n"}: the
                        mean over n questions and its 95% bootstrap interval over edits. A score
                        that is not about questions has the one kind "all".
    pooled              {score: estimate} over several kinds together, as papers report it, and
                        {score_near: estimate} over the hard negatives together
    kinds               [{"name", "inside", "meaning", "pool"}]: the kinds of questions
    counts              {"batches", "edits", "inside", "outside"}: what was scored
    seconds             {"first_batch", "rest"}: the first batch includes compilation
    queries_per_second  after the first batch, edits and answers before and after included
    split               the split that was evaluated
    step                the step of the checkpoint; null for a saved editor
    examples            some lines of predictions.jsonl
    config, versions    what was evaluated, and by which packages
    command             the command line
"""

from __future__ import annotations

import time
from typing import Any

from serac_jax.core.batch import EditBatch
from serac_jax.core.metrics import Score
from serac_jax.core.types import Config
from serac_jax.evaluation.estimates import ALL, by_kind, pooled
from serac_jax.evaluation.predictions import Prediction
from serac_jax.tasks.kinds import Kind
from serac_jax.training.run_folder import as_json, versions

# What each score means, in the order in which scores are listed.
MEANING = {
    "edit_success": "in scope: the new answer, token by token (sentiment: sentiment × topic)",
    "edit_success_generated": "in scope: the generated answer is the new answer",
    "sentiment": "in scope: wanted opinions are likelier than the others",
    "topic": "in scope: how much of the likelihood of wanted opinions is left",
    "drawdown": "out of scope: the answer changed (sentiment: KL per token); lower is better",
    "drawdown_generated": "out of scope: the generated answer changed; lower is better",
    "kl": "out of scope: KL(before ‖ after) per token; lower is better",
    "scope_inside": "in scope: routed to an edit",
    "scope_outside": "out of scope: left to the base model",
    "retrieval": "in scope: the nearest edit is the right one",
    "counterfactual_accuracy": "in scope: the new answer, when given the right edit",
    "base_accuracy": "out of scope: the base model's answer is true",
    "base_accuracy_generated": "out of scope: the base model's generated answer is true",
    "pairs_inside": "in scope: similar to its own edit",
    "pairs_outside": "out of scope: not similar to the edit that it was drawn for",
    "loss": "the training loss",
}
# What results.json holds, but the table does not.
NOT_SHOWN = ("kl", "loss", "pairs_")


class Clock:
    """Counts and times batches; the first one, which compiles, is timed separately."""

    def __init__(self):
        self.counts = {"batches": 0, "edits": 0, "inside": 0, "outside": 0}
        self.seconds = {"first_batch": 0.0, "rest": 0.0}
        self.first_queries, self.since = 0, time.monotonic()

    def tick(self, batch: EditBatch) -> None:
        """Counts a batch that is done."""
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
        """Queries per second after the first batch; None where there was only one."""
        queries = self.counts["inside"] + self.counts["outside"] - self.first_queries
        return queries / self.seconds["rest"] if queries else None

    def remaining(self, edits: int) -> float | None:
        """The seconds that so many more edits take; None before the second batch is done."""
        first = self.counts["edits"] / max(self.counts["batches"], 1)
        done = self.counts["edits"] - first
        return edits * self.seconds["rest"] / done if self.counts["batches"] > 1 else None


def ordered(scores: dict[str, Score]) -> dict[str, Score]:
    """Scores in the order of MEANING, others behind."""
    names = [*(name for name in MEANING if name in scores), *sorted(scores.keys() - MEANING)]
    return {name: scores[name] for name in names}


def results(
    scores: list[dict[str, Score]],
    kinds: tuple[Kind, ...],
    clock: Clock,
    config: Config,
    *,
    split: str,
    step: int | None,
    examples: list[Prediction],
    command: str,
) -> dict[str, Any]:
    """The content of results.json."""
    scores = [ordered(batch) for batch in scores]
    resamples, seed = config.eval.resamples, config.seed
    found = by_kind(scores, kinds, resamples, seed)
    together = pooled(scores, kinds, resamples, seed)
    return {
        "scores": {
            name: {kind: value._asdict() for kind, value in estimates.items()}
            for name, estimates in found.items()
        },
        "pooled": {name: value._asdict() for name, value in together.items()},
        "kinds": [
            {
                "name": kind.name,
                "inside": kind.inside,
                "meaning": kind.meaning,
                "pool": kind.pool,
            }
            for kind in kinds
        ],
        "counts": clock.counts,
        "seconds": clock.seconds,
        "queries_per_second": clock.rate(),
        "split": split,
        "step": step,
        "examples": examples,
        "config": as_json(config),
        "versions": versions(),
        "command": command,
    }


def table(results: dict[str, Any]) -> str:
    """Scores by kind, counts and times, as lines of text."""
    lines: list[str] = []
    pools = {kind["name"]: kind["pool"] for kind in results["kinds"]}
    scores = {
        name: estimates
        for name, estimates in results["scores"].items()
        if not name.startswith(NOT_SHOWN)
    }
    for name, estimates in scores.items():
        lines.append(f"{name}  {MEANING.get(name, '')}".rstrip())
        lines += [line("" if kind == ALL else kind, value) for kind, value in estimates.items()]
        present = [pools[kind] for kind in estimates if kind in pools]
        for pool in dict.fromkeys(present):
            if present.count(pool) > 1:
                label = "_".join(part for part in (name, pool) if part)
                lines.append(line(f"{pool} pooled".strip(), results["pooled"][label]))
    asked = {kind for estimates in scores.values() for kind in estimates}
    meanings = [
        f"{kind['name']}: {kind['meaning']}" for kind in results["kinds"] if kind["name"] in asked
    ]
    return "\n".join(
        [
            *lines,
            "",
            *meanings,
            "pooled: several kinds together; without a name, as papers report it",
            "",
            summary(results),
        ]
    )


def line(label: str, value: dict[str, Any]) -> str:
    interval = "" if value["low"] is None else f"[{value['low']:.3f}, {value['high']:.3f}]"
    return f"  {label:<14} {value['mean']:6.3f}  {interval:<16} n={value['n']}"


def summary(results: dict[str, Any]) -> str:
    """What was scored, in how many seconds."""
    counts, seconds = results["counts"], results["seconds"]
    rate = results["queries_per_second"]
    return (
        f"{counts['edits']} edits, {counts['inside']} questions in scope and"
        f" {counts['outside']} out of scope in"
        f" {seconds['first_batch'] + seconds['rest']:.0f} s"
        + (f" ({rate:.0f} per second)" if rate else "")
    )
