"""From batches of words to padded token arrays, once for every reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from serac_jax.core.batch import EditBatch, Examples, Layout, Tokens
from serac_jax.text.fingerprint import fingerprints
from serac_jax.text.queries import DataError, Query, TextBatch
from serac_jax.text.sizes import Size, Texts, first
from serac_jax.text.templates import TEMPLATES, Template, separated
from serac_jax.text.tokenizer import Tokenizer
from serac_jax.text.tokens import Ids, cut_to, folds_case, host, pad

RARE_FILLS = (0.25, 0.5)  # of the limits, for batches that no measured size holds


class Read(NamedTuple):
    """The token ids of a batch: each list has those of edits, in-scope and out-of-scope queries.

    prefixes: the edits as contexts.
    """

    questions: list[Ids]
    labels: list[Ids]
    scopes: list[Ids]
    prefixes: Ids


@dataclass(frozen=True)
class Encoder:
    """Tokenises batches for the base model, whose vocabulary the counterfactual model shares, and
    for the scope classifier.

    The scope classifier reads lower case where the base vocabulary knows no other, as in the
    original.

    Attributes:
        base: the tokenizer of the base model.
        scope: that of the scope classifier; None: there is none, and its arrays have width 0.
        question_widths, answer_widths: the last ones are limits:
            longer questions are cut there, as in the original, and longer answers are an error,
            since a cut answer would be another answer.
        edit_label_limit: the limit of an edit's answer; 0: as of all answers.
        cut_labels: cut long answers of queries too; a part of an opinion tests as well.
        classes: if any, an answer is one of these, and its label is their number. The answer is
            then no part of the edit that is read.
        sizes: what batches are padded to, measured by `sizes.choose`; a batch that none of them
            holds is as wide as the limits, see `candidates`. Empty: the i-th of the widths make one
            size.
        pairs: whether the scope classifier reads an edit and a query together.
        judged: whether the base model reads out-of-scope queries behind edits, too.
        kinds: the names of the task's kinds of questions.
        template: of the base model, a name in `templates.TEMPLATES`.
    """

    base: Tokenizer
    scope: Tokenizer | None
    question_widths: tuple[int, ...]
    answer_widths: tuple[int, ...]
    cut_labels: bool = False
    classes: tuple[str, ...] = ()
    edit_label_limit: int = 0
    sizes: tuple[Size, ...] = ()
    pairs: bool = False
    judged: bool = False
    kinds: tuple[str, ...] = ("",)
    template: str = "plain"

    @cached_property
    def form(self) -> Template:
        """The template of the base model."""
        return TEMPLATES[self.template](self.base)

    @property
    def limits(self) -> Size:
        """The size that holds every batch."""
        return self.size_of(self.question_widths[-1], self.answer_widths[-1])

    def size_of(self, text: int, label: int) -> Size:
        """The size of questions and answers of such widths."""
        edit_label, form = self.edit_label_limit or label, self.form
        text += len(form.examples)
        more = len(form.between) + len(form.behind) - len(form.after) - len(form.end)
        return Size(
            edit=text,
            stated=text + edit_label + max(more, 0),
            edit_label=edit_label,
            query=text,
            label=label,
        )

    def with_sizes(self, sizes: tuple[Size, ...]) -> Encoder:
        """The same encoder, whose batches are padded to these sizes."""
        return replace(self, sizes=sizes)

    def __call__(self, batch: TextBatch) -> EditBatch:
        read = self.read(batch)
        size = first(self.candidates, self.lengths_of(batch, read), self.limits)
        groups = (batch.edits, batch.inside, batch.outside)
        edit_scope, query_scope = self.scope_widths(size)

        def examples(
            number: int, width: int, label_width: int, prefix: Tokens, scope_width: int
        ) -> Examples:
            padded = pad(read.labels[number], label_width)
            weight = padded.mask * np.array(
                [[query is not None] for query in groups[number]], np.float32
            )
            scope = pad([row[:scope_width] for row in read.scopes[number]], scope_width)
            return Examples(
                pad([row[:width] for row in read.questions[number]], width),
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
            edits=examples(
                0, size.edit, size.edit_label, pad(read.prefixes, size.stated), edit_scope
            ),
            inside=inside,
            edit_of=host(batch.edit_of, np.int32),
            wanted=host([query is None or query.wanted for query in batch.inside], bool),
            inside_kind=self.kind_numbers(batch.inside),
            outside=outside,
            outside_of=host(batch.outside_of, np.int32),
            outside_kind=self.kind_numbers(batch.outside),
            layout=Layout(
                size.context,
                batch.alike,
                self.text_fill(size),
                size.context_fill,
                size.label_fill,
            ),
        )

    def scope_widths(self, size: Size) -> tuple[int, int]:
        """The widths of edits and of queries for the scope classifier, which reads none of the base
        model's examples."""
        if self.scope is None:
            return 0, 0
        text, answer = self.question_widths[-1], max(self.edit_label_limit, self.answer_widths[-1])
        return min(size.stated, text + answer), min(size.query, text)

    def text_fill(self, size: Size) -> float | None:
        """The largest share of real tokens of any text, also where the scope classifier's are less
        wide than the size."""
        if size.text_fill is None or self.scope is None:
            return size.text_fill
        stated, query = self.scope_widths(size)
        fill = size.text_fill * max(size.stated / stated, size.query / query)
        return None if fill >= 1 else fill

    def read(self, batch: TextBatch) -> Read:
        """Tokenises a batch."""
        groups = (batch.edits, batch.inside, batch.outside)
        limit = self.question_widths[-1]
        questions = [
            self.form.questions([query.question if query else "" for query in group], limit)
            for group in groups
        ]
        labels = [self.labels(group, number == 0) for number, group in enumerate(groups)]
        scopes = [self.scope_texts(group, number == 0) for number, group in enumerate(groups)]
        return Read(questions, labels, scopes, self.contexts(questions[0], labels[0]))

    @property
    def candidates(self) -> Sequence[Size]:
        """The sizes that a batch may take, the smallest first. Behind measured ones come the limits
        with little computed: one long text in a batch of short ones is rare, but to compute all the
        padding that it brings would take several times the memory of any other batch."""
        if self.sizes:
            return (*self.sizes, *map(self.limits.filled, RARE_FILLS))
        count = max(len(self.question_widths), len(self.answer_widths))
        texts, labels = (
            (*widths, *widths[-1:] * (count - len(widths)))
            for widths in (self.question_widths, self.answer_widths)
        )
        return [self.size_of(*widths) for widths in zip(texts, labels, strict=True)]

    def lengths(self, batch: TextBatch) -> list[Texts]:
        """What sizes are chosen by: the lengths of all texts that are read at once."""
        return self.lengths_of(batch, self.read(batch))

    def lengths_of(self, batch: TextBatch, read: Read) -> list[Texts]:
        """The same of a batch that has been tokenised; a question of several answers is read
        once."""

        def texts(width: str, lengths: Sequence[int]) -> Texts:
            return Texts(width, len(lengths), max(lengths), sum(lengths))

        def joined(
            edits: list[int], queries: list[int], of: Sequence[int], opening: int
        ) -> list[int]:
            return [edits[edit] + query - opening for query, edit in zip(queries, of, strict=True)]

        def lengths(groups: list[Ids]) -> list[list[int]]:
            return [[len(row) for row in group] for group in groups]

        edits, inside, outside = lengths(read.questions)
        edit_label, answer, label = lengths(read.labels)
        (prefixes,) = lengths([read.prefixes])
        inside, edit_of = inside[:: batch.alike], batch.edit_of[:: batch.alike]
        contexts = joined(prefixes, inside, edit_of, self.form.lead)
        if self.judged:
            contexts += joined(prefixes, outside, batch.outside_of, self.form.lead)
        found = [
            texts("edit", edits),
            texts("prefix", prefixes),
            texts("query", inside),
            texts("query", outside),
            texts("context", contexts),
            texts("edit_label", edit_label),
            texts("answer", answer),
            texts("label", label),
        ]
        if not self.scope:
            return found
        edits, inside, outside = lengths(read.scopes)
        inside = inside[:: batch.alike]
        found += [texts("stated", edits), texts("query", inside + outside)]
        if self.pairs:
            opening = separated(self.scope).lead
            found.append(
                texts(
                    "context",
                    joined(edits, inside, edit_of, opening)
                    + joined(edits, outside, batch.outside_of, opening),
                )
            )
        return found

    def widest(self, edits: int, inside: int, outside: int, alike: int) -> EditBatch:
        """A batch of padding, with so many rows of each kind, as wide as any can be."""
        widths = self.question_widths[-1:], self.answer_widths[-1:]
        only = replace(self, question_widths=widths[0], answer_widths=widths[1], sizes=())
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
        limit = self.limits.edit_label if edits else self.answer_widths[-1]
        if self.cut_labels and not edits:
            end = self.form.end
            return [
                row if len(row) <= limit else [*cut_to(row, limit - len(end)), *end] for row in rows
            ]
        for query, row in zip(group, rows, strict=True):
            if query and len(row) > limit:
                raise DataError(
                    f"{query.source or 'a row'}: the answer {query.answer[:60]!r} has {len(row)}"
                    f" tokens, more than the limit of {limit}; raise data."
                    f"{'edit_' if edits and self.edit_label_limit else ''}answer_tokens or leave"
                    " the row out"
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
        form, limit = separated(self.scope), self.question_widths[-1]
        questions = form.questions([question for question, _ in pairs], limit)
        if not edits:
            return questions
        answers = form.answers([answer for _, answer in pairs])
        return [
            form.context(question, answer, limit + self.answer_widths[-1])
            for question, answer in zip(questions, answers, strict=True)
        ]

    def kind_numbers(self, group: Sequence[Query | None]) -> Any:
        """The position of each query's kind in `kinds`; 0 for padding."""
        return host([self.kinds.index(query.kind) if query else 0 for query in group], np.int32)

    def words(self, answer: Any) -> str:
        """An answer's ids as text, or its class."""
        if self.classes:
            return self.classes[int(answer[0])]
        text = str(self.base.decode(answer, skip_special_tokens=True))
        if self.form.stops:
            text = text.partition("\n")[0].rstrip()
        return text.removeprefix(self.form.answer_space)
