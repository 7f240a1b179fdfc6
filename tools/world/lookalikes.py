"""Names that look like others: what a memory of thousands of edits is full of."""

from __future__ import annotations

from tools.world.corpus import training_facts
from tools.world.wording import Wording, any_of


class Lookalikes:
    """Names of real subjects and made-up ones, and for each others that share a part of it.

    A subject that nobody has read of is known by the pieces of its name alone, so that names which
    begin or end alike are what is easily taken for it."""

    def __init__(self, wording: Wording):
        self.wording, self.rng = wording, wording.rng
        self.subjects = sorted({fact.subject for fact in training_facts()})

    def name(self, subject: str) -> str:
        """The subject, one that begins as a real one and ends as another, or one of other words."""
        return (
            self.crossed(any_of(self.subjects, self.rng))
            if self.rng.random() < 0.4
            else self.wording.name(subject)
        )

    def crossed(self, name: str) -> str:
        """The beginning of a name, or its end, with that of a real one in place of the rest."""
        other = any_of(self.subjects, self.rng)
        first, second = (name, other) if self.rng.random() < 0.7 else (other, name)
        return first[: self.cut(first)] + second[self.cut(second) :]

    def cut(self, name: str) -> int:
        """A place inside a name, where it has one; near its beginning more often."""
        return int(min(self.rng.integers(1, 9), max(len(name) - 1, 1)))

    def like(self, name: str) -> str:
        """Another name that shares a word, the beginning or the end with this one."""
        words = name.split()
        if len(words) > 1 and self.rng.random() < 0.5:
            words[int(self.rng.integers(len(words)))] = any_of(
                self.wording.words, self.rng
            ).capitalize()
            other = " ".join(words)
        else:
            other = self.crossed(name)
        return (
            other
            if other.strip().lower() != name.strip().lower()
            else self.wording.name(name) + " II"
        )
