"""Questions of which it is known whether they fall under an edit."""

from __future__ import annotations

from typing import NamedTuple


class Rows(NamedTuple):
    """Which rows of the data a trial comes from: that of every edit, of every question out of
    scope, and of the edit near which that question was drawn."""

    edits: tuple[str, ...]
    outside: tuple[str, ...]
    beside: tuple[str, ...]


class Trial(NamedTuple):
    """Edits, as (prompt, answer), that are stored together, and questions of which it is known
    whether they fall under one of them.

    rows: None where each text is a row of its own.
    inside_kinds, outside_kinds: the kind of each question; empty where it is not known.
    """

    edits: tuple[tuple[str, str], ...]
    inside: tuple[str, ...]
    outside: tuple[str, ...]
    rows: Rows | None = None
    inside_kinds: tuple[str, ...] = ()
    outside_kinds: tuple[str, ...] = ()
