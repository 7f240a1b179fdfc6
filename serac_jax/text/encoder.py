"""From batches of words to padded token arrays of a few fixed widths, once for every reader.

Widths come from short lists that are read together, the i-th of each being one size of a batch, so
that a training run compiles as many programs as there are sizes, at most, and then never again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from serac_jax.core.batch import EditBatch, Examples, Layout, Tokens
from serac_jax.text.fingerprint import fingerprints
from serac_jax.text.queries import DataError, Query, TextBatch
from serac_jax.text.sizes import Size, Texts
from serac_jax.text.templates import TEMPLATES, Template, separated
from serac_jax.text.tokenizer import Tokenizer
from serac_jax.text.tokens import (
    Ids,
    cut_to,
    folds_case,
    host,
    pad,
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
    kinds: the names of the task's kinds of questions.
    classes: where given, an answer is one of them, its label is their number, and nothing that
        reads an edit is told the answer.
    The scope classifier reads lower case where the base vocabulary knows no other, as in the
    original."""

    base: Tokenizer
    scope: (
        Tokenizer | None
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
    kinds: tuple[str, ...] = ("",)
    template: str = "plain"  # of the base model, a name in `templates.TEMPLATES`

    @cached_property
    def form(self) -> Template:
        """The template of the base model."""
        return TEMPLATES[self.template](self.base)

    def __call__(self, batch: TextBatch) -> EditBatch:
        groups = (batch.edits, batch.inside, batch.outside)
        questions = [
            self.form.questions(
                [query.question if query else "" for query in group], self.text_widths[-1]
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
                words=host(
                    fingerprints([query and query.question for query in groups[number]]), np.int32
                ),
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
            inside_kind=self.kind_numbers(batch.inside),
            outside=outside,
            outside_of=host(batch.outside_of, np.int32),
            outside_kind=self.kind_numbers(batch.outside),
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
        count, more = max(map(len, lists)), len(self.form.examples)
        return [
            Size(*widths)._replace(edit=widths[0] + more, query=widths[2] + more)
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
        """Ids of the answers, or the numbers of their classes; the label of a query without an
        answer has weight 0. The answer of an edit is never cut."""
        if self.classes:
            return [
                [self.classes.index(query.answer) if query and query.answer else 0]
                for query in group
            ]
        rows = self.form.answers([query.answer if query else "" for query in group])
        name = "edit_label_widths" if edits and self.edit_label_widths else "label_widths"
        limit = getattr(self, name)[-1]
        if self.cut_labels and not edits:
            end = self.form.end
            return [
                row if len(row) <= limit else [*cut_to(row, limit - len(end)), *end] for row in rows
            ]
        for query, row in zip(group, rows, strict=True):
            if query and len(row) > limit:
                raise DataError(
                    f"{query.source or 'a row'}: the answer {query.answer[:60]!r} has {len(row)}"
                    f" tokens, more than the limit of {limit}; raise data.{name} or leave the"
                    " row out"
                )
        return rows

    def contexts(self, questions: list[list[int]], labels: list[list[int]]) -> list[list[int]]:
        """Ids of edits as the context before a query, from the ids of their questions and
        answers."""
        answers = [[] for _ in labels] if self.classes else labels
        return list(map(self.form.context, questions, answers))

    def scope_texts(self, group: Sequence[Query | None], edits: bool) -> list[list[int]]:
        """What the scope classifier reads of queries, or of edits."""
        if self.scope is None:
            return [[] for _ in group]
        pairs = [
            (query.question, "" if self.classes else query.answer) if query else ("", "")
            for query in group
        ]
        if folds_case(self.base):
            pairs = [(question.lower(), answer.lower()) for question, answer in pairs]
        form, limit = separated(self.scope), self.text_widths[-1]
        questions = form.questions([question for question, _ in pairs], limit)
        if not edits:
            return questions
        answers = form.answers([answer for _, answer in pairs])
        return [
            form.context(question, answer, limit + self.label_widths[-1])
            for question, answer in zip(questions, answers, strict=True)
        ]

    def kind_numbers(self, group: Sequence[Query | None]) -> Any:
        """The position of each query's kind in `kinds`; 0 for padding."""
        return host([self.kinds.index(query.kind) if query else 0 for query in group], np.int32)

    def words(self, answer: Any) -> str:
        """An answer's ids as text, or its class."""
        return (
            self.classes[int(answer[0])]
            if self.classes
            else str(self.base.decode(answer, skip_special_tokens=True))
        )
