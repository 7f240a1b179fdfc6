"""How well scores tell questions that fall under an edit from others, and the threshold that lets no more than a given share of the others through."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from serac_jax.errors import UserError
from serac_jax.live.matching import Matcher
from serac_jax.live.spec import Decision
from serac_jax.live.trials import Trial
from serac_jax.store import edits as texts

BINS = 10  # of scores, where the calibration error compares them with what they should mean
POINTS = 200  # of a curve, at most


class Scores(NamedTuple):
    """The score of the nearest edit of every question, and whether the question falls under an edit."""

    value: Float[np.ndarray, " n"]
    inside: Bool[np.ndarray, " n"]


def measure(matcher: Matcher, trials: Iterable[Trial]) -> Scores:
    """The scores of trials, each with its own edits in memory. Raises UserError where questions of one of the two kinds are missing.

    One memory holds the edits of all, under a tag for each trial that they belong to, so that what several trials have in common is read once.
    """
    tags, asked = defaultdict(list), []
    for number, trial in enumerate(trials):
        for edit in trial.edits:
            tags[edit].append(str(number))
        asked += [(question, str(number), kind) for kind, side in ((True, trial.inside), (False, trial.outside)) for question in side]
    if len({inside for _, _, inside in asked}) < 2:
        raise UserError("there are no questions in scope, or none out of scope; both are needed to tell one from the other")
    together = matcher.empty()
    together.add(texts.make(*edit, tags=of) for edit, of in tags.items())
    order = sorted(range(len(asked)), key=lambda place: asked[place])  # the same questions beside one another
    nears = together.nearest([asked[place][0] for place in order], [(asked[place][1],) for place in order])
    value = np.zeros(len(asked))
    value[order] = [near[0].score if near else 0.0 for near in nears]
    return Scores(value, np.array([inside for _, _, inside in asked]))


def fit(scores: Scores, target: float) -> Decision:
    """The threshold that a question out of scope exceeds with a probability of at most `target`.

    It is the ⌊target·(n + 1)⌋-th highest of the n scores out of scope: of n + 1 questions that come in any order, the new one is among so many highest with
    that probability (conformal prediction; Vovk et al. 2005), whereas the quantile of the n themselves lets too many new ones through.
    From `unsure_from` on, up to the threshold, an edit might have answered: at most about a share `target` of the questions in scope lies below.
    Raises UserError where `target` is no rate, or the questions are too few to show one so low.
    """
    if not 0 < target < 1:
        raise UserError(f"the target {target} is no rate; give a number between 0 and 1, such as 0.05")
    outside, inside = np.sort(scores.value[~scores.inside])[::-1], np.sort(scores.value[scores.inside])
    rank = math.floor(target * (len(outside) + 1) + 1e-9)
    if not rank:
        raise UserError(f"{len(outside)} questions out of scope cannot show a rate of {target}: give {math.ceil(1 / target) - 1} or more, or a higher target")
    threshold = float(outside[rank - 1])
    return Decision(threshold, min(float(inside[int(target * len(inside))]), threshold))


def report(scores: Scores, decision: Decision, target: float | None = None) -> dict[str, Any]:
    """What a decision does to the questions that were scored.

    false_positive_rate, recall, precision at the threshold; unsure: the share of all questions in the band below it; area: under the ROC curve;
    calibration_error: |score − share in scope| expected over bins of the score.
    """
    hit, inside = scores.value > decision.threshold, scores.inside
    unsure = ~hit & (scores.value > decision.unsure_from)
    return {
        "target": target,
        **decision._asdict(),
        "false_positive_rate": float(hit[~inside].mean()),
        "recall": float(hit[inside].mean()),
        "precision": float(inside[hit].mean()) if hit.any() else None,
        "unsure": float(unsure.mean()),
        "area": area(scores),
        "calibration_error": float(sum(share * abs(score - true) for share, score, true in bins(scores))),
        "inside": int(inside.sum()),
        "outside": int((~inside).sum()),
    }


def rates(scores: Scores) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """False-positive rate, recall and precision of every threshold that makes a difference, from the highest down."""
    order = np.argsort(-scores.value, kind="stable")
    value, inside = scores.value[order], scores.inside[order]
    last = np.append(np.flatnonzero(np.diff(value)), len(value) - 1)  # equal scores fall together
    right, wrong = np.cumsum(inside)[last], np.cumsum(~inside)[last]
    return wrong / (~inside).sum(), right / inside.sum(), right / (right + wrong)


def area(scores: Scores) -> float:
    """Under the ROC curve: how often a question in scope scores above one out of scope, equal scores counting half."""
    wrong, right, _ = rates(scores)
    return float(np.trapezoid(np.append(0.0, right), np.append(0.0, wrong)))


def bins(scores: Scores) -> list[tuple[float, float, float]]:
    """Of every bin of scores that is not empty: its share of all questions, their mean score, and the share that is in scope."""
    number = np.minimum((scores.value * BINS).astype(int), BINS - 1)
    members = [number == which for which in range(BINS)]
    return [(float(m.mean()), float(scores.value[m].mean()), float(scores.inside[m].mean())) for m in members if m.any()]


def thinned(*curve: Float[np.ndarray, " m"]) -> list[list[float]]:
    """A curve of at most POINTS points, its ends among them."""
    kept = np.unique(np.linspace(0, len(curve[0]) - 1, POINTS).round().astype(int))
    return [axis[kept].tolist() for axis in curve]


def told(found: dict[str, Any]) -> str:
    """A report as lines of text."""
    meaning = {
        "false_positive_rate": f"out of scope: {found['outside']} questions, answered by an edit all the same",
        "recall": f"in scope: {found['inside']} questions, answered by an edit",
        "precision": "answered by an edit: in scope",
        "unsure": "all questions: the base model answered, but an edit might have",
        "area": "under the ROC curve",
        "calibration_error": "expected |score − share in scope|",
        "threshold": "an edit answers above this score",
        "unsure_from": "… and might have from this one on",
    }
    return "\n".join(f"{name:<20} {found[name]:.3f}  {said}" for name, said in meaning.items() if found[name] is not None)
