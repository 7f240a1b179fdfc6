"""Which edit, if any, answers a question."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, cast

from serac_jax.core.errors import UserError
from serac_jax.editors.protocol import Thresholds
from serac_jax.edits.records import shown, text
from serac_jax.index.tags import Tags
from serac_jax.serving.answers import Answer, Near
from serac_jax.serving.matching import ranked


def texts_of(questions: Any) -> list[str]:
    """The questions of a call, checked.

    Raises:
        UserError: they are not texts that a tokenizer can read.
    """
    if isinstance(questions, str):
        return [text(questions, "the question")]
    if not isinstance(questions, Iterable):
        raise UserError(f"expected a question or a list of them, not {shown(questions)}")
    each = list(cast(Iterable[Any], questions))
    return [text(question, f"question {number}") for number, question in enumerate(each, 1)]


class Verdict(NamedTuple):
    """Which edit, if any, answers a question.

    Attributes:
        first: the edit that answers, or, where none does, the nearest one.
        runner_up: the next one.
        hit: whether `first` answers.
        unsure: no edit answers, but `first` might have (`Thresholds.unsure_from`).
    """

    first: Near | None
    runner_up: Near | None
    hit: bool
    unsure: bool


NOTHING_NEAR = Verdict(None, None, False, False)


def decide(nears: Sequence[Near], tags: Tags, thresholds: Thresholds) -> Verdict:
    """The verdict on a question with these tags, from the edits that it is near to."""
    first, second = [*ranked(nears, tags, thresholds)[:2], None, None][:2]
    if first is None:
        return NOTHING_NEAR
    return Verdict(first, second, thresholds.hit(first.score), thresholds.unsure(first.score))


def answered(question: str, text: str, verdict: Verdict, base: Callable[[str], str]) -> Answer:
    """The answer that a verdict led to."""
    first = verdict.first
    return Answer(
        question=question,
        text=text,
        edit_id=first.edit.id if first and verdict.hit else None,
        score=first.score if first else 0.0,
        nearest=first,
        runner_up=verdict.runner_up,
        unsure=verdict.unsure,
        base=base,
    )
