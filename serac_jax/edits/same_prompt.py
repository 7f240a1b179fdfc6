"""Conflicts between edits that their texts alone show: the same prompt with another answer, for the
same reader."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from serac_jax.edits.records import Edit

END = re.compile(r"[\s.?!…。？！]+$")


class Conflict(NamedTuple):
    """Two edits of the same prompt with different answers, the older in the memory first."""

    first: Edit
    second: Edit


def normal(prompt: str) -> str:
    """A prompt without what people type in different ways: case, width, blanks, closing
    punctuation."""
    plain = " ".join(unicodedata.normalize("NFKC", prompt).casefold().split())
    return END.sub("", plain) or plain


def meet(one: Edit, other: Edit) -> bool:
    """Whether a query can see both edits: both have no tags, or they share one."""
    return bool(set(one.tags) & set(other.tags)) or not (one.tags or other.tags)


def differ(one: Edit, other: Edit) -> bool:
    """Whether two edits of one prompt contradict each other."""
    return meet(one, other) and normal(one.answer) != normal(other.answer)


def against(edit: Edit, others: Iterable[Edit]) -> list[Edit]:
    """Those of some edits that contradict one by their texts."""
    return [
        other
        for other in others
        if normal(other.prompt) == normal(edit.prompt) and differ(other, edit)
    ]


def conflicts(edits: Iterable[Edit]) -> list[Conflict]:
    """All conflicts among edits, by the later edit's place."""
    seen: dict[str, list[Edit]] = {}
    found: list[Conflict] = []
    for edit in edits:
        others = seen.setdefault(normal(edit.prompt), [])
        found += [Conflict(other, edit) for other in others if differ(other, edit)]
        others.append(edit)
    return found
