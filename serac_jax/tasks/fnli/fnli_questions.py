"""Fact checking on VitaminC: what a step edits, and which claims test it.

An edit says that a passage of evidence is true. In scope is the claim that the passage supports or
refutes. Out of scope are claims about other pages and, as hard negatives, claims that the passage
leaves open (Mitchell et al. 2022, section 4).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from serac_jax.tasks.data_files import Rows, prepare
from serac_jax.tasks.fnli import fnli_rows
from serac_jax.tasks.kinds import Kind
from serac_jax.tasks.sampling import Order
from serac_jax.text.queries import DataError, Encode, Query, TextBatch

KINDS = (
    Kind("supports", True, "a claim that the edit's evidence supports"),
    Kind("refutes", True, "a claim that the edit's evidence refutes"),
    Kind("other_page", False, "a claim about another page"),
    Kind("same_page", False, "a claim about the edit's page that its evidence leaves open", "near"),
)
CLASSES = ("refuted", "supported")  # of a text, in the order of the fact checker's logits
# Kind and answer by label. A claim that the evidence leaves open has none.
ANSWERS = {"SUPPORTS": ("supports", "supported"), "REFUTES": ("refutes", "refuted")}


@dataclass(frozen=True)
class Row:
    """A claim, a passage of the page that it is about, and whether the passage supports it."""

    claim: str
    evidence: str
    label: str
    page: str
    source: str


def decode(example: dict[str, Any]) -> Row:
    """A TFDS example, whose texts are bytes, as a Row."""
    return Row(**{field: example[field].decode() for field in fnli_rows.FIELDS})


class Draw:
    """Turns the rows that a step edits, and a random generator, into its batch."""

    def __init__(self, rows: Rows[Row], encode: Encode):
        self.rows, self.encode = rows, encode

    def __call__(self, index: np.ndarray, rng: np.random.Generator) -> Any:
        return self.encode(self.texts(index, rng))

    def texts(self, index: np.ndarray, rng: np.random.Generator) -> TextBatch:
        """The batch in words. Negative indices are padding."""
        rows = [self.rows[i] if i >= 0 else None for i in index]
        pages = [row.page for row in rows if row]
        return TextBatch(
            edits=[
                Query(row.evidence, "supported", source=row.source) if row else None for row in rows
            ],
            inside=[inside(row) if row else None for row in rows],
            edit_of=range(len(index)),
            outside=[self.outside(row, pages, rng) if row else None for row in rows],
            outside_of=range(len(index)),
        )

    def outside(self, row: Row, pages: list[str], rng: np.random.Generator) -> Query:
        """The row's own claim where the evidence leaves it open, else a claim about a page that is
        not edited.

        Neither has an answer: the base model's should stay as it is.
        """
        if row.label not in ANSWERS:
            return Query(row.claim, "", "same_page", row.source)
        for _ in range(1000):
            other = self.rows[int(rng.integers(len(self.rows)))]
            if not any(overlap(other.page, page) for page in pages):
                return Query(other.claim, "", "other_page", other.source)
        raise DataError(
            "found no claim about another page than the batch's in 1000 draws; lower train.edits"
            " or eval.edits, or add rows of other pages"
        )


def inside(row: Row) -> Query | None:
    """The row's claim, where the evidence decides it."""
    if row.label not in ANSWERS:
        return None
    kind, answer = ANSWERS[row.label]
    return Query(row.claim, answer, kind, row.source)


def overlap(page: str, other: str) -> bool:
    """Whether two pages may be about the same thing: the name of one contains the other's."""
    return page in other or other in page


def balanced(labels: Sequence[str], rng: np.random.Generator) -> Int[np.ndarray, " n"]:
    """As many rows of every label as the rarest one has, in order."""
    kinds = [np.flatnonzero(np.asarray(labels) == label) for label in sorted(set(labels))]
    least = min(map(len, kinds))
    return np.sort(np.concatenate([rng.choice(kind, least, replace=False) for kind in kinds]))


def pack(rows: Sequence[int], pages: Sequence[str], size: int) -> Int[np.ndarray, "s k"]:
    """Batches of rows whose pages do not overlap, as full as their order allows.

    A row that does not fit waits for the next batch; −1 is padding.
    """
    waiting, batches = deque(rows), []
    while waiting:
        batch: list[int] = []
        late: list[int] = []
        while waiting and len(batch) < size:
            row = waiting.popleft()
            (late if any(overlap(pages[row], pages[other]) for other in batch) else batch).append(
                row
            )
        waiting.extendleft(reversed(late))
        batches.append(batch + [-1] * (size - len(batch)))
    return np.array(batches)


def epoch(
    labels: Sequence[str],
    pages: Sequence[str],
    size: int,
    thin: bool,
    train: bool,
    rng: np.random.Generator,
) -> Int[np.ndarray, "s k"]:
    """The rows that the steps of an epoch edit.

    In training, always the same number of steps, in an order drawn anew; otherwise every row once,
    in order. `thin`: labels are balanced, by leaving rows out.
    """
    rows = balanced(labels, rng) if thin else np.arange(len(labels))
    if not train:
        return pack(rows.tolist(), pages, size)
    return pack(rng.permutation(rows).tolist(), pages, size)[: len(rows) // size]


def order(rows: Rows[Row], split: str, size: int, train: bool) -> Order:
    """How a split's rows are batched. All splits except "test" are balanced, as in the original."""
    labels, pages = zip(
        *((row.label, row.page) for row in map(rows.__getitem__, range(len(rows)))), strict=True
    )
    return partial(epoch, labels, pages, size, split != "test", train)


def splits(folder: Path) -> list[str]:
    """The splits that have a file."""
    return [name for name in fnli_rows.SPLITS if (folder / "vitaminc" / f"{name}.jsonl").exists()]


def open_rows(folder: Path, cache: Path, split: str) -> Rows[Row]:
    """The rows of a split. Raises DataError where its file is missing."""
    base = folder / "vitaminc"
    if split not in splits(folder):
        raise DataError(
            f"{base} has no split {split!r} ({split}.jsonl); it has"
            f" {', '.join(splits(folder)) or 'none'}"
        )
    return Rows(prepare(fnli_rows.VitaminC, base, cache).as_data_source(split), decode)
