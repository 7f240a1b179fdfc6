"""Conflicts between edits, and those that their texts alone show: the same prompt with another
answer, visible to the same query."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

from serac_jax.edits.records import Edit

END = re.compile(r"[\s.?!…。？！]+$")
DOUBLE_QUOTES = re.compile(r'["“”„‟«»]')
SINGLE_QUOTES = dict.fromkeys(map(ord, "‘’‚‛`´"), "'")
OUTER_QUOTE = re.compile(r"(?<!\w)'|'(?!\w)")  # not the apostrophe inside a word


class Conflict(NamedTuple):
    """Two edits that get in each other's way.

    kind: "duplicate" (each in the other's scope, same answer), "contradiction" (… another answer),
        "shadows" (the new edit answers the old one's own question) or "shadowed" (the old edit
        answers the new one's own question).
    old_by_new: how likely the old prompt is in the new edit's scope. new_by_old: the other way
        round.
    """

    kind: str
    new: Edit
    old: Edit
    old_by_new: float = 1.0
    new_by_old: float = 1.0

    @property
    def same_words(self) -> bool:
        """Whether both prompts are the same words, so that no classifier is needed to see it."""
        return normal(self.new.prompt) == normal(self.old.prompt)

    def __str__(self) -> str:
        verb = {
            "duplicate": "says the same as",
            "contradiction": "contradicts",
            "shadows": "would answer the question of",
            "shadowed": "has its question answered by",
        }[self.kind]
        new, old = (f"{edit.prompt!r} → {edit.answer!r}" for edit in (self.new, self.old))
        return (
            f"{new} {verb} {old} (edit {self.old.id[:8]}; scores {self.old_by_new:.2f},"
            f" {self.new_by_old:.2f})"
        )


def normal(prompt: str) -> str:
    """A prompt without what people type in different ways: case, character width, repeated blanks,
    quotes and closing punctuation."""
    plain = unicodedata.normalize("NFKC", prompt.translate(SINGLE_QUOTES)).casefold()
    unquoted = OUTER_QUOTE.sub("", DOUBLE_QUOTES.sub("", plain))
    return END.sub("", " ".join(unquoted.split())) or " ".join(plain.split())


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
        found += [Conflict("contradiction", edit, other) for other in others if differ(other, edit)]
        others.append(edit)
    return found
