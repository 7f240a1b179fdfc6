"""Questions known to be in or out of an edit's scope."""

from __future__ import annotations

from typing import NamedTuple


class Rows(NamedTuple):
    """The data rows of a trial: of each edit, of each out-of-scope question, and of the edit near
    which that question was drawn."""

    edits: tuple[str, ...]
    outside: tuple[str, ...]
    beside: tuple[str, ...]


class Trial(NamedTuple):
    """Edits that are stored together, and questions known to be in or out of their scope.

    Attributes:
      edits: Pairs of a prompt and its answer.
      inside: Questions in scope.
      outside: Questions out of scope.
      rows: None if each text is a row of its own.
      inside_kinds, outside_kinds: The kind of each question; empty if not known.
    """

    edits: tuple[tuple[str, str], ...]
    inside: tuple[str, ...]
    outside: tuple[str, ...]
    rows: Rows | None = None
    inside_kinds: tuple[str, ...] = ()
    outside_kinds: tuple[str, ...] = ()
