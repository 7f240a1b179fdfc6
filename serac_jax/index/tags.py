"""Who sees which edits: tags as bits, so that one search serves queries of many tenants, each with
its own part of the memory.

An edit without tags is everybody's. An edit with tags is seen by queries that name one of them, and
by queries that name none at all (None), which see the whole memory; a query of no tags, (), sees
what is everybody's. An empty slot has no bit and is seen by nobody."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from serac_jax.core.errors import UserError

WORD = 32
EVERYBODY = 0  # the number of the bit of edits without tags

Tags = tuple[str, ...] | None  # of a query; None: sees everything
Asked = Tags | str  # a single tag may be given without a tuple


def visible(tags: Iterable[str], query: Tags) -> bool:
    """Whether a query sees an edit of these tags."""
    tags = tuple(tags)
    return query is None or not tags or not set(tags).isdisjoint(query)


def tags_of(tags: Asked | Sequence[Asked], count: int) -> list[Tags]:
    """The tags of every question."""
    each: list[Any] = tags if isinstance(tags, list) else [tags] * count
    if len(each) != count:
        raise UserError(
            f"{len(each)} lists of tags for {count} questions; give one for each, or one for all"
        )
    return [(one,) if isinstance(one, str) else None if one is None else tuple(one) for one in each]


class TagTable:
    """A bit for every tag that an edit ever had."""

    def __init__(self):
        self.numbers: dict[str, int] = {}

    @property
    def words(self) -> int:
        """Words of 32 bits that an edit's tags take: a power of two, so that few programs are
        compiled."""
        return 1 << (len(self.numbers) // WORD).bit_length()

    def of_edits(self, edits: Sequence[Iterable[str]]) -> np.ndarray:
        """The bits of edits' tags, "n w"; a new tag gets a new number."""
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
        """The bits of what queries see, "n w"."""
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
