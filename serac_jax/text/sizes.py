"""The sizes that batches are padded to, measured from the batches themselves.

A batch is padded to the first size that holds it, and each size is compiled once. So a few sizes
should hold most batches with little padding. `choose` finds them: it sorts a sample of batches by
the positions that a network would compute for each alone, and divides them into as many groups of
neighbours as there may be programs. A group's size is the least that holds all of its batches. Of
all divisions it takes, by dynamic programming, the one with the fewest computed positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from serac_jax.core.batch import room

STEP = 4  # widths are multiples of it
SPARE = 1.1  # the largest size of a sample has so much more room for batches that were not sampled


class Texts(NamedTuple):
    """The texts of a batch that are read at once.

    width: which width of a `Size` they take.
    rows, longest, tokens: how many texts, the tokens of the longest, and the tokens of all.
    """

    width: str
    rows: int
    longest: int
    tokens: int


class Size(NamedTuple):
    """What a batch is padded to.

    edit, edit_label, query, label: widths of the question and the answer of an edit, and of the
        question and the answer of a query.
    stated: the width of an edit with its answer.
    context: the width of an edit and a query that are read together; None: of both widths.
    text_fill, context_fill, label_fill: the largest share of positions that may be tokens and not
        padding: of texts, of an edit and a query together, and of in-scope answers. Training
        computes only so many. None: all are computed.
    """

    edit: int
    stated: int
    edit_label: int
    query: int
    label: int
    context: int | None = None
    text_fill: float | None = None
    context_fill: float | None = None
    label_fill: float | None = None

    @property
    def both(self) -> int:
        """The longest row of an edit and a query together, without a token that opens the query."""
        return self.stated + self.query - 1

    def filled(self, share: float) -> Size:
        """The same widths, of which only a share of the positions is computed; of labels twice the
        share, since the limit of answers is nearer to their lengths."""
        labels = None if share >= 0.5 else 2 * share
        return self._replace(text_fill=share, context_fill=share, label_fill=labels)

    def width(self, texts: Texts) -> int:
        """How wide the arrays of some texts are."""
        return {
            "edit": self.edit,
            "prefix": self.stated,
            "stated": self.stated,
            "query": self.query,
            "context": self.both + 1 if self.context is None else self.context,
            "edit_label": self.edit_label,
            "answer": self.label,
            "label": self.label,
        }[texts.width]

    def fill(self, texts: Texts) -> float | None:
        """The share of their positions that is computed."""
        return {
            "edit": self.text_fill,
            "stated": self.text_fill,
            "query": self.text_fill,
            "context": self.context_fill,
            "answer": self.label_fill,
        }.get(texts.width)

    def positions(self, texts: Texts) -> int:
        """How many positions are computed for some texts in training."""
        count, fill = texts.rows * min(self.width(texts), self.both), self.fill(texts)
        return count if fill is None else room(count, fill)

    def holds(self, texts: Texts) -> bool:
        """Whether no row is longer, and there are no more tokens than are computed."""
        return texts.longest <= self.width(texts) and (
            self.fill(texts) is None or texts.tokens <= self.positions(texts)
        )


def first(sizes: Sequence[Size], read: Sequence[Texts], limits: Size) -> Size:
    """The first size that holds a batch; `limits`, which hold any, where none does."""
    return next((size for size in sizes if all(map(size.holds, read))), limits)


def computed(size: Size, read: Sequence[Texts]) -> int:
    """The positions that training computes for a batch; prefixes are read as part of contexts."""
    return sum(size.positions(texts) for texts in read if texts.width != "prefix")


def choose(batches: Sequence[Sequence[Texts]], count: int, limits: Size) -> tuple[Size, ...]:
    """At most `count` sizes for batches such as these, the smallest first.

    Args:
        batches: a sample, each batch with the same kinds of texts.
        limits: the widths that no batch exceeds, as texts are cut there.
    """
    costs = Costs(batches, limits)
    order = np.argsort(costs.of(costs.longest, costs.tokens), kind="stable")
    longest, tokens = costs.longest[order], costs.tokens[order]
    total = len(order)
    group = np.full((total, total), np.inf)  # the cost of the batches from i to j in one size
    for i in range(total):
        most = (np.maximum.accumulate(part[i:], 0) for part in (longest, tokens))
        group[i, i:] = costs.of(*most) * np.arange(1, total - i + 1)
    ends = divide(group, min(count, total))
    starts = [0, *ends[:-1]]
    return tuple(
        costs.size(longest[start:end].max(0), tokens[start:end].max(0), spare=end == total)
        for start, end in zip(starts, ends, strict=True)
    )


def divide(group: Float[np.ndarray, "m m"], count: int) -> list[int]:
    """The ends of at most `count` groups of neighbours with the least cost in sum.

    Args:
        group: the cost of a group from i to j, both included.
    """
    best, choices = group[0], []
    for _ in range(count - 1):
        # another group from i on, behind the best division of those before i
        each = np.concatenate([[0.0], best[:-1]])[:, None] + group
        choices.append(each.argmin(0))
        best = each.min(0)
    ends = [group.shape[0]]
    for choice in reversed(choices):
        start = int(choice[ends[-1] - 1])
        if start == 0:
            break
        ends.append(start)
    return ends[::-1]


class Costs:
    """Sizes and their costs for a sample of batches, for many groups of them at once."""

    def __init__(self, batches: Sequence[Sequence[Texts]], limits: Size):
        self.limits, self.names = limits, [texts.width for texts in batches[0]]
        self.rows = np.array([texts.rows for texts in batches[0]])
        self.longest = np.array([[texts.longest for texts in batch] for batch in batches])
        self.tokens = np.array([[texts.tokens for texts in batch] for batch in batches])

    def widest(self, longest: Int[np.ndarray, "*g k"], *names: str) -> Int[np.ndarray, "*g"]:
        """The width that holds the texts of these names."""
        columns = [column for column, name in enumerate(self.names) if name in names]
        return -(-longest[..., columns].max(-1) // STEP) * STEP

    def widths(self, longest: Int[np.ndarray, "*g k"]) -> dict[str, Any]:
        """The widths of a size."""
        of = {
            "edit": self.widest(longest, "edit"),
            "stated": self.widest(longest, "prefix", "stated"),
            "edit_label": self.widest(longest, "edit_label"),
            "query": self.widest(longest, "query"),
            "label": self.widest(longest, "answer", "label"),
        }
        of = {name: np.minimum(width, getattr(self.limits, name)) for name, width in of.items()}
        return of | {
            "context": np.minimum(self.widest(longest, "context"), of["stated"] + of["query"])
        }

    def fills(self, widths: dict[str, Any], tokens: Int[np.ndarray, "*g k"]) -> dict[str, Any]:
        """The fills of a size, in hundredths."""
        fills = {}
        for fill, names in (
            ("text_fill", ("edit", "stated", "query")),
            ("context_fill", ("context",)),
            ("label_fill", ("answer",)),
        ):
            shares = [
                tokens[..., column] / self.places(widths, column)
                for column, name in enumerate(self.names)
                if name in names
            ]
            fills[fill] = np.minimum(np.ceil(np.max(shares, 0) * 100 - 1e-6) / 100, 1.0)
        return fills

    def places(self, widths: dict[str, Any], column: int) -> Any:
        """How many positions the arrays of some texts have."""
        name = self.names[column]
        width = widths[{"prefix": "stated", "answer": "label"}.get(name, name)]
        width = np.minimum(width, widths["stated"] + widths["query"] - 1)
        return np.maximum(self.rows[column] * width, 1)

    def of(
        self, longest: Int[np.ndarray, "*g k"], tokens: Int[np.ndarray, "*g k"]
    ) -> Float[np.ndarray, "*g"]:
        """The positions that training computes for one batch of the least size that holds these."""
        widths = self.widths(longest)
        fills, cost = self.fills(widths, tokens), np.zeros(longest.shape[:-1])
        for column, name in enumerate(self.names):
            places = self.places(widths, column)
            fill = {"context": "context_fill", "answer": "label_fill"}.get(name, "text_fill")
            if name not in ("prefix", "edit_label", "label"):
                places = np.minimum(8 * np.ceil(fills[fill] * places / 8 - 1e-6), places)
            cost += 0 if name == "prefix" else places
        return cost

    def size(
        self, longest: Int[np.ndarray, " k"], tokens: Int[np.ndarray, " k"], spare: bool
    ) -> Size:
        """The least size that holds these; with `spare`, somewhat more."""
        if spare:
            longest = np.ceil(longest * SPARE).astype(int)
        widths = self.widths(longest)
        fills = self.fills(widths, np.ceil(tokens * SPARE).astype(int) if spare else tokens)
        found: dict[str, Any] = {name: int(width) for name, width in widths.items()}
        found |= {name: None if fill >= 1 else float(fill) for name, fill in fills.items()}
        return Size(**found)
