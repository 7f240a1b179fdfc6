"""The sizes that batches are padded to."""

from __future__ import annotations

from typing import NamedTuple

from serac_jax.core.batch import room


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
