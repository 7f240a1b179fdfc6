"""Kinds of questions: what a task asks in the scope of an edit and outside it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Kind(NamedTuple):
    """One kind of question; scores are reported for each kind separately.

    name: a short identifier, such as "rephrase".
    inside: whether questions of this kind are in the scope of an edit.
    meaning: one line for readers of a table.
    pool: the suffix of the pooled score that the kind counts towards. Kinds of the empty suffix
        make up the number that papers report.
    one_answer: whether a single answer is the right one, so that a generated answer can be judged.
    """

    name: str
    inside: bool
    meaning: str
    pool: str = ""
    one_answer: bool = True


def names(kinds: Iterable[Kind]) -> tuple[str, ...]:
    return tuple(kind.name for kind in kinds)
