"""From strings to padded token arrays of a few fixed widths, once for every reader.

Layout come from three short lists, for questions, labels, and edits with what stands beside them, so that a training run compiles a
few programs, one for each combination that occurs, and then never again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from serac_jax.batch import EditBatch, Examples, Layout, Tokens
from serac_jax.errors import UserError


class DataError(UserError):
    """A data file or a row of it is not what it should be."""


class Query(NamedTuple):
    """A question, the answer it should get, and where it comes from (for messages). An answer that is not wanted should become less likely."""

    question: str
    answer: str
    hard: bool = False
    source: str = ""
    wanted: bool = True


class TextBatch(NamedTuple):
    """An EditBatch in words; a None stands for a padding row."""

    edits: Sequence[Query | None]
    inside: Sequence[Query | None]
    edit_of: Sequence[int]
    outside: Sequence[Query | None]
    outside_of: Sequence[int]
    alike: int = 1  # so many in-scope queries in a row ask the same question


def lead(tokenizer: PreTrainedTokenizerBase) -> int:
    """How many special tokens open a text: 1 for BERT's [CLS], 0 for T5."""
    return len(tokenizer("a")["input_ids"]) - len(tokenizer("a", add_special_tokens=False)["input_ids"]) - tail(tokenizer)


def tail(tokenizer: PreTrainedTokenizerBase) -> int:
    """How many special tokens close a text: 1 for T5's </s> and BERT's [SEP]."""
    ids, bare = tokenizer("a")["input_ids"], tokenizer("a", add_special_tokens=False)["input_ids"]
    return len(ids) - len(bare) - next(start for start in range(len(ids)) if ids[start : start + len(bare)] == bare)


def folds_case(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a vocabulary knows only lower case."""
    return tokenizer("A")["input_ids"] == tokenizer("a")["input_ids"]


def cut(tokenizer: PreTrainedTokenizerBase, texts: list[str], width: int) -> list[list[int]]:
    """Ids of each text, its closing special tokens kept; done here because a tokenizer's own truncation is not safe in threads."""
    close = tail(tokenizer)
    rows = tokenizer(texts)["input_ids"]
    return [row if len(row) <= width else row[: width - close] + row[len(row) - close :] for row in rows]


def host(values: Any, dtype: Any) -> Any:
    """An array on the host, where batches are made; its type says nothing, since the types of batches are those of the device."""
    return np.asarray(values, dtype)


def pad(rows: Sequence[Sequence[int]], width: int) -> Tokens:
    """Right-padded ids and mask; rows longer than `width` are a programming error."""
    ids, mask = host(np.zeros((len(rows), width)), np.int32), host(np.zeros((len(rows), width)), bool)
    for ids_row, mask_row, row in zip(ids, mask, rows, strict=True):
        ids_row[: len(row)] = row
        mask_row[: len(row)] = True
    return Tokens(ids, mask)


Encode = Callable[[TextBatch], Any]  # how a batch in words becomes one of another kind: an `Encoder`


@dataclass(frozen=True)
class Encoder:
    """Tokenises batches for the base model (whose vocabulary the counterfactual model shares) and the scope classifier.

    text_widths, label_widths: increasing; a batch takes the smallest that fit: one for its edits, one for its queries. Questions longer
    than the last text width are cut, as in the original; a longer label is an error, since a cut answer would be another answer, unless `cut_labels`.
    context_widths: of what the scope classifier reads of edits, and of edits and queries read together; where none fits, as wide as the parts.
    pairs: whether the scope classifier reads edits and queries together.
    classes: where given, an answer is one of them, its label is their number, and nothing that reads an edit is told the answer.
    The scope classifier reads lower case where the base vocabulary knows no other, as in the original.
    """

    base: PreTrainedTokenizerBase
    scope: PreTrainedTokenizerBase | None  # None: nobody reads what a scope classifier would, and its arrays have width 0
    text_widths: tuple[int, ...]
    label_widths: tuple[int, ...]
    cut_labels: bool = False  # for answers of which a part tests as well as the whole
    classes: tuple[str, ...] = ()
    context_widths: tuple[int, ...] = ()
    pairs: bool = False

    def __call__(self, batch: TextBatch) -> EditBatch:
        groups = (batch.edits, batch.inside, batch.outside)
        questions = [cut(self.base, [query.question if query else "" for query in group], self.text_widths[-1]) for group in groups]
        labels = [self.labels(group) for group in groups]
        scopes = [self.scope_texts(group, number == 0) for number, group in enumerate(groups)]
        prefixes = self.contexts(questions[0], labels[0])

        label_widths = [smallest(self.label_widths, longest(group)) for group in labels]
        edit_width = max(smallest(self.text_widths, longest(questions[0])), smallest(self.text_widths, longest([*prefixes, *scopes[0]]) - label_widths[0]))
        query_width = smallest(self.text_widths, longest([row for group in (*questions[1:], *scopes[1:]) for row in group]))
        prefix_width = edit_width + label_widths[0]
        scope_widths = (self.narrow(longest(scopes[0]), prefix_width), query_width, query_width) if self.scope else (0, 0, 0)

        def examples(number: int, text_width: int, prefixes: list, prefix_width: int) -> Examples:
            group, padded = groups[number], pad(labels[number], label_widths[number])
            weight = padded.mask * np.array([[query is not None] for query in group], np.float32)
            scope = pad([row[: scope_widths[number]] for row in scopes[number]], scope_widths[number])
            return Examples(pad(questions[number], text_width), scope, pad(prefixes, prefix_width), padded.ids, weight.astype(np.float32))

        inside, outside = (examples(number, query_width, [[] for _ in groups[number]], 0) for number in (1, 2))
        return EditBatch(
            edits=examples(0, edit_width, prefixes, prefix_width),
            inside=inside,
            edit_of=host(batch.edit_of, np.int32),
            wanted=host([query is None or query.wanted for query in batch.inside], bool),
            hard_inside=host([bool(query and query.hard) for query in batch.inside], bool),
            outside=outside,
            outside_of=host(batch.outside_of, np.int32),
            hard_outside=host([bool(query and query.hard) for query in batch.outside], bool),
            layout=self.together(batch, prefixes, questions, scopes, prefix_width + query_width),
        )

    def together(self, batch: TextBatch, prefixes: list[list[int]], questions: list[list[list[int]]], scopes: list[list[list[int]]], limit: int) -> Layout:
        """How wide edits and queries get together, of which none is wider than `limit`; unknown where it makes no difference."""
        if not self.context_widths or not self.scope:
            return Layout(alike=batch.alike)

        def joined(edits: list[list[int]], queries: list[list[int]], of: Sequence[int]) -> list[int]:
            return [len(edits[edit]) + len(query) for query, edit in zip(queries, of, strict=True)]

        context = max(joined(prefixes, questions[1], batch.edit_of))
        pair = max(joined(scopes[0], scopes[1], batch.edit_of) + joined(scopes[0], scopes[2], batch.outside_of))
        return Layout(self.narrow(context, limit), self.narrow(pair, limit) if self.pairs else None, batch.alike)

    def narrow(self, length: int, limit: int) -> int:
        """The first context width that holds `length`; where none is narrower, the limit."""
        return smallest((*(width for width in self.context_widths if width < limit), limit), length)

    def widest(self, edits: int, inside: int, outside: int, alike: int) -> EditBatch:
        """A batch of padding, with so many rows of each kind, as wide as any can be."""
        only = replace(self, text_widths=self.text_widths[-1:], label_widths=self.label_widths[-1:], context_widths=())
        return only(TextBatch([None] * edits, [None] * inside, [0] * inside, [None] * outside, [0] * outside, alike))

    def labels(self, group: Sequence[Query | None]) -> list[list[int]]:
        """Ids of the answers, or the numbers of their classes; a query without an answer has a label that nobody reads."""
        if self.classes:
            return [[self.classes.index(query.answer) if query and query.answer else 0] for query in group]
        answers = [query.answer if query else "" for query in group]
        if self.cut_labels:
            return cut(self.base, answers, self.label_widths[-1])
        rows = self.base(answers)["input_ids"]
        for query, row in zip(group, rows, strict=True):
            if query and len(row) > self.label_widths[-1]:
                raise DataError(
                    f"{query.source or 'a row'}: the answer {query.answer[:60]!r} has {len(row)} tokens, more than the limit "
                    f"of {self.label_widths[-1]}; raise data.label_widths or leave the row out"
                )
        return rows

    def contexts(self, questions: list[list[int]], labels: list[list[int]]) -> list[list[int]]:
        """Ids of edits, "question answer" without the closing special tokens, from those of both: what is read before a query."""
        close, open_ = tail(self.base), lead(self.base)
        stated = [[] for _ in labels] if self.classes else labels
        return [question[: len(question) - close] + label[open_ : len(label) - close] for question, label in zip(questions, stated, strict=True)]

    def scope_texts(self, group: Sequence[Query | None], edits: bool) -> list[list[int]]:
        """What the scope classifier reads of queries, and of edits: "question [SEP] answer [SEP]"."""
        if self.scope is None:
            return [[] for _ in group]
        texts = [(query.question, "" if self.classes else query.answer) if query else ("", "") for query in group]
        if folds_case(self.base):
            texts = [(question.lower(), answer.lower()) for question, answer in texts]
        questions = cut(self.scope, [question for question, _ in texts], self.text_widths[-1])
        if not edits:
            return questions
        open_, close, separator = lead(self.scope), tail(self.scope), self.scope.sep_token
        answers = self.scope([f"{separator}{answer}{separator}" for _, answer in texts])["input_ids"]
        room = self.text_widths[-1] + self.label_widths[-1] + open_
        return [question[: min(len(question) - close, room - len(answer))] + answer[open_:] for question, answer in zip(questions, answers, strict=True)]

    def words(self, answer: Any) -> str:
        """An answer's ids as text, or its class."""
        return self.classes[int(answer[0])] if self.classes else str(self.base.decode(answer, skip_special_tokens=True))


def longest(rows: Sequence[Sequence[int]]) -> int:
    return max(map(len, rows))


def smallest(widths: tuple[int, ...], length: int) -> int:
    """The first width that holds `length`; the last one where none does."""
    return next((width for width in widths if width >= length), widths[-1])
