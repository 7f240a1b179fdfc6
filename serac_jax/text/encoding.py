"""From strings to padded token arrays of a few fixed widths, once for every reader.

Widths come from short lists that are read together, the i-th of each being one size of a batch, so
that a training run compiles as many programs as there are sizes, at most, and then never again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerBase

from serac_jax.core.batch import EditBatch, Examples, Layout, Tokens, room
from serac_jax.core.errors import UserError

LOADED = 16  # tokenizers of which something is remembered
REMEMBERED = 1 << 16  # texts of a tokenizer
Ids = list[list[int]]  # a row a text


class DataError(UserError):
    """A data file or a row of it is not what it should be."""


class Query(NamedTuple):
    """A question, the answer it should get, and where it comes from (for messages). An answer that
    is not wanted should become less likely."""

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


@lru_cache(maxsize=LOADED)
def prefix_token_count(tokenizer: PreTrainedTokenizerBase) -> int:
    """How many special tokens open a text: 1 for BERT's [CLS], 0 for T5."""
    return (
        len(tokenizer("a")["input_ids"])
        - len(tokenizer("a", add_special_tokens=False)["input_ids"])
        - suffix_token_count(tokenizer)
    )


@lru_cache(maxsize=LOADED)
def suffix_token_count(tokenizer: PreTrainedTokenizerBase) -> int:
    """How many special tokens close a text: 1 for T5's </s> and BERT's [SEP]."""
    ids, bare = tokenizer("a")["input_ids"], tokenizer("a", add_special_tokens=False)["input_ids"]
    return (
        len(ids)
        - len(bare)
        - next(start for start in range(len(ids)) if ids[start : start + len(bare)] == bare)
    )


@lru_cache(maxsize=LOADED)
def folds_case(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a vocabulary knows only lower case."""
    return tokenizer("A")["input_ids"] == tokenizer("a")["input_ids"]


@lru_cache(maxsize=LOADED)
def remembered(tokenizer: PreTrainedTokenizerBase) -> dict[str, list[int]]:
    """Ids of texts that were read."""
    return {}


def ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Ids:
    """Ids of each text, which may not be changed. A text that was read lately, as another answer's
    question or in another epoch, is not read again."""
    known = remembered(tokenizer)
    found = {text: known.get(text) for text in texts}
    if new := [text for text, row in found.items() if row is None]:
        read = dict(
            zip(
                new,
                tokenizer(new, return_attention_mask=False, return_token_type_ids=False)[
                    "input_ids"
                ],
                strict=True,
            )
        )
        if len(known) + len(read) > REMEMBERED:
            known.clear()
        known.update(read)
        found |= read
    return [found[text] for text in texts]  # pyright: ignore[reportReturnType]


def cut(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], width: int) -> Ids:
    """Ids of each text, its closing special tokens kept; done here because a tokenizer's own
    truncation is not safe in threads."""
    close = suffix_token_count(tokenizer)
    rows = ids(tokenizer, texts)
    return [
        row if len(row) <= width else row[: width - close] + row[len(row) - close :] for row in rows
    ]


def host(values: Any, dtype: Any) -> Any:
    """An array on the host, where batches are made; its type says nothing, since the types of
    batches are those of the device."""
    return np.asarray(values, dtype)


def pad(rows: Sequence[Sequence[int]], width: int) -> Tokens:
    """Right-padded ids and mask; rows longer than `width` are a programming error."""
    ids, mask = (
        host(np.zeros((len(rows), width)), np.int32),
        host(np.zeros((len(rows), width)), bool),
    )
    for ids_row, mask_row, row in zip(ids, mask, rows, strict=True):
        ids_row[: len(row)] = row
        mask_row[: len(row)] = True
    return Tokens(ids, mask)


Encode = Callable[
    [TextBatch], Any
]  # how a batch in words becomes one of another kind: an `Encoder`


class Texts(NamedTuple):
    """What is read at once: of which width it is (see `Size.holds`), how many rows, the longest,
    and how many tokens in all."""

    width: str
    rows: int
    longest: int
    tokens: int


class Size(NamedTuple):
    """Widths of a batch: of an edit's question and its answer, of a query and its answer, and of an
    edit and a query read together (None: as wide as both).

    text_fill, context_fill, label_fill: the share of positions that tokens may have of texts, of
        two that are read together, and of answers in scope.
    """

    edit: int
    edit_label: int
    query: int
    label: int
    context: int | None
    text_fill: float | None
    context_fill: float | None
    label_fill: float | None

    @property
    def stated(self) -> int:
        """Of an edit, question and answer."""
        return self.edit + self.edit_label

    def holds(self, texts: Texts) -> bool:
        """Whether no row is longer, and there are no more tokens than are computed."""
        both = self.stated + self.query - 1  # less a token that opens the second
        width, fill = {
            "edit": (self.edit, self.text_fill),
            "stated": (self.stated, self.text_fill),
            "query": (self.query, self.text_fill),
            "context": (both + 1 if self.context is None else self.context, self.context_fill),
            "edit_label": (self.edit_label, None),
            "answer": (self.label, self.label_fill),
            "label": (self.label, None),
        }[texts.width]
        return texts.longest <= width and (
            fill is None or texts.tokens <= room(texts.rows * min(width, both), fill)
        )


@dataclass(frozen=True)
class Encoder:
    """Tokenises batches for the base model (whose vocabulary the counterfactual model shares) and
    the scope classifier.

    text_widths, label_widths, query_widths, edit_label_widths, context_widths: of an edit's
    question, an answer, a query, an edit's answer, and an edit and a
        query read together. The i-th of each make one size, and the last of a list stands for those
        that it lacks; a batch takes the first size that holds it, or the last. There, questions are
        cut, as in the original; a longer answer is an error, since a cut answer would be another
        answer, unless `cut_labels`. Without query_widths and edit_label_widths, queries are as wide
        as edits, and answers of edits as all answers; without context_widths, an edit and a query
        are as wide as both. text_fill, context_fill, label_fill: the share of the positions of
        texts, of two that are read together, and of answers in scope that is computed in training;
        without them, all are.
    pairs: whether the scope classifier reads edits and queries together.
    classes: where given, an answer is one of them, its label is their number, and nothing that
        reads an edit is told the answer.
    The scope classifier reads lower case where the base vocabulary knows no other, as in the
    original."""

    base: PreTrainedTokenizerBase
    scope: (
        PreTrainedTokenizerBase | None
    )  # None: nobody reads what a scope classifier would, and its arrays have width 0
    text_widths: tuple[int, ...]
    label_widths: tuple[int, ...]
    cut_labels: bool = False  # for answers of which a part tests as well as the whole
    classes: tuple[str, ...] = ()
    query_widths: tuple[int, ...] = ()
    edit_label_widths: tuple[int, ...] = ()
    context_widths: tuple[int, ...] = ()
    text_fill: tuple[float, ...] = ()
    context_fill: tuple[float, ...] = ()
    label_fill: tuple[float, ...] = ()
    pairs: bool = False

    def __call__(self, batch: TextBatch) -> EditBatch:
        groups = (batch.edits, batch.inside, batch.outside)
        questions = [
            cut(
                self.base,
                [query.question if query else "" for query in group],
                self.text_widths[-1],
            )
            for group in groups
        ]
        labels = [self.labels(group, number == 0) for number, group in enumerate(groups)]
        scopes = [self.scope_texts(group, number == 0) for number, group in enumerate(groups)]
        prefixes = self.contexts(questions[0], labels[0])

        read = self.read(batch, prefixes, questions, labels, scopes)
        otherwise = self.sizes[-1]._replace(
            context=None, text_fill=None, context_fill=None, label_fill=None
        )
        size = next((size for size in self.sizes if all(map(size.holds, read))), otherwise)
        edit_scope, query_scope = (size.stated, size.query) if self.scope else (0, 0)

        def examples(
            number: int, width: int, label_width: int, prefix: Tokens, scope_width: int
        ) -> Examples:
            padded = pad(labels[number], label_width)
            weight = padded.mask * np.array(
                [[query is not None] for query in groups[number]], np.float32
            )
            scope = pad([row[:scope_width] for row in scopes[number]], scope_width)
            return Examples(
                pad([row[:width] for row in questions[number]], width),
                scope,
                prefix,
                padded.ids,
                weight.astype(np.float32),
            )

        inside, outside = (
            examples(
                number, size.query, size.label, pad([[] for _ in groups[number]], 0), query_scope
            )
            for number in (1, 2)
        )
        return EditBatch(
            edits=examples(0, size.edit, size.edit_label, pad(prefixes, size.stated), edit_scope),
            inside=inside,
            edit_of=host(batch.edit_of, np.int32),
            wanted=host([query is None or query.wanted for query in batch.inside], bool),
            hard_inside=host([bool(query and query.hard) for query in batch.inside], bool),
            outside=outside,
            outside_of=host(batch.outside_of, np.int32),
            hard_outside=host([bool(query and query.hard) for query in batch.outside], bool),
            layout=Layout(
                size.context, batch.alike, size.text_fill, size.context_fill, size.label_fill
            ),
        )

    @property
    def sizes(self) -> list[Size]:
        """What a batch may be as large as, the smallest first."""
        edits = self.text_widths, self.edit_label_widths or self.label_widths
        optional = (
            self.context_widths,
            self.text_fill,
            self.context_fill,
            () if self.classes else self.label_fill,
        )  # a class is one position
        lists = (
            *edits,
            self.query_widths or self.text_widths,
            self.label_widths,
            *(widths or (None,) for widths in optional),
        )
        count = max(map(len, lists))
        return [
            Size(*widths)
            for widths in zip(
                *((*widths, *[widths[-1]] * (count - len(widths))) for widths in lists), strict=True
            )
        ]

    def read(
        self,
        batch: TextBatch,
        prefixes: Ids,
        questions: list[Ids],
        labels: list[Ids],
        scopes: list[Ids],
    ) -> list[Texts]:
        """All that is read at once, questions that several answers share once."""

        def texts(width: str, lengths: list[int]) -> Texts:
            return Texts(width, len(lengths), max(lengths), sum(lengths))

        def joined(edits: list[int], queries: list[int], of: Sequence[int]) -> list[int]:
            return [edits[edit] + query for query, edit in zip(queries, of, strict=True)]

        def lengths(groups: list[Ids]) -> list[list[int]]:
            return [[len(row) for row in group] for group in groups]

        (edits, inside, outside), (edit_scopes, inside_scopes, outside_scopes), answers = (
            lengths(questions),
            lengths(scopes),
            lengths(labels),
        )
        inside, inside_scopes, edit_of = (
            inside[:: batch.alike],
            inside_scopes[:: batch.alike],
            batch.edit_of[:: batch.alike],
        )
        (stated,) = lengths([prefixes])
        found = [
            texts("edit", edits),
            texts("stated", stated),
            texts("stated", edit_scopes),
            texts("query", inside),
            texts("query", outside),
        ]
        found += [
            texts("query", inside_scopes + outside_scopes),
            texts("context", joined(stated, inside, edit_of)),
        ]
        found += [
            texts(width, group)
            for width, group in zip(("edit_label", "answer", "label"), answers, strict=True)
        ]
        pairs = joined(edit_scopes, inside_scopes, edit_of) + joined(
            edit_scopes, outside_scopes, batch.outside_of
        )
        return [*found, texts("context", pairs)] if self.pairs else found

    def widest(self, edits: int, inside: int, outside: int, alike: int) -> EditBatch:
        """A batch of padding, with so many rows of each kind, as wide as any can be."""
        last = self.sizes[-1]
        alone = {
            "text_widths": last.edit,
            "edit_label_widths": last.edit_label,
            "query_widths": last.query,
            "label_widths": last.label,
        }
        only = replace(
            self,
            **{name: (width,) for name, width in alone.items()},
            context_widths=(),
            text_fill=(),
            context_fill=(),
            label_fill=(),
        )
        return only(
            TextBatch(
                [None] * edits,
                [None] * inside,
                [0] * inside,
                [None] * outside,
                [0] * outside,
                alike,
            )
        )

    def labels(self, group: Sequence[Query | None], edits: bool) -> list[list[int]]:
        """Ids of the answers, or the numbers of their classes; a query without an answer has a
        label that nobody reads. Of edits none is cut."""
        if self.classes:
            return [
                [self.classes.index(query.answer) if query and query.answer else 0]
                for query in group
            ]
        answers = [query.answer if query else "" for query in group]
        name = "edit_label_widths" if edits and self.edit_label_widths else "label_widths"
        limit = getattr(self, name)[-1]
        if self.cut_labels and not edits:
            return cut(self.base, answers, limit)
        rows = ids(self.base, answers)
        for query, row in zip(group, rows, strict=True):
            if query and len(row) > limit:
                raise DataError(
                    f"{query.source or 'a row'}: the answer {query.answer[:60]!r} has {len(row)}"
                    f" tokens, more than the limit of {limit}; raise data.{name} or leave the"
                    " row out"
                )
        return rows

    def contexts(self, questions: list[list[int]], labels: list[list[int]]) -> list[list[int]]:
        """Ids of edits, "question answer" without the closing special tokens, from those of both:
        what is read before a query."""
        close, open_ = suffix_token_count(self.base), prefix_token_count(self.base)
        stated = [[] for _ in labels] if self.classes else labels
        return [
            question[: len(question) - close] + label[open_ : len(label) - close]
            for question, label in zip(questions, stated, strict=True)
        ]

    def scope_texts(self, group: Sequence[Query | None], edits: bool) -> list[list[int]]:
        """What the scope classifier reads of queries, and of edits: "question [SEP] answer
        [SEP]"."""
        if self.scope is None:
            return [[] for _ in group]
        texts = [
            (query.question, "" if self.classes else query.answer) if query else ("", "")
            for query in group
        ]
        if folds_case(self.base):
            texts = [(question.lower(), answer.lower()) for question, answer in texts]
        questions = cut(self.scope, [question for question, _ in texts], self.text_widths[-1])
        if not edits:
            return questions
        open_, close, separator = (
            prefix_token_count(self.scope),
            suffix_token_count(self.scope),
            self.scope.sep_token,
        )
        answers = ids(self.scope, [f"{separator}{answer}{separator}" for _, answer in texts])
        room = self.text_widths[-1] + self.label_widths[-1] + open_
        return [
            question[: min(len(question) - close, room - len(answer))] + answer[open_:]
            for question, answer in zip(questions, answers, strict=True)
        ]

    def words(self, answer: Any) -> str:
        """An answer's ids as text, or its class."""
        return (
            self.classes[int(answer[0])]
            if self.classes
            else str(self.base.decode(answer, skip_special_tokens=True))
        )


def smallest(widths: tuple[int, ...], length: int) -> int:
    """The first width that holds `length`; the last one where none does."""
    return next((width for width in widths if width >= length), widths[-1])
