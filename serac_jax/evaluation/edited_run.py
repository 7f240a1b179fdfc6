"""The editor of a run as `fact_asking` asks it: any editor, also one that changes weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, NamedTuple, Self

import jax
import numpy as np

from serac_jax.core.batch import EditBatch, Examples
from serac_jax.core.errors import UserError
from serac_jax.core.sharding import fetch
from serac_jax.core.types import Params
from serac_jax.edits.records import Edit
from serac_jax.edits.store import Store
from serac_jax.models.generate import generate
from serac_jax.text.buckets import bucket, chunks
from serac_jax.text.queries import Query, TextBatch
from serac_jax.training import steps
from serac_jax.training.experiment import Experiment

ROWS = 32  # questions that are answered together: each has an answer to generate
Row = Query | None  # None: padding


class Found(NamedTuple):
    """An edit that answers a question.

    Attributes:
      edit: The edit.
      score: How likely the question is in its scope.
      verdict: Empty, as nothing reads the edit and the question together.
    """

    edit: Edit
    score: float
    verdict: str = ""


class Answered(NamedTuple):
    """A question and its answer.

    Attributes:
      first: The nearest edit; None where edits change the weights, so that all of them answer.
      hit: Whether the base model alone does not answer.
      unsure: False.
      text: The answer; empty where the base model alone answers.
    """

    first: Found | None
    hit: bool
    unsure: bool
    text: str


class Programs(NamedTuple):
    """What is compiled, for all memories: an editor's functions, and the base model's answers."""

    edit: Callable[..., Any]
    route: Callable[..., Any] | None
    generate: Callable[..., Any]
    alone: Callable[..., Any]


class EditedRun:
    """The editor of a run, and the model that it has edited.

    It answers questions as `evaluate` does: answers are generated, `data.answer_tokens` long at
    most. The edits of a memory are applied in their order, so many at a time.

    Args:
      run: The experiment that the editor belongs to.
      params: What the editor has learned.
      together: The number of edits that are applied at a time.

    Raises:
      UserError: The editor answers with classes, not in words.
    """

    def __init__(self, run: Experiment, params: Params, together: int):
        if classes := run.task.encode.classes:
            raise UserError(
                f"the editor answers with {', '.join(classes)}; rows of facts are for one that"
                " answers in words"
            )
        self.run, self.params, self.together = run, params, together
        self.kind = run.task.kinds[0].name  # of all texts: no score of the task is asked for
        editor, said = run.editor, run.task.encode.answer_widths[-1]
        self.programs = Programs(
            jax.jit(editor.edit),
            editor.route and jax.jit(editor.route),
            jax.jit(lambda params, edited, read: editor.generate(params, edited, read, said)),
            jax.jit(lambda base, read: generate(run.base, base, read.inputs, steps=said)),
        )
        self.memory, self.applied, self.edited = Store.open(None), list[Edit](), None
        self.room = -1  # for edits, in `edited`

    def with_memory(self, memory: Store) -> Self:
        """The same editor, with the edits of a memory instead."""
        other = copy(self)
        other.memory, other.applied, other.room = memory, [], -1
        return other

    def check(self, edit: Edit) -> None:
        """Raises UserError for an edit whose answer is too long."""
        self.run.task.encode.labels([Query(edit.prompt, edit.answer)], True)

    def base(self, questions: Sequence[str]) -> list[str]:
        """The base model's answers."""
        return self.words(self.programs.alone, questions, self.run.base_params)

    def decide(self, questions: Sequence[str], tags: Sequence[Any]) -> list[Answered]:
        """Answers questions from the edits that the memory holds now; tags are not read."""
        edited = self.up_to_date()
        if self.programs.route is None:
            near, hits = [None] * len(questions), [True] * len(questions)
        elif not self.applied:
            near, hits = [None] * len(questions), [False] * len(questions)
        else:
            routes = self.rows(self.programs.route, questions, self.params, edited)
            near = [Found(self.applied[slot], float(np.exp(like))) for slot, like, _ in routes]
            hits = [bool(hit) for *_, hit in routes]
        asked = [question for question, hit in zip(questions, hits, strict=True) if hit]
        texts = iter(self.words(self.programs.generate, asked, self.params, edited))
        return [
            Answered(found, hit, False, next(texts) if hit else "")
            for found, hit in zip(near, hits, strict=True)
        ]

    def texts(self, questions: Sequence[str], verdicts: Sequence[Answered]) -> list[str]:
        """The answers that were given."""
        return [verdict.text for verdict in verdicts]

    def up_to_date(self) -> Any:
        """The model with the memory's edits."""
        held = list(self.memory.edits.values())
        if len(held) > self.room or held[: len(self.applied)] != self.applied:
            self.applied, self.room = [], max(bucket(len(held)), self.together)
            room = self.run.task.encode.widest(self.room, 1, 1, 1).edits
            self.edited = self.run.editor.start(self.params, self.run.base_params, room)
        for group in chunks(held[len(self.applied) :], self.together):
            rows = [Query(edit.prompt, edit.answer, self.kind) for edit in group]
            edits = self.arrays(edits=[*rows, *[None] * (self.together - len(rows))]).edits
            self.edited = self.programs.edit(self.params, self.edited, edits)
            self.applied += group
        return self.edited

    def words(self, answer: Callable[..., Any], questions: Sequence[str], *of: Any) -> list[str]:
        """The answers that a program generates."""
        return [self.run.task.words(ids) for (ids,) in self.rows(answer, questions, *of)]

    def rows(
        self, program: Callable[..., Any], questions: Sequence[str], *of: Any
    ) -> list[tuple[Any, ...]]:
        """What a program says of each question: its leaves' rows."""
        found = list[tuple[Any, ...]]()
        for group in chunks(questions, ROWS):
            leaves = jax.tree.leaves(fetch(program(*of, self.asked(group))))
            found += list(zip(*leaves, strict=True))[: len(group)]
        return found

    def asked(self, questions: Sequence[str]) -> Examples:
        """Questions as arrays, up to a power of two of rows."""
        rows = [Query(question, "", self.kind) for question in questions]
        return self.arrays(asked=[*rows, *[None] * (bucket(len(rows)) - len(rows))]).inside

    def arrays(self, edits: Sequence[Row] = (None,), asked: Sequence[Row] = (None,)) -> EditBatch:
        """Edits and questions as arrays on the devices."""
        texts = TextBatch(edits, asked, [0] * len(asked), [None], [0])
        return steps.shard_batch(self.run.task.encode(texts), self.run.mesh)
