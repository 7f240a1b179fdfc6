"""Averages of scores with bootstrap intervals, for each kind of question and pooled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from serac_jax.core.metrics import Score
from serac_jax.tasks.kinds import Kind

ALL = "all"  # stands for the kind of scores that are not about questions, such as a loss
DRAWN = 1 << 22  # numbers drawn at once: 32 MB


class Estimate(NamedTuple):
    """A weighted mean over n rows, with its 95% interval (None without resamples)."""

    mean: float
    low: float | None
    high: float | None
    n: int


class Values(NamedTuple):
    """A score over several batches. edit: the edit that each row belongs to, numbered over all."""

    value: Float[np.ndarray, " n"]
    weight: Float[np.ndarray, " n"]
    kind: Int[np.ndarray, " n"] | None
    edit: Int[np.ndarray, " n"]


def joined(scores: Sequence[Score]) -> Values:
    """One score of several batches. Rows without an edit count as an edit each."""
    edits, first = [], 0
    for score in scores:
        here = np.arange(len(score.value)) if score.edit is None else np.asarray(score.edit)
        edits.append(here + first)
        first += int(here.max(initial=-1)) + 1
    kinds = [score.kind for score in scores if score.kind is not None]
    return Values(
        np.concatenate([np.asarray(score.value, np.float64) for score in scores]),
        np.concatenate([np.asarray(score.weight, np.float64) for score in scores]),
        np.concatenate(kinds) if kinds else None,
        np.concatenate(edits),
    )


def estimate(scores: Sequence[Score], resamples: int, seed: int) -> Estimate | None:
    """The weighted mean of a score over all batches and rows; None where no row counts."""
    return estimate_values(joined(scores), resamples, seed)


def estimate_values(values: Values, resamples: int, seed: int) -> Estimate | None:
    """The weighted mean and the 2.5% and 97.5% quantiles of its bootstrap over edits.

    Edits are resampled, not questions: the questions about one edit are right or wrong together.
    """
    kept = values.weight > 0
    value, weight = values.value[kept], values.weight[kept]
    if not len(value):
        return None
    _, edit = np.unique(values.edit[kept], return_inverse=True)
    sums, counts = np.bincount(edit, value * weight), np.bincount(edit, weight)
    mean = float((value * weight).sum() / weight.sum())
    if not resamples:
        return Estimate(mean, None, None, len(value))
    rng = np.random.default_rng(seed)
    means = np.concatenate(
        [sums[drawn].sum(-1) / counts[drawn].sum(-1) for drawn in draws(len(sums), resamples, rng)]
    )
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(mean, float(low), float(high), len(value))


def draws(
    edits: int, resamples: int, rng: np.random.Generator
) -> Iterator[Int[np.ndarray, "r edits"]]:
    """Resamples of so many edits, a few at a time."""
    step = max(1, DRAWN // edits)
    for start in range(0, resamples, step):
        yield rng.integers(edits, size=(min(step, resamples - start), edits))


def by_kind(
    batches: Sequence[dict[str, Score]], kinds: Sequence[Kind], resamples: int, seed: int
) -> dict[str, dict[str, Estimate]]:
    """Estimates as {score: {kind: estimate}}, without kinds that no row is of."""
    found: dict[str, dict[str, Estimate]] = {}
    for name in batches[0]:
        values = joined([scores[name] for scores in batches])
        if values.kind is None:
            parts = {ALL: values.weight}
        else:
            parts = {
                kind.name: values.weight * (values.kind == number)
                for number, kind in enumerate(kinds)
            }
        found[name] = present(values, parts.items(), resamples, seed)
    return {name: estimates for name, estimates in found.items() if estimates}


def pooled(
    batches: Sequence[dict[str, Score]], kinds: Sequence[Kind], resamples: int, seed: int
) -> dict[str, Estimate]:
    """Estimates over all kinds of a pool: "drawdown", or "drawdown_near" for the pool "near"."""
    found: dict[str, Estimate] = {}
    for name in batches[0]:
        values = joined([scores[name] for scores in batches])
        if values.kind is None:
            continue
        parts = []
        for pool in dict.fromkeys(kind.pool for kind in kinds):
            numbers = [number for number, kind in enumerate(kinds) if kind.pool == pool]
            label = f"{name}_{pool}" if pool else name
            parts.append((label, values.weight * np.isin(values.kind, numbers)))
        found |= present(values, parts, resamples, seed)
    return found


def present(
    values: Values,
    parts: Iterable[tuple[str, Float[np.ndarray, " n"]]],
    resamples: int,
    seed: int,
) -> dict[str, Estimate]:
    """An estimate for each set of row weights that is not empty."""
    found = {
        name: estimate_values(values._replace(weight=weight), resamples, seed)
        for name, weight in parts
    }
    return {name: value for name, value in found.items() if value is not None}
