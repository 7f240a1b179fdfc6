"""Tags as bits, so that one search serves queries of many users, each with their own edits.

Untagged edits apply to everyone. A tagged edit applies to queries with one of its tags, and to
queries with tags None, which see all edits; a query with tags () sees untagged edits only. An empty
slot has no bits, so that no query sees it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from serac_jax.core.errors import UserError

WORD = 32
EVERYBODY = 0  # the bit of untagged edits

Tags = tuple[str, ...] | None  # of a query; None: sees everything
Asked = Tags | str  # a single tag may be given without a tuple


def visible(tags: Iterable[str], query: Tags) -> bool:
    """Whether a query sees an edit with these tags."""
    tags = tuple(tags)
    return query is None or not tags or not set(tags).isdisjoint(query)


def tags_of(tags: Asked | Sequence[Asked], count: int) -> list[Tags]:
    """The tags of every question."""
    each: list[Any] = tags if isinstance(tags, list) else [tags] * count
    if len(each) != count:
        raise UserError(
            f"{len(each)} lists of tags for {count} questions; give one for each, or one for all"
        )
    return [None if one is None else tuple_of(one) for one in each]


def tuple_of(tags: Any) -> tuple[str, ...]:
    """The tags of one question."""
    try:
        found = (tags,) if isinstance(tags, str) else tuple(tags)
    except TypeError:
        found = (tags,)
    if not all(isinstance(tag, str) for tag in found):
        raise UserError(f"expected a tag or a tuple of tags, not {tags!r:.60}")
    return found


class TagTable:
    """Assigns a bit to every tag."""

    def __init__(self):
        self.numbers: dict[str, int] = {}

    @property
    def words(self) -> int:
        """Words of 32 bits per edit; a power of two, so that few programs are compiled."""
        return 1 << (len(self.numbers) // WORD).bit_length()

    def of_edits(self, edits: Sequence[Iterable[str]]) -> np.ndarray:
        """The bits of edits, "n w"; a new tag is assigned the next bit."""
        each = [tuple(tags) for tags in edits]
        kinds = {
            tags: number for number, tags in enumerate(dict.fromkeys(each))
        }  # many edits, few kinds
        for tag in (tag for tags in kinds for tag in tags):
            self.numbers.setdefault(tag, len(self.numbers) + 1)
        return self.packed([[self.numbers[tag] for tag in tags] or [EVERYBODY] for tags in kinds])[
            [kinds[tags] for tags in each]
        ]

    def of_queries(self, queries: Sequence[Tags]) -> np.ndarray:
        """The bits that queries see, "n w"."""
        everything = range(len(self.numbers) + 1)
        return self.packed(
            [
                (
                    everything
                    if tags is None
                    else [EVERYBODY, *(self.numbers[tag] for tag in tags if tag in self.numbers)]
                )
                for tags in queries
            ]
        )

    def packed(self, rows: Sequence[Iterable[int]]) -> np.ndarray:
        bits = np.zeros((len(rows), self.words), np.uint32)
        for row, numbers in zip(bits, rows, strict=True):
            for number in numbers:
                row[number // WORD] |= np.uint32(1 << (number % WORD))
        return bits
