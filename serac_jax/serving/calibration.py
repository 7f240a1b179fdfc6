"""How well scores separate questions in scope from others, and the threshold for a given
false-positive rate."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from serac_jax.core.errors import UserError
from serac_jax.core.trial import Rows, Trial
from serac_jax.editors.protocol import Thresholds
from serac_jax.edits import records
from serac_jax.serving.answers import Near
from serac_jax.serving.matching import Matcher
from serac_jax.text.buckets import chunks

BINS = 10  # of scores, where the calibration error compares them with what they should mean
POINTS = 200  # of a curve, at most


class Scores(NamedTuple):
    """The score of each question's nearest edit, and whether the question is in scope.

    Attributes:
      value: The scores.
      inside: Whether each question is in an edit's scope.
      group: The data row near which an out-of-scope question was drawn, as a number; None: each
        question is a group of its own.
      rows: The question's data row and that of its nearest edit; None: all are different.
      kind: The name of each question's kind, or "" if it is not known.
    """

    value: Float[np.ndarray, " n"]
    inside: Bool[np.ndarray, " n"]
    group: Int[np.ndarray, " n"] | None = None
    rows: Int[np.ndarray, "n 2"] | None = None
    kind: Sequence[str] = ()

    @property
    def groups(self) -> Int[np.ndarray, " m"]:
        """The group of each out-of-scope question, numbered from 0 without gaps."""
        return np.unique(
            (np.arange(len(self.value)) if self.group is None else self.group)[~self.inside],
            return_inverse=True,
        )[1]


def measure(
    matcher: Matcher, trials: Iterable[Trial], progress: Callable[[int], None] = lambda count: None
) -> Scores:
    """Scores trials, each with its own edits.

    One index holds all edits, tagged by trial, so that an edit of several trials is embedded once.

    Args:
        progress: called with the number of questions scored since the last call.

    Raises:
        UserError: there are no questions in scope, or none out of scope.
    """
    tags: dict[tuple[str, str], list[str]] = defaultdict(list)
    row_of: dict[str, str] = {}
    asked: list[tuple[str, str, bool, str, str, str]] = []
    for number, trial in enumerate(trials):
        rows = trial.rows or Rows(
            tuple(prompt for prompt, _ in trial.edits), trial.outside, trial.outside
        )
        for edit, row in zip(trial.edits, rows.edits, strict=True):
            tags[edit].append(str(number))
            row_of[edit[0]] = row
        kinds = trial.inside_kinds or ("",) * len(trial.inside)
        inside = zip(trial.inside, kinds, strict=True)
        asked += [
            (question, str(number), True, question, question, kind) for question, kind in inside
        ]
        outside = zip(
            trial.outside,
            rows.outside,
            rows.beside,
            trial.outside_kinds or ("",) * len(trial.outside),
            strict=True,
        )
        asked += [
            (question, str(number), False, own, beside, kind)
            for question, own, beside, kind in outside
        ]
    if len({inside for _, _, inside, *_ in asked}) < 2:
        raise UserError(
            "there are no questions in scope, or none out of scope; both are needed to tell one"
            " from the other"
        )
    together = matcher.empty()
    together.add(records.make(*edit, tags=of) for edit, of in tags.items())
    order = sorted(range(len(asked)), key=lambda place: asked[place])  # equal questions together
    nears: list[list[Near]] = []
    for places in chunks(order):
        nears += together.nearest(
            [asked[place][0] for place in places], [(asked[place][1],) for place in places]
        )
        progress(len(places))
    found = dict(zip(order, nears, strict=True))
    numbers: dict[str, int] = defaultdict(lambda: len(numbers))
    return Scores(
        np.array([found[place][0].score if found[place] else 0.0 for place in range(len(asked))]),
        np.array([inside for _, _, inside, *_ in asked]),
        np.array([numbers[beside] for *_, beside, _ in asked]),
        np.array(
            [
                (
                    numbers[own],
                    numbers[row_of[found[place][0].edit.prompt] if found[place] else own],
                )
                for place, (*_, own, _, _) in enumerate(asked)
            ]
        ),
        [kind for *_, kind in asked],
    )


def check_target(target: float, rows: int, questions: int) -> None:
    """Raises UserError where `target` is not a rate, or where so many questions out of scope, drawn
    near so many rows, are too few for it."""
    if not 0 < target < 1:
        raise UserError(
            f"the target {target} is no rate; give a number between 0 and 1, such as 0.05"
        )
    if most_above(target, rows) < 0:
        few = f"{rows} {'questions' if rows == questions else 'rows with questions'} out of scope"
        raise UserError(
            f"{few} cannot show a rate of {target}: give {math.ceil(1 / target) - 1} or more, or a"
            " higher target"
        )


def most_above(target: float, rows: int) -> float:
    """How many rows may lie above the threshold, with a margin for rounding."""
    return target * (rows + 1) - 1 + 1e-9


def fit(scores: Scores, target: float) -> Thresholds:
    """The threshold that a new out-of-scope question exceeds with probability at most `target`.

    Questions drawn near one data row depend on each other, so rows, not questions, are taken as
    exchangeable. The questions of a row weigh 1 together, and so does a new row, which may exceed
    everything: at most the share `target` of these K + 1 lies above the threshold (hierarchical
    conformal prediction; Lee, Barber & Willett 2023; Dunn, Wasserman & Ramdas 2022). If each
    question is a group of its own, the threshold is the ⌊target·(n + 1)⌋-th highest out-of-scope
    score (Vovk et al. 2005). At most about a share `target` of the in-scope questions scores below
    `unsure_from`.

    Raises:
        UserError: see `check_target`.
    """
    outside, inside, sizes = (
        scores.value[~scores.inside],
        np.sort(scores.value[scores.inside]),
        np.bincount(scores.groups),
    )
    check_target(target, len(sizes), len(outside))
    allowed = most_above(target, len(sizes))
    order = np.argsort(-outside, kind="stable")
    threshold = float(
        outside[order][np.argmax(np.cumsum(1 / sizes[scores.groups[order]]) > allowed)]
    )
    return Thresholds(threshold, min(float(inside[int(target * len(inside))]), threshold))


def fit_kinds(scores: Scores, target: float) -> Thresholds:
    """The threshold that a new out-of-scope question of each kind exceeds with probability at most
    `target`, as in `fit`: the highest of those of all questions together and of every kind with
    enough rows. A rate over all would let easy kinds pay for hard ones.

    Raises:
        UserError: as in `fit`, of all questions together.
    """
    found, kind = [fit(scores, target)], np.array(scores.kind)
    for name in sorted(set(kind[~scores.inside].tolist())):
        with suppress(UserError):  # too few rows
            found.append(fit(chosen(scores, scores.inside | (kind == name)), target))
    return max(found)


def chosen(scores: Scores, rows: Bool[np.ndarray, " n"]) -> Scores:
    """The scores of some of the questions."""
    return Scores(
        scores.value[rows],
        scores.inside[rows],
        None if scores.group is None else scores.group[rows],
        None if scores.rows is None else scores.rows[rows],
        [kind for kind, keep in zip(scores.kind, rows, strict=True) if keep],
    )


def report(scores: Scores, thresholds: Thresholds, target: float | None = None) -> dict[str, Any]:
    """What thresholds do to the scored questions.

    false_positive_rate, recall and precision are at the threshold; standard_error is that of the
    first, over rows; unsure is the share of questions in the band below the threshold; area is
    under the ROC curve; calibration_error is the expected |score − share in scope| over bins of
    scores; groups counts the rows near which out-of-scope questions were drawn; kinds has, for each
    known kind, whether it is in scope, the number of questions, and the share that an edit answers.
    """
    hit, inside = thresholds.hit(scores.value), scores.inside
    rows = np.arange(len(hit))[:, None].repeat(2, 1) if scores.rows is None else scores.rows
    unsure = thresholds.unsure(scores.value)
    return {
        "target": target,
        **thresholds._asdict(),
        "false_positive_rate": float(hit[~inside].mean()),
        "standard_error": standard_error(hit[~inside], rows[~inside]),
        "recall": float(hit[inside].mean()),
        "precision": float(inside[hit].mean()) if hit.any() else None,
        "unsure": float(unsure.mean()),
        "area": area(scores),
        "calibration_error": float(
            sum(share * abs(score - true) for share, score, true in bins(scores))
        ),
        "inside": int(inside.sum()),
        "outside": int((~inside).sum()),
        "groups": int(scores.groups.max()) + 1,
        "kinds": by_kind(scores, hit),
    }


def by_kind(scores: Scores, hit: Bool[np.ndarray, " n"]) -> dict[str, dict[str, Any]]:
    """The share of each known kind that an edit answers, in-scope kinds first."""
    found: dict[str, dict[str, Any]] = {}
    kind = np.array(scores.kind)
    for inside in (True, False):
        for name in sorted({*scores.kind} - {""}):
            asked = (kind == name) & (scores.inside == inside)
            if asked.any():
                found[name] = {
                    "inside": inside,
                    "questions": int(asked.sum()),
                    "answered": float(hit[asked].mean()),
                }
    return found


def standard_error(hit: Bool[np.ndarray, " n"], rows: Int[np.ndarray, "n 2"]) -> float:
    """The standard error of the share of hits, where questions that share a row may be correlated.

    Each question has two rows, its own and its nearest edit's. The variance is Σ r·r′/n² over all
    pairs that share a row, r being a question's deviation from the share (Aronow, Samii & Assenova
    2015, for dyads). If no two share a row, the result is √(p(1 − p)/n).
    """
    rest, pairs = hit - hit.mean(), np.sort(rows, axis=1)
    two = pairs[:, 0] < pairs[:, 1]
    of_row = np.bincount(pairs[:, 0], rest, rows.max() + 1) + np.bincount(
        pairs[two, 1], rest[two], rows.max() + 1
    )
    of_pair = np.bincount(
        np.unique(pairs[two], axis=0, return_inverse=True)[1].ravel(), rest[two]
    )  # pairs that share both rows were counted twice
    return max((of_row**2).sum() - (of_pair**2).sum(), 0.0) ** 0.5 / len(hit)


def rates(
    scores: Scores,
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """False-positive rate, recall and precision at each distinct score, from the highest down."""
    order = np.argsort(-scores.value, kind="stable")
    value, inside = scores.value[order], scores.inside[order]
    last = np.append(np.flatnonzero(np.diff(value)), len(value) - 1)  # the last of equal scores
    right, wrong = np.cumsum(inside)[last], np.cumsum(~inside)[last]
    return wrong / (~inside).sum(), right / inside.sum(), right / (right + wrong)


def area(scores: Scores) -> float:
    """The area under the ROC curve: how often a question in scope scores above one out of scope,
    with ties counted half."""
    wrong, right, _ = rates(scores)
    return float(np.trapezoid(np.append(0.0, right), np.append(0.0, wrong)))


def bins(scores: Scores) -> list[tuple[float, float, float]]:
    """For each nonempty bin of scores: its share of all questions, the mean score, and the share in
    scope."""
    number = np.minimum((scores.value * BINS).astype(int), BINS - 1)
    members = [number == which for which in range(BINS)]
    return [
        (float(m.mean()), float(scores.value[m].mean()), float(scores.inside[m].mean()))
        for m in members
        if m.any()
    ]


def thinned(*curve: Float[np.ndarray, " m"]) -> list[list[float]]:
    """A curve thinned to at most POINTS points, ends included."""
    kept = np.unique(np.linspace(0, len(curve[0]) - 1, POINTS).round().astype(int))
    return [axis[kept].tolist() for axis in curve]


def told(found: dict[str, Any]) -> str:
    """A report as lines of text."""
    meaning = {
        "false_positive_rate": (
            f"out of scope: {found['outside']} questions, answered by an edit nevertheless"
        ),
        "standard_error": f"of that rate, over rows of the data ({found['groups']} with edits)",
        "recall": f"in scope: {found['inside']} questions, answered by an edit",
        "precision": "answered by an edit: in scope",
        "unsure": "all questions: the base model answered, but an edit might have",
        "area": "under the ROC curve",
        "calibration_error": "expected |score − share in scope|",
        "threshold": "an edit answers above this score",
        "unsure_from": "… and might have from this one on",
    }
    lines = [
        f"{name:<20} {found[name]:.3f}  {said}"
        for name, said in meaning.items()
        if found[name] is not None
    ]
    lines += [
        f"  {name:<18} {kind['answered']:.3f}  {'in' if kind['inside'] else 'out of'} scope:"
        f" {kind['questions']} questions of this kind, answered by an edit"
        for name, kind in found.get("kinds", {}).items()
    ]
    return "\n".join(lines)
