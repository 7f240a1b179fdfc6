"""Readers as the service calls them: texts in, texts out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol, cast, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Int

from serac_jax.core.batch import Tokens
from serac_jax.core.errors import UserError
from serac_jax.core.types import Params
from serac_jax.editors.serac.reader import Reader
from serac_jax.edits.records import Edit
from serac_jax.models.cache import Prefix
from serac_jax.models.linear import Intervention
from serac_jax.text.buckets import bucket, chunks, shard_rows, tokens
from serac_jax.text.encoder import Encoder
from serac_jax.text.templates import Turn, plain_text
from serac_jax.text.tokens import bare, cut_to

FAR = 4096  # tokens that a model reads at most where it sets no limit itself
History = Sequence[Turn]  # earlier turns of a conversation


@runtime_checkable
class Answering(Protocol):
    """Answers questions, by itself or after reading an edit.

    `histories` are the earlier turns of each question's conversation, which are read first; `limit`
    is the most tokens of an answer, by default the editor's own.
    """

    def __call__(
        self,
        questions: Sequence[str],
        histories: Sequence[History] | None = None,
        limit: int | None = None,
    ) -> list[str]:
        """The model's own answers."""
        ...

    def after(
        self,
        edits: Sequence[Edit],
        questions: Sequence[str],
        histories: Sequence[History] | None = None,
        limit: int | None = None,
    ) -> list[str]:
        """The answer to each question after reading the edit of the same place."""
        ...

    def input_of(self, edit: Edit, question: str, history: History = ()) -> str:
        """The text that the model reads."""
        ...


class TextReader:
    """A reader with its parameters and tokenizer.

    Each number of rows, a power of two, compiles once with each width: those of the editor and,
    for longer texts, twice the last one, four times and so on.
    """

    def __init__(self, reader: Reader, params: Params, encoder: Encoder):
        self.params, self.encoder, self.model = params, encoder, reader.model

        def answer(
            params: Params,
            change: Mapping[str, Intervention],
            read: Tokens,
            steps: int,
            prefix: Prefix,
        ) -> Int[Array, "n s"]:
            return reader.answer(params, read, steps, change, prefix)

        self.answer = jax.jit(answer, static_argnums=3)

    def __call__(
        self,
        questions: Sequence[str],
        histories: Sequence[History] | None = None,
        limit: int | None = None,
    ) -> list[str]:
        rows = [self.prompt(*asked) for asked in paired(questions, histories)]
        return self.answers(rows, self.trained("query"), limit, {})

    def after(
        self,
        edits: Sequence[Edit],
        questions: Sequence[str],
        histories: Sequence[History] | None = None,
        limit: int | None = None,
    ) -> list[str]:
        asked = zip(paired(questions, histories), edits, strict=True)
        rows = [self.prompt(question, history, edit) for (question, history), edit in asked]
        return self.answers(rows, self.joined, limit, self.change)

    def answers(
        self,
        rows: Sequence[list[int]],
        widths: Sequence[int],
        limit: int | None,
        change: Mapping[str, Intervention],
    ) -> list[str]:
        """What is said to rows of token ids.

        Args:
            widths: of the texts that the editor was made for.
            limit: the most tokens of an answer.
            change: of the model, by the paths of layers.

        Raises:
            UserError: a row is longer than what the model reads.
        """
        steps = self.steps(limit)
        texts: list[str] = []
        for group in chunks(rows):
            read, prefix = self.read(group, widths, steps, change)
            read = shard_rows(self.params, read)
            found = cast(Array, self.answer(self.params, change, read, steps, prefix))
            texts += [
                self.encoder.words(ids if limit is None else ids[:limit])
                for ids in jax.device_get(found)[: len(group)]
            ]
        return texts

    @property
    def several_devices(self) -> bool:
        """Whether the models are split over devices, so that rows of padding are added."""
        return jax.tree.leaves(self.params)[0].sharding.num_devices > 1

    def steps(self, limit: int | None) -> int:
        """How many tokens are decoded for an answer: the editor's own number, or twice as many,
        four times and so on, so that few programs are compiled."""
        own = self.encoder.answer_widths[-1]
        return own if limit is None else own * bucket(-(-limit // own))

    def read(
        self,
        rows: Sequence[list[int]],
        widths: Sequence[int],
        steps: int,
        change: Mapping[str, Intervention],
    ) -> tuple[Tokens, Prefix]:
        """Rows as arrays, before so many tokens are decoded, and what they stand behind: the
        examples of the template, where all begin with these, are read once and for all.

        Raises:
            UserError: a row is longer than what the model reads.
        """
        self.check_length(max(map(len, rows)), steps)
        form, room = self.encoder.form, self.room(steps)
        longer = (widths[-1] << power for power in range(1, room.bit_length()))
        fitting = [*widths, *(min(width, room) for width in longer if width < 2 * room)]
        shared = self.model.is_causal and all(begins(row, form.shared) for row in rows)
        if change or not form.examples or not shared:
            return tokens(rows, tuple(fitting)), ()
        behind = tuple(width - form.lead for width in fitting if width > form.lead)
        return tokens([row[form.lead :] for row in rows], behind), self.examples

    @cached_property
    def examples(self) -> Prefix:
        """What the model remembers of the examples of the template, and of what opens them."""
        ids = np.array([self.encoder.form.shared], np.int32)
        return cast(Prefix, jax.jit(self.model.prefix)(self.params, ids))

    def check_length(self, length: int, steps: int) -> None:
        """Raises UserError where so many tokens are more than what the model reads before it says
        so many."""
        if length > (room := self.room(steps)):
            raise UserError(
                f"the question and what is read before it have {length} tokens, more than the"
                f" {room} for which {self.model.name} has room; shorten the question, or leave"
                " out earlier turns"
            )

    def prompt(self, question: str, history: History = (), edit: Edit | None = None) -> list[int]:
        """The token ids that an answer comes behind."""
        return self.joint(question, history, edit)

    def joint(self, question: str, history: History, edit: Edit | None) -> list[int]:
        """The token ids of earlier turns, an edit and a question, as one text."""
        form = self.encoder.form
        if edit is None:
            return form.conversation(history, question, self.longest)
        before = form.context_of(history, self.longest)
        stated = form.behind_context(before, self.contexts([edit])[0])
        return form.behind_context(stated, form.conversation((), question, self.longest))

    @property
    def change(self) -> Mapping[str, Intervention]:
        """What the reader changes in its model where it reads an edit."""
        return {}

    def room(self, steps: int) -> int:
        """The most tokens that are read before so many are said, which causal models read too."""
        said = steps if self.encoder.form.adds_words else 0
        return (self.model.window or FAR) - said

    @property
    def longest(self) -> int:
        """The most tokens of a question that are read. Causal models read it whole; of others, it
        is cut where those of training were, as in the original."""
        return sys.maxsize if self.encoder.form.adds_words else self.encoder.question_widths[-1]

    def trained(self, part: str) -> list[int]:
        """The widths of the editor, of a field of `Size`."""
        label = self.encoder.answer_widths[-1]
        sizes = [self.encoder.size_of(width, label) for width in self.encoder.question_widths]
        return [getattr(size, part) for size in sizes]

    @property
    def joined(self) -> list[int]:
        """The widths of the editor, of an edit and a question as one text."""
        pairs = zip(self.trained("stated"), self.trained("query"), strict=True)
        return [stated + query - self.encoder.form.lead for stated, query in pairs]

    def contexts(self, edits: Sequence[Edit]) -> list[list[int]]:
        """The token ids of edits, to be read before a question."""
        width = self.encoder.question_widths[-1]
        prompts = self.encoder.form.questions([edit.prompt for edit in edits], width)
        if self.encoder.classes:
            # The answer is not read, so it need not be one of the classes: the edit may have been
            # made with another editor.
            return self.encoder.contexts(prompts, [[]] * len(edits))
        return self.encoder.contexts(prompts, [answer_ids(edit, self.encoder) for edit in edits])

    def input_of(self, edit: Edit, question: str, history: History = ()) -> str:
        if self.encoder.form.adds_words:
            read = self.joint(question, history, edit)
            return str(self.encoder.base.decode(read, skip_special_tokens=True))
        stated = [] if self.encoder.classes else [edit.answer]
        before = map(self.seen, texts_of(history))
        return plain_text(*before, self.seen(edit.prompt), *stated, self.seen(question))

    def seen(self, text: str) -> str:
        """A text as it is, or, where it is too long, the part that is read, as its tokens spell
        it."""
        tokenizer = self.encoder.base
        (row,) = bare(tokenizer, [text])
        room = self.encoder.form.room(self.encoder.question_widths[-1])
        if len(row) <= room:
            return text
        return f"{tokenizer.decode(cut_to(row, room), skip_special_tokens=True)} …"


def begins(row: Sequence[int], shared: Sequence[int]) -> bool:
    """Whether a row begins with some tokens, and goes on."""
    return len(row) > len(shared) and tuple(row[: len(shared)]) == tuple(shared)


def paired(
    questions: Sequence[str], histories: Sequence[History] | None
) -> list[tuple[str, History]]:
    """Questions, each with the earlier turns of its conversation."""
    return list(zip(questions, histories or [()] * len(questions), strict=True))


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


def check_answer(edit: Edit, encoder: Encoder) -> None:
    """Raises UserError where the models could not say an edit's answer."""
    answer = f"edit {edit.id[:8]}: the answer {edit.answer[:60]!r}"
    if encoder.classes and edit.answer not in encoder.classes:
        raise UserError(f"{answer} is not one that this editor gives: {', '.join(encoder.classes)}")
    if not encoder.classes and encoder.base.unk_token_id in answer_ids(edit, encoder):
        raise UserError(
            f"{answer} has letters that this editor's vocabulary lacks, so it cannot be said;"
            " write it without them"
        )


def texts_of(history: History) -> list[str]:
    """The questions and answers of a conversation, in their order."""
    return [text for turn in history for text in turn]


class CallableModel:
    """A base model that is a function from a text to a text: a pipeline, a model behind HTTP. It
    reads an edit as words before the question."""

    def __init__(self, function: Callable[[str], Any]):  # it should return a text
        self.function = function

    def __call__(
        self,
        questions: Sequence[str],
        histories: Sequence[History] | None = None,
        limit: int | None = None,
    ) -> list[str]:
        return [
            self.answer(plain_text(*texts_of(history), question))
            for question, history in paired(questions, histories)
        ]

    def after(
        self,
        edits: Sequence[Edit],
        questions: Sequence[str],
        histories: Sequence[History] | None = None,
        limit: int | None = None,
    ) -> list[str]:
        return [
            self.answer(self.input_of(edit, question, history))
            for edit, (question, history) in zip(edits, paired(questions, histories), strict=True)
        ]

    def input_of(self, edit: Edit, question: str, history: History = ()) -> str:
        return plain_text(*texts_of(history), edit.prompt, edit.answer, question)

    def answer(self, question: str) -> str:
        answer = self.function(question)
        if not isinstance(answer, str):
            raise UserError(
                f"the base model that was given to `load` returned {type(answer).__name__} for"
                f" {question[:60]!r}; it should return a text"
            )
        return answer
