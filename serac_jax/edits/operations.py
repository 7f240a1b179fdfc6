"""Entries of a memory's history, and which of them is undone or redone next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from serac_jax.core.errors import UserError
from serac_jax.edits import records
from serac_jax.edits.changes import Change
from serac_jax.edits.records import Edit

State = tuple[int, int]  # see `Store.state`
UNDO, REDO = "undo", "redo"
OUTSIDE = "outside"  # a change by hand or by git
START = "start"  # what a file held when its journal began, which cannot be undone


class Operation(NamedTuple):
    """A change that was committed.

    Attributes:
      seq: Its number, from 1, without gaps.
      time: When it was made.
      author: Who made it.
      do: What was done: add, remove, import, merge, undo, redo, save, or outside for a change by
        hand or by git.
      change: The edits that it removed and added.
      count: How many edits there are after it.
      message: Why it was made.
      of: The number of the operation that this one undoes or redoes; 0 for others.
      size: The memory file's size after it in bytes; 0 without a file.
      crc: The memory file's CRC-32 after it.
    """

    seq: int
    time: str
    author: str
    do: str
    change: Change
    count: int  # pyright: ignore[reportIncompatibleMethodOverride]
    message: str = ""
    of: int = 0
    size: int = 0
    crc: int = 0

    def __repr__(self) -> str:
        gone, new = (
            ", ".join(f"{edit.prompt!r} → {edit.answer!r}" for _, edit in placed[:3])
            + (f", … {len(placed) - 3} more" if len(placed) > 3 else "")
            for placed in self.change
        )
        of = f" {self.of}" if self.of else ""
        parts = [f"{self.seq}: {self.do}{of}, {self.author or 'nobody'}, {self.time}"]
        parts += [f"message {self.message!r}"] * bool(self.message)
        parts += [f"removed {gone}"] * bool(gone) + [f"added {new}"] * bool(new)
        return f"Operation({'; '.join(parts)})"


class OtherVersion(UserError):
    """The memory is not in the state that a change was made for; nothing was changed."""

    def __init__(self, wanted: int, now: int):
        super().__init__(
            f"the memory is at operation {now}, not at {wanted} any more; look at it again, and"
            " repeat the change if it is still right"
        )
        self.now = now


def as_fields(operation: Operation) -> dict[str, Any]:
    """An operation as JSON has it."""
    named = {
        name: getattr(operation, name)
        for name in ("seq", "time", "author", "do", "message", "of", "count")
    }
    removed, added = (
        [records.as_fields(edit) for _, edit in placed] for placed in operation.change
    )
    return named | {"removed": removed, "added": added}


def to_undo(history: Iterable[Operation]) -> Operation | None:
    """The operation that `undo` undoes next, given the history, newest first."""
    undone = 0
    for operation in history:
        if operation.do == UNDO:
            undone += 1
        elif operation.do == REDO or undone:
            undone -= 1
        else:
            return None if operation.do == START else operation
    return None


def to_redo(history: Iterable[Operation]) -> Operation | None:
    """The undo that `redo` takes back next, if nothing else was done since."""
    redone = 0
    for operation in history:
        if operation.do == REDO:
            redone += 1
        elif operation.do != UNDO:
            return None
        elif redone:
            redone -= 1
        else:
            return operation
    return None


def after(history: Iterable[Operation], seq: int) -> Iterator[Operation]:
    """The operations after number `seq`, newest first; nothing older is read."""
    for operation in history:
        if operation.seq > seq:
            yield operation
        if operation.seq <= seq + 1:
            return


def net(operations: Iterable[Operation]) -> dict[str, Edit | None]:
    """Every id that operations, newest first, touched, with its edit before them; None if new."""
    before: dict[str, Edit | None] = {}
    for operation in operations:
        before.update((edit.id, None) for _, edit in reversed(operation.change.added))
        before.update((edit.id, edit) for _, edit in reversed(operation.change.removed))
    return before
