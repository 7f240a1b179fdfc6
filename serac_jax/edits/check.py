"""Everything that is wrong with a memory's files, and putting right what can be: no edit that can
be read is given up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NamedTuple

from serac_jax.core.errors import UserError
from serac_jax.edits import journal, memory_file, records
from serac_jax.edits.changes import Change, inverse, replay
from serac_jax.edits.disk import Disk
from serac_jax.edits.operations import START, Operation
from serac_jax.edits.records import Edit
from serac_jax.edits.store import Store


class Problem(NamedTuple):
    file: str
    line: int  # from 1; 0 where the text tells the place
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.line else self.text


class Readable(NamedTuple):
    """What can be read of a memory file."""

    edits: dict[str, Edit]
    damaged: list[bytes]  # lines that are no edits, as they are
    changed: set[str]  # ids of lines that were changed by hand and are kept with the right id
    problems: list[Problem]


class Repaired(NamedTuple):
    kept: int  # edits that the memory file told
    restored: list[Edit]  # edits that only the journal told
    damaged: Path | None  # where the lines are now that could not be read
    journal: Path | None  # where the damaged journal is now


def read(data: bytes, file: Path) -> Readable:
    """The edits of a memory file, whatever else is in it. A line whose id is not right is kept with
    the right one, if all else is."""
    found = Readable({}, [], set(), [])
    rows = data.split(b"\n")
    for number, row in enumerate(rows[:-1] if rows[-1] == b"" else rows, 1):
        try:
            text = row.decode()
            if number == 1:
                records.check_header(text, "")
            elif text.strip() and text.strip() != records.HEADER:
                edit = records.parse(text, "")
                if edit.id in found.edits:
                    found.problems.append(
                        Problem(
                            str(file),
                            number,
                            f"edit {edit.id} is there already; this line does not count",
                        )
                    )
                found.edits.setdefault(edit.id, edit)
        except (UnicodeDecodeError, UserError) as error:
            what = (
                f"not UTF-8 text ({error.reason})"
                if isinstance(error, UnicodeDecodeError)
                else str(error).lstrip(": ")
            )
            found.problems.append(Problem(str(file), number, what))
            edit, old = without_id(row)
            if edit:
                found.edits.setdefault(edit.id, edit)
                found.changed.add(old)
            else:
                found.damaged.append(row)
    return found


def without_id(row: bytes) -> tuple[Edit | None, str]:
    """The edit of a line that is right but for its id, as after a change by hand, and that id."""
    try:
        fields = json.loads(row)
        old = fields.pop("id", "")
        return records.from_fields(fields, ""), str(old)
    except (ValueError, AttributeError, RecursionError, UserError):
        return None, ""


def problems(path: Path) -> list[Problem]:
    """All that is wrong with the bytes of a memory file and of its journal, by line; conflicts
    between edits are not. Changes nothing."""
    disk = Disk(path)
    data = memory_file.read(disk.path)
    found = (
        read(data, path).problems if data else [Problem(str(path), 1, "the file is gone or empty")]
    )
    error = readable_history(disk)[1]
    return [*found, Problem(str(disk.journal), 0, error)] if error else found


def repair(path: Path, author: str | None = None) -> Repaired:
    """Makes a memory that opens of whatever is there: the edits that can be read in the file, and
    where it is damaged those that the journal knows too.

    Lines that are no edits go to `….damaged`, a damaged journal to `….journal.damaged`; what can be
    read of its history stays."""
    disk = Disk(path)
    with disk.locked():
        operations, error = readable_history(disk)
        if not error:
            disk.finish(disk.read_tail())  # what a kill has left is no damage
        data = memory_file.read(disk.path)
        found = read(data, disk.path)
        known = fold(operations)
        if not found.edits and not known and found.problems:
            raise UserError(
                f"{path}: nothing in it can be read as an edit, nor is there a journal; it is no"
                " memory file and was left as it is"
            )
        lost = (
            [
                edit
                for edit in known.values()
                if edit.id not in found.edits and edit.id not in found.changed
            ]
            if found.damaged or not data
            else []
        )
        aside = mend_journal(disk, operations) if error else None
        damaged = (
            disk.path.with_name(disk.path.name + ".damaged")
            if any(row.strip() for row in found.damaged)
            else None
        )
        if damaged:
            memory_file.write(
                damaged, memory_file.read(damaged) + b"".join(row + b"\n" for row in found.damaged)
            )
        if found.problems or not data:
            everything = {edit.id: edit for edit in lost} | found.edits
            order = {**known, **everything} if lost else everything
            memory_file.write(
                disk.path,
                memory_file.FIRST
                + b"".join(memory_file.line(everything[key]) for key in order if key in everything),
            )
    Store.open(disk.path, author)  # what changed becomes an operation
    return Repaired(len(found.edits), lost, damaged, aside)


def readable_history(disk: Disk) -> tuple[list[Operation], str]:
    """The operations that can be read, the newest first, and what is wrong with the journal before
    them, if anything is."""
    operations: list[Operation] = []
    try:
        for operation in disk.history(disk.read_tail().end):
            operations.append(operation)
    except UserError as error:
        return operations, str(error)
    return operations, ""


def fold(operations: list[Operation]) -> dict[str, Edit]:
    """The edits that operations (newest first) made and did not take away: all of a memory, if the
    history is whole."""
    edits: dict[str, Edit] = {}
    for operation in reversed(operations):
        for _, edit in operation.change.removed:
            edits.pop(edit.id, None)
        edits.update((edit.id, edit) for _, edit in operation.change.added)
    return edits


def mend_journal(disk: Disk, operations: list[Operation]) -> Path:
    """Puts a damaged journal aside, and in its place what can be read of it, if the memory file is
    in step with that; where the damaged one is now."""
    aside = disk.journal.with_name(disk.journal.name + ".damaged")
    data = disk.in_step(disk.read_tail()) if operations else None
    shutil.copyfile(disk.journal, aside)
    if data is None:
        memory_file.write(disk.journal, b"")
        return aside
    edits = replay(
        memory_file.parse_trusted(data).values(),
        (inverse(operation.change) for operation in operations),
    )
    first = operations[-1]
    start = Operation(
        first.seq - 1,
        first.time,
        first.author,
        START,
        Change((), tuple(enumerate(edits.values()))),
        len(edits),
    )
    kept = [start, *operations[::-1]] if edits else operations[::-1]
    memory_file.write(
        disk.journal,
        journal.HEADER
        + b"".join(map(journal.encode, kept))
        + journal.written(disk.tail.seq, disk.tail.size, disk.tail.crc),
    )
    return aside
