"""Calibrates an editor whose reader judges, on facts and the questions that test them."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence

from serac_jax.core.errors import UserError
from serac_jax.edits import records
from serac_jax.serving import judge_calibration
from serac_jax.serving.judge_calibration import Question
from serac_jax.serving.judging import JudgingReader
from serac_jax.serving.service import EditorService
from serac_jax.tasks.facts.fact_kinds import HOPS
from serac_jax.tasks.facts.fact_rows import Fact, one_a_prompt
from serac_jax.tasks.facts.held_facts import HeldSubjects, scored

# Not asked: an edit's own words, which no score decides, and questions of several facts, which may
# follow from an edit or not.
LEFT_OUT = ("prompt", *(f"hop{hops}" for hops in HOPS))


def calibrate(
    editor: EditorService,
    facts: Sequence[Fact],
    fill: Sequence[Fact],
    sizes: Sequence[int],
    target: float,
    limit: int,
    progress: Callable[[int, int], None] = lambda done, count: None,
    seed: int = 0,
) -> None:
    """Fits the score and its thresholds, and puts them into the editor.

    Args:
        facts: whose questions are asked; their subjects should be unknown to training.
        fill: further facts whose edits are held.
        sizes: numbers of edits held.
        target: the share of questions of each kind out of scope that an edit may answer.
        limit: the most questions; kinds in equal parts.
        seed: of which questions are asked, and which edits are held together.

    Raises:
        UserError: the editor's reader does not judge, or there are too few questions.
    """
    embedder, reader = editor.matcher.embedder, editor.matcher.scorer
    if embedder is None or not isinstance(reader, JudgingReader):
        raise UserError(
            "--facts is for an editor whose reader judges (a run of facts_serac); use --config or"
            " --data"
        )
    held = [fact for fact in one_a_prompt([*facts, *fill]).facts if sayable(editor, fact)]
    number = {fact.prompt: at for at, fact in enumerate(held)}
    asked = questions(facts, number, HeldSubjects(held), limit, seed)
    spec = judge_calibration.calibrate(
        embedder,
        reader,
        editor.parts.spec,
        [records.make(fact.prompt, fact.answer) for fact in held],
        asked,
        sizes,
        target,
        seed,
        progress,
    )
    editor.use(spec)


def sayable(editor: EditorService, fact: Fact) -> bool:
    """Whether an editor can hold the edit of a fact."""
    try:
        editor.check(records.make(fact.prompt, fact.answer))
    except UserError:
        return False
    return True


def questions(
    facts: Sequence[Fact],
    number: dict[str, int],
    held: HeldSubjects,
    limit: int,
    seed: int,
) -> list[Question]:
    """At most `limit` questions, kinds in equal parts, drawn at random."""
    by_kind: dict[str, list[Question]] = defaultdict(list)
    for fact in facts:
        for ask in fact.asks:
            if ask.kind not in LEFT_OUT and fact.prompt in number and scored(fact, ask, held):
                by_kind[ask.kind].append(
                    Question(ask.question, number[fact.prompt], ask.inside, ask.kind)
                )
    draw = random.Random(seed)
    share = max(limit // max(len(by_kind), 1), 1)
    return [
        question
        for rows in by_kind.values()
        for question in draw.sample(rows, min(share, len(rows)))
    ]
