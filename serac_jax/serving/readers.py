"""Readers as the service calls them: texts in, texts out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import jax
from jaxtyping import Array, Int

from serac_jax.core.batch import Tokens
from serac_jax.core.errors import UserError
from serac_jax.core.types import Params
from serac_jax.editors.serac.reader import Reader
from serac_jax.edits.records import Edit
from serac_jax.text.buckets import chunks, shard_rows, tokens
from serac_jax.text.encoder import Encoder
from serac_jax.text.templates import plain_text
from serac_jax.text.tokens import bare, cut_to


@runtime_checkable
class Answering(Protocol):
    """Answers questions, by itself or after reading an edit."""

    def __call__(self, questions: Sequence[str]) -> list[str]:
        """The model's own answers."""
        ...

    def after(self, edits: Sequence[Edit], questions: Sequence[str]) -> list[str]:
        """The answer to each question after reading the edit of the same place."""
        ...

    def input_of(self, edit: Edit, question: str) -> str:
        """The text that the model reads."""
        ...


class TextReader:
    """A reader with its parameters and tokenizer; each pair of a number of rows, a power of two,
    and a width compiles once."""

    def __init__(self, reader: Reader, params: Params, encoder: Encoder):
        self.params, self.encoder = params, encoder
        steps = encoder.answer_widths[-1]

        def answer(params: Params, questions: Tokens) -> Int[Array, "n s"]:
            return reader.answer(params, questions, steps)

        def answer_after(params: Params, edits: Tokens, questions: Tokens) -> Int[Array, "n s"]:
            return reader.answer_after(params, edits, questions, steps)

        self.answer, self.answer_after = jax.jit(answer), jax.jit(answer_after)

    def __call__(self, questions: Sequence[str]) -> list[str]:
        texts: list[str] = []
        for group in chunks(questions):
            read = shard_rows(self.params, self.inputs(group))
            texts += self.words(cast(Array, self.answer(self.params, read)), len(group))
        return texts

    def after(self, edits: Sequence[Edit], questions: Sequence[str]) -> list[str]:
        texts: list[str] = []
        for pairs in chunks(list(zip(edits, questions, strict=True))):
            context = tokens(self.contexts([edit for edit, _ in pairs]), self.widths("stated"))
            asked = self.inputs([question for _, question in pairs])
            read = (shard_rows(self.params, part) for part in (context, asked))
            answers = cast(Array, self.answer_after(self.params, *read))
            texts += self.words(answers, len(pairs))
        return texts

    def widths(self, part: str) -> tuple[int, ...]:
        """The widths of a field of `Size`."""
        label = self.encoder.answer_widths[-1]
        sizes = [self.encoder.size_of(width, label) for width in self.encoder.question_widths]
        return tuple(getattr(size, part) for size in sizes)

    def inputs(self, questions: Sequence[str]) -> Tokens:
        rows = self.encoder.form.questions(questions, self.encoder.question_widths[-1])
        return tokens(rows, self.widths("query"))

    def contexts(self, edits: Sequence[Edit]) -> list[list[int]]:
        """The token ids of edits, to be read before a question."""
        width = self.encoder.question_widths[-1]
        prompts = self.encoder.form.questions([edit.prompt for edit in edits], width)
        if self.encoder.classes:
            # The answer is not read, so it need not be one of the classes: the edit may have been
            # made with another editor.
            return self.encoder.contexts(prompts, [[]] * len(edits))
        return self.encoder.contexts(prompts, [answer_ids(edit, self.encoder) for edit in edits])

    def input_of(self, edit: Edit, question: str) -> str:
        form = self.encoder.form
        if form.adds_words:
            (asked,) = form.questions([question], self.encoder.question_widths[-1])
            read = self.contexts([edit])[0] + asked[form.lead :]
            return str(self.encoder.base.decode(read, skip_special_tokens=True))
        stated = [] if self.encoder.classes else [edit.answer]
        return plain_text(self.seen(edit.prompt), *stated, self.seen(question))

    def seen(self, text: str) -> str:
        """A text as it is, or, where it is too long, the part that is read, as its tokens spell
        it."""
        tokenizer = self.encoder.base
        (row,) = bare(tokenizer, [text])
        room = self.encoder.form.room(self.encoder.question_widths[-1])
        if len(row) <= room:
            return text
        return f"{tokenizer.decode(cut_to(row, room), skip_special_tokens=True)} …"

    def words(self, answers: Int[Array, "n s"], count: int) -> list[str]:
        return [self.encoder.words(answer) for answer in jax.device_get(answers)[:count]]


def answer_ids(edit: Edit, encoder: Encoder) -> list[int]:
    """The token ids of an edit's answer.

    Raises:
        UserError: they are more than the model generates; cut, it would be another answer.
    """
    (ids,), limit = encoder.form.answers([edit.answer]), encoder.answer_widths[-1]
    if len(ids) > limit:
        raise UserError(
            f"edit {edit.id[:8]}: the answer {edit.answer[:60]!r} has {len(ids)} tokens, more than"
            f" the {limit} that this editor can say; shorten it"
        )
    return ids


class CallableModel:
    """A base model that is a function from a text to a text: a pipeline, a model behind HTTP. It
    reads an edit as words before the question."""

    def __init__(self, function: Callable[[str], Any]):  # it should return a text
        self.function = function

    def __call__(self, questions: Sequence[str]) -> list[str]:
        return [self.answer(question) for question in questions]

    def after(self, edits: Sequence[Edit], questions: Sequence[str]) -> list[str]:
        return [
            self.answer(self.input_of(edit, question))
            for edit, question in zip(edits, questions, strict=True)
        ]

    def input_of(self, edit: Edit, question: str) -> str:
        return plain_text(edit.prompt, edit.answer, question)

    def answer(self, question: str) -> str:
        answer = self.function(question)
        if not isinstance(answer, str):
            raise UserError(
                f"the base model that was given to `load` returned {type(answer).__name__} for"
                f" {question[:60]!r}; it should return a text"
            )
        return answer
