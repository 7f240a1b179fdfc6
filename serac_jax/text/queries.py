"""Batches in words: what a task draws, before anything is tokenised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from serac_jax.core.errors import UserError


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


Encode = Callable[[TextBatch], Any]  # turns a batch of words into one of arrays: an `Encoder`
