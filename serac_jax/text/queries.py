"""Batches in words: what a task draws, before anything is tokenised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from serac_jax.core.errors import UserError


class DataError(UserError):
    """A data file or a row of it is not what it should be."""


class Query(NamedTuple):
    """A question and the answer that it should get.

    kind: the name of one of the task's kinds of questions.
    source: where it comes from, for messages.
    wanted: False for an answer that the edit should make less likely.
    """

    question: str
    answer: str
    kind: str = ""
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
