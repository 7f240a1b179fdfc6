"""What the service answers, as plain values: a client on another machine has them too, without
JAX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from serac_jax.core.console import escaped
from serac_jax.edits.records import Edit, as_fields


class Near(NamedTuple):
    """An edit, and how likely a question is in its scope: in [0, 1].

    exact: the question is the edit's own words.
    verdict: what a reader that judges says of the two, see `classifiers.Judgement`.
    """

    edit: Edit
    score: float
    exact: bool = False
    verdict: str = ""


@dataclass(frozen=True)
class Answer:
    """An answer and where it comes from.

    Attributes:
        question: what was asked.
        text: the answer.
        edit_id: of the edit that answered; None: the base model did.
        score: how likely the question is in the scope of the nearest edit; 0 where there is none.
        nearest: the best edit, with its score; None: there is none.
        runner_up: the next one.
        unsure: the base model answered, but an edit might have (after `calibrate`).
        base: the base model, which `base_text` asks.
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
        """The base model's answer; the model is called when this is first read."""
        return self.text if self.edit_id is None else self.base(self.question)

    def as_fields(self) -> dict[str, Any]:
        """The answer as JSON has it; the base model is not asked."""
        near = {
            name: {"edit": as_fields(found.edit), "score": found.score} if found else None
            for name, found in (("nearest", self.nearest), ("runner_up", self.runner_up))
        }
        return {
            "question": self.question,
            "text": self.text,
            "edit_id": self.edit_id,
            "score": self.score,
            "unsure": self.unsure,
        } | near


class Why(NamedTuple):
    """What decided an answer.

    Attributes:
        answer: the answer, with the edits that were considered.
        threshold: the score above which an edit answers.
        margin: how far the score is above the threshold.
        reads: what the reader reads, or would read if the edit answered; "" without an edit.
        base_text: the base model's answer.
    """

    answer: Answer
    threshold: float
    margin: float
    reads: str
    base_text: str

    def as_fields(self) -> dict[str, Any]:
        """What `Answer.as_fields` gives, and what decided it."""
        rest = self._asdict()
        answer: Answer = rest.pop("answer")
        return answer.as_fields() | rest

    def __str__(self) -> str:
        answer, nearest = self.answer, self.answer.nearest
        lines = [
            answer.question,
            f"  → {answer.text}  "
            f" ({f'edit {answer.edit_id[:8]}' if answer.edit_id else 'the base model'})",
        ]
        for name, near in (("nearest", nearest), ("runner-up", answer.runner_up)):
            if near:
                lines.append(
                    f"  {name:<9}  {near.score:.3f}  {near.edit.id[:8]}  {near.edit.prompt} →"
                    f" {near.edit.answer}"
                )
        lines.append(
            f"  threshold  {self.threshold:.3f}  (margin"
            f" {self.margin:+.3f}{', unsure' if answer.unsure else ''})"
        )
        if nearest:
            reads = f"  {'reads' if answer.edit_id else 'would read'}: {self.reads}"
            lines += reads.split("\n")  # a chat has several
        return "\n".join(map(escaped, [*lines, f"  base model: {self.base_text}"]))
