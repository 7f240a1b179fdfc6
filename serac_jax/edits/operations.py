"""One entry of a memory's history: who did what, when. And finding what is to be undone or
redone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from serac_jax.edits.changes import Change
from serac_jax.edits.records import Edit

UNDO, REDO, START = (
    "undo",
    "redo",
    "start",
)  # START: what a file held when its journal began, which is no one's operation to undo


class Operation(NamedTuple):
    """A change that is in the journal. Numbers begin at 1 and have no gaps."""

    seq: int
    time: str
    author: str
    do: str  # what was done, in a word: add, remove, import, merge, outside (by hand or by git), …
    change: Change
    count: int  # of edits after it  # pyright: ignore[reportIncompatibleMethodOverride]
    message: str = ""
    of: int = 0  # the number of the operation that this one undoes or redoes
    size: int = 0  # of the memory file after it, in bytes; 0 for a memory without a file
    crc: int = 0  # CRC-32 of the memory file after it


def to_undo(history: Iterable[Operation]) -> Operation | None:
    """The newest operation that has not been undone yet; `history` begins with the newest."""
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
    """The undoing that can be taken back: the newest one that has not been, if nothing else was
    done since."""
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
    """Those of a history, newest first, that came after an operation; nothing older is read."""
    for operation in history:
        if operation.seq > seq:
            yield operation
        if operation.seq <= seq + 1:
            return


def net(operations: Iterable[Operation]) -> dict[str, Edit | None]:
    """Every id that the operations (newest first) touched, with its edit as it was before them, if
    it was there."""
    before: dict[str, Edit | None] = {}
    for operation in operations:
        before.update((edit.id, None) for _, edit in reversed(operation.change.added))
        before.update((edit.id, edit) for _, edit in reversed(operation.change.removed))
    return before
