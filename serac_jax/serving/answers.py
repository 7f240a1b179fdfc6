"""What an editor says to a question, and why: the decision between the nearest edit and the base
model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from serac_jax.index.tags import Tags
from serac_jax.serving.editor_spec import Decision
from serac_jax.serving.matching import Near


class Verdict(NamedTuple):
    """first: the edit that answers, or, where none does, the nearest one. unsure: it might have
    answered (`Decision.unsure_from`)."""

    first: Near | None
    runner_up: Near | None
    hit: bool
    unsure: bool


def decide(nears: Sequence[Near], tags: Tags, decision: Decision) -> Verdict:
    """The nearest edit answers if its score is above the threshold. One with a tag of the query
    comes before one that is everybody's."""

    def rank(near: Near) -> tuple[bool, bool, float]:
        above = near.score > decision.threshold
        return not above, above and tags is not None and not near.edit.tags, -near.score

    first, second = [*sorted(nears, key=rank)[:2], None, None][:2]
    hit = first is not None and first.score > decision.threshold
    return Verdict(
        first, second, hit, not hit and first is not None and first.score > decision.unsure_from
    )


@dataclass(frozen=True)
class Answer:
    """text: what the editor says. edit_id: of the edit that answered; None: the base model did.

    score: how likely the question is in the scope of the nearest edit; 0 where there is none.
        runner_up: the second nearest, with its score.
    unsure: the base model answered, but an edit might have (after `calibrate`).
    """

    question: str
    text: str
    edit_id: str | None
    score: float
    nearest: Near | None
    runner_up: Near | None
    unsure: bool
    base: Callable[[str], str] = field(repr=False, compare=False)

    @cached_property
    def base_text(self) -> str:
        """What the base model says; it is asked when this is first read."""
        return self.text if self.edit_id is None else self.base(self.question)


class Why(NamedTuple):
    """How an answer came about.

    margin: the score above the threshold. reads: what the counterfactual model reads, or would if
        the edit answered; "" without an edit.
    """

    answer: Answer
    threshold: float
    margin: float
    reads: str
    base_text: str

    def __str__(self) -> str:
        answer, nearest, second = self.answer, self.answer.nearest, self.answer.runner_up
        lines = [
            f"{answer.question}\n  → {answer.text}  "
            f" ({f'edit {answer.edit_id[:8]}' if answer.edit_id else 'the base model'})"
        ]
        if nearest:
            lines.append(
                f"  nearest    {nearest.score:.3f}  {nearest.edit.id[:8]}  {nearest.edit.prompt} →"
                f" {nearest.edit.answer}"
            )
        if second:
            lines.append(
                f"  runner-up  {second.score:.3f}  {second.edit.id[:8]}  {second.edit.prompt} →"
                f" {second.edit.answer}"
            )
        lines.append(
            f"  threshold  {self.threshold:.3f}  (margin"
            f" {self.margin:+.3f}{', unsure' if answer.unsure else ''})"
        )
        if nearest:
            lines.append(f"  {'reads' if answer.edit_id else 'would read'}: {self.reads}")
        return "\n".join([*lines, f"  base model: {self.base_text}"])
