"""Answers that end before a text that a client names."""

from __future__ import annotations

from collections.abc import Sequence


class Until:
    """Text as it comes, up to the first of some stop sequences.

    Attributes:
        over: whether one has come.
    """

    def __init__(self, stops: Sequence[str]):
        self.stops, self.over = stops, False
        self.held = ""  # what may be the beginning of a stop sequence

    def add(self, text: str) -> str:
        """What can be told after more text has come."""
        self.held += text
        found = [at for stop in self.stops if (at := self.held.find(stop)) >= 0]
        if found:
            self.over, told, self.held = True, self.held[: min(found)], ""
            return told
        kept = max((begun(self.held, stop) for stop in self.stops), default=0)
        told, self.held = self.held[: len(self.held) - kept], self.held[len(self.held) - kept :]
        return told

    def whole(self, text: str) -> str:
        """A text that has come as a whole."""
        return self.add(text) + self.rest()

    def rest(self) -> str:
        """What is left when no more text comes."""
        told, self.held = self.held, ""
        return told


def begun(text: str, stop: str) -> int:
    """How many of the last letters of a text are the first ones of a stop sequence."""
    longest = min(len(text), len(stop) - 1)
    return next((count for count in range(longest, 0, -1) if text.endswith(stop[:count])), 0)
