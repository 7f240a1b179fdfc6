"""Calibrates an editor whose reader judges: the weights of its score, and a threshold for each
number of stored edits.

Questions are asked while so many edits are held at once as will be: the more are held, the likelier
one of them is near a question by chance. What is judged once, a pair of an edit and a question, is
not judged again for another number of edits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from serac_jax.core.errors import UserError
from serac_jax.editors.protocol import Thresholds
from serac_jax.edits.records import Edit
from serac_jax.serving import calibration, scope_score
from serac_jax.serving.calibration import Scores
from serac_jax.serving.classifiers import Embedder
from serac_jax.serving.editor_spec import Decision, JudgeSpec, Spec
from serac_jax.serving.judging import JudgingReader
from serac_jax.text.buckets import chunks

LOWEST = 0.005  # the share of questions in scope that may be nearer to no edit than the border
Pair = tuple[int, int]  # of a question and an edit, by number


class Question(NamedTuple):
    """A question of which it is known whether it is in the scope of an edit.

    Attributes:
        text: the question.
        edit: the number of the edit that it tests.
        inside: whether it is in that edit's scope; if not, it is in none's.
        kind: the kind of question.
    """

    text: str
    edit: int
    inside: bool
    kind: str


class Judging(NamedTuple):
    """What judges pairs, and the edits and questions.

    Attributes:
        cosines: of every question and every edit.
        views: of the pairs that were judged, see `scope_score.views`.
    """

    reader: JudgingReader
    edits: Sequence[Edit]
    questions: Sequence[Question]
    cosines: Float[np.ndarray, "q e"]
    views: dict[Pair, Float[np.ndarray, " f"]]


def calibrate(
    embedder: Embedder,
    reader: JudgingReader,
    spec: Spec,
    edits: Sequence[Edit],
    questions: Sequence[Question],
    sizes: Sequence[int],
    target: float,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> Spec:
    """Fits the score and its thresholds.

    Args:
        embedder, reader: of the editor.
        spec: the editor's, whose judge and thresholds are replaced.
        edits: what is held, among others the edits that questions test.
        questions: in scope and out of scope.
        sizes: numbers of edits held, of which the largest also decides the weights; those above
            the number of edits count as that number.
        target: the share of questions of each kind out of scope that an edit may answer.
        seed: of which edits are held together.
        progress: called with the number of pairs judged, and of those to judge, at each size.

    Returns:
        The spec with weights, border, thresholds and what was measured.

    Raises:
        UserError: there are no questions in scope, or too few out of scope.
    """
    if len({question.inside for question in questions}) < 2:
        raise UserError("questions in scope and out of scope are needed to tell one from the other")
    assert spec.judge
    own = np.array([question.edit for question in questions])
    inside = np.array([question.inside for question in questions])
    calibration.check_target(target, len(set(own[~inside])), int((~inside).sum()))
    cosines = cosines_of(embedder, edits, questions)
    border = float(np.quantile(cosines[np.arange(len(own)), own][inside], LOWEST))
    judging = Judging(reader, edits, questions, cosines, {})
    rng = np.random.default_rng(seed)
    sizes = sorted({min(size, len(edits)) for size in sizes}, reverse=True)
    proposed = [proposals(judging, size, border, spec.judge.proposals, rng) for size in sizes]
    judge_all(judging, proposed[0], progress)
    weights = weights_of(judging, proposed[0])
    judge = JudgeSpec(spec.judge.template, spec.judge.proposals, border, tuple(weights))

    decisions: list[Decision] = []
    reports: dict[str, Any] = {}
    for size, pairs in zip(sizes, proposed, strict=True):
        judge_all(judging, pairs, progress)
        scores = scores_of(judging, pairs, weights)
        found = calibration.fit_kinds(scores, target)
        decisions.append(Decision(size, *found))
        reports[str(size)] = calibration.report(scores, found, target)
    largest = decisions[0]
    return spec._replace(
        judge=judge,
        decision=Thresholds(largest.threshold, largest.unsure_from),
        decisions=tuple(reversed(decisions)),
        calibration=reports[str(sizes[0])] | {"sizes": reports},
    )


def cosines_of(
    embedder: Embedder, edits: Sequence[Edit], questions: Sequence[Question]
) -> Float[np.ndarray, "q e"]:
    """The cosine of every question and every edit."""

    def together(read: Callable[[Any], Any], items: Sequence[Any]) -> Float[np.ndarray, "n d"]:
        rows = [np.asarray(jax.device_get(read(group)))[: len(group)] for group in chunks(items)]
        vectors = np.concatenate(rows)
        return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)

    keys = together(embedder.edits, edits)
    asked = together(embedder.questions, [question.text for question in questions])
    return asked @ keys.T


def proposals(
    judging: Judging, size: int, border: float, limit: int, rng: np.random.Generator
) -> list[list[int]]:
    """The edits that are judged for each question while its own and size − 1 others are held."""
    found: list[list[int]] = []
    count = len(judging.edits)
    for row, question in enumerate(judging.questions):
        near = judging.cosines[row]
        held = np.arange(count)
        if size < count:
            others = rng.choice(count, size, replace=False)
            held = np.append(others[others != question.edit][: size - 1], question.edit)
        best = held[np.argsort(-near[held], kind="stable")[:limit]]
        found.append([int(edit) for edit in best if near[edit] > border])
    return found


def judge_all(
    judging: Judging, proposed: Sequence[Sequence[int]], progress: Callable[[int, int], None]
) -> None:
    """Judges the pairs that have not been."""
    new = [
        (row, edit)
        for row, edits in enumerate(proposed)
        for edit in edits
        if (row, edit) not in judging.views
    ]
    done = 0
    for group in chunks(sorted(new, key=lambda pair: length(judging, pair))):
        pairs = [(judging.edits[edit], judging.questions[row].text) for row, edit in group]
        nearness = [float(np.exp(judging.cosines[row, edit] - 1)) for row, edit in group]
        judging.views.update(zip(group, judging.reader.views(pairs, nearness), strict=True))
        done += len(group)
        progress(done, len(new))


def length(judging: Judging, pair: Pair) -> int:
    """Roughly how much is read of a pair: rows of like lengths are judged together."""
    row, edit = pair
    stated = judging.edits[edit]
    return len(stated.prompt) + len(stated.answer) + len(judging.questions[row].text)


def weights_of(judging: Judging, proposed: Sequence[Sequence[int]]) -> list[float]:
    """Weights of the views: pairs of a question in scope and its edit against pairs of questions
    out of scope and the edits proposed for them. Every kind of question counts the same."""
    found: list[Float[np.ndarray, " f"]] = []
    inside: list[float] = []
    kinds: list[str] = []
    for row, (question, edits) in enumerate(zip(judging.questions, proposed, strict=True)):
        for edit in edits:
            if question.inside and edit != question.edit:
                continue  # another edit may say the same
            found.append(judging.views[row, edit])
            inside.append(float(question.inside))
            kinds.append(question.kind)
    count = defaultdict[str, int](int)
    for kind in kinds:
        count[kind] += 1
    share = np.array([1 / count[kind] for kind in kinds])
    return scope_score.fit(np.array(found), np.array(inside), share)


def scores_of(
    judging: Judging, proposed: Sequence[Sequence[int]], weights: Sequence[float]
) -> Scores:
    """The score of the best edit of every question, grouped by the edits that they test."""
    value: list[float] = []
    nearest: list[int] = []
    for row, edits in enumerate(proposed):
        scored = [(scope_score.combined(judging.views[row, edit], weights), edit) for edit in edits]
        best, edit = max(scored, default=(0.0, judging.questions[row].edit))
        value.append(best)
        nearest.append(edit)
    questions = judging.questions
    own = np.array([question.edit for question in questions])
    return Scores(
        np.array(value),
        np.array([question.inside for question in questions]),
        own,
        np.column_stack([own, np.array(nearest)]),
        [question.kind for question in questions],
    )
