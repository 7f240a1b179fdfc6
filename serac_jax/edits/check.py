"""Finds everything that is wrong with a memory's files, and repairs it.

No edit that can be read is ever dropped.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.edits import journal, memory_file, records
from serac_jax.edits.changes import Change, inverse, replay
from serac_jax.edits.disk import Disk
from serac_jax.edits.operations import START, Operation
from serac_jax.edits.records import Edit
from serac_jax.edits.store import Store


class Problem(NamedTuple):
    """Something wrong with a file.

    Attributes:
      file: Which file.
      line: Which line, from 1; 0 if the text names the place.
      text: What is wrong.
    """

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.line else self.text


class Readable(NamedTuple):
    """What can be read of a memory file.

    Attributes:
      edits: The edits by id.
      damaged: Lines that are not edits, unchanged.
      changed: Ids of lines that were edited by hand, and are kept under their right id.
      problems: What is wrong, line by line.
    """

    edits: dict[str, Edit]
    damaged: list[bytes]
    changed: set[str]
    problems: list[Problem]


class Repaired(NamedTuple):
    """What `repair` did.

    Attributes:
      kept: How many edits the memory file had.
      restored: Edits that only the journal had.
      damaged: The file that lines which cannot be read were moved to, if there were any.
      journal: The file that a damaged journal was moved to, if it was.
    """

    kept: int
    restored: list[Edit]
    damaged: Path | None
    journal: Path | None


def contents(disk: Disk) -> bytes:
    """A memory file's bytes, with an operation that is committed but not written to it yet."""
    try:
        replayed = disk.replayed(disk.read_tail())
    except UserError:  # the journal is damaged, which `problems` reports
        replayed = None
    return files.read(disk.path) if replayed is None else replayed


def read(data: bytes, file: Path) -> Readable:
    """Reads the edits of a memory file, whatever else is in it.

    A line with a wrong id, as after a change by hand, is kept with the right one.
    """
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
                    twice = f"edit {edit.id} is there already; this line does not count"
                    found.problems.append(Problem(str(file), number, twice))
                found.edits.setdefault(edit.id, edit)
        except (UnicodeDecodeError, UserError) as error:
            encoding = isinstance(error, UnicodeDecodeError)
            what = f"not UTF-8 text ({error.reason})" if encoding else str(error).lstrip(": ")
            found.problems.append(Problem(str(file), number, what))
            edit, old = without_id(row)
            if edit:
                found.edits.setdefault(edit.id, edit)
                found.changed.add(old)
            else:
                found.damaged.append(row)
    return found


def without_id(row: bytes) -> tuple[Edit | None, str]:
    """The edit of a line that is right but for its id, and that id."""
    try:
        fields = records.parse_object(row.decode(), "")
        old = fields.pop("id", "")
        return records.from_fields(fields, ""), str(old)
    except (UnicodeDecodeError, UserError):
        return None, ""


def problems(path: Path) -> list[Problem]:
    """Everything that is wrong with a memory file and its journal, by line; changes nothing.

    Conflicts between edits are not among it, see `same_prompt.conflicts`.
    """
    disk = Disk(path)
    data = contents(disk)
    empty = Problem(str(path), 1, "the file is gone or empty")
    found = read(data, path).problems if data else [empty]
    error = readable_history(disk)[1]
    return [*found, Problem(str(disk.journal), 0, error)] if error else found


def repair(path: Path, author: str | None = None) -> Repaired:
    """Makes a memory open again, with every edit that can be read.

    If the memory file is damaged, edits that only the journal has come back too. Lines that are not
    edits are moved to `….damaged`, a damaged journal to `….journal.damaged`; the history after the
    damage stays.

    Args:
      path: The memory file.
      author: Who signs the operation that records what changed.

    Raises:
      UserError: Nothing in either file can be read as an edit.
    """
    disk = Disk(path)
    with disk.locked():
        operations, error = readable_history(disk)
        if not error:
            disk.finish(disk.read_tail())  # what a kill left is no damage
        data = files.read(disk.path)
        found = read(data, disk.path)
        known = fold(operations)
        if not found.edits and not known and found.problems:
            raise UserError(
                f"{path}: nothing in it can be read as an edit, and there is no journal; it is not"
                " a memory file and was left as it is"
            )
        lost = lost_edits(known, found) if found.damaged or not data else []
        aside = mend_journal(disk, operations) if error else None
        damaged = move_aside(disk.path, found.damaged)
        if found.problems or not data:
            everything = {edit.id: edit for edit in lost} | found.edits
            order = {**known, **everything} if lost else everything
            rows = [memory_file.line(everything[key]) for key in order if key in everything]
            files.write(disk.path, memory_file.FIRST + b"".join(rows))
    with Store.open(disk.path, author).turn():  # what changed becomes an operation
        pass
    return Repaired(len(found.edits), lost, damaged, aside)


def lost_edits(known: dict[str, Edit], found: Readable) -> list[Edit]:
    """Edits of the journal that a damaged memory file lacks."""
    return [
        edit
        for edit in known.values()
        if edit.id not in found.edits and edit.id not in found.changed
    ]


def move_aside(path: Path, rows: list[bytes]) -> Path | None:
    """Appends lines that cannot be read to `….damaged`, if any of them is not blank."""
    if not any(row.strip() for row in rows):
        return None
    damaged = path.with_name(path.name + ".damaged")
    files.write(damaged, files.read(damaged) + b"".join(row + b"\n" for row in rows))
    return damaged


def readable_history(disk: Disk) -> tuple[list[Operation], str]:
    """The operations that can be read, newest first, and what is wrong with the journal if any."""
    operations: list[Operation] = []
    try:
        for operation in disk.history(disk.read_tail().end):
            operations.append(operation)
        replay((), (operation.change for operation in reversed(operations)))
    except UserError as error:
        return operations, str(error)
    return operations, ""


def fold(operations: list[Operation]) -> dict[str, Edit]:
    """The edits that operations, newest first, added and did not remove."""
    edits: dict[str, Edit] = {}
    for operation in reversed(operations):
        for _, edit in operation.change.removed:
            edits.pop(edit.id, None)
        edits.update((edit.id, edit) for _, edit in operation.change.added)
    return edits


def before(disk: Disk, operations: list[Operation]) -> dict[str, Edit] | None:
    """The edits before some operations, newest first; None if the memory file is not what they
    lead to."""
    data = disk.in_step(disk.read_tail())
    if data is None:
        return None
    try:
        edits = memory_file.parse_trusted(data, disk.path).values()
        return replay(edits, (inverse(operation.change) for operation in operations))
    except UserError:
        return None


def mend_journal(disk: Disk, operations: list[Operation]) -> Path:
    """Moves a damaged journal aside, and keeps what can be read if the memory file agrees with it.

    Args:
      disk: The memory's files.
      operations: What can be read, newest first.

    Returns:
      Where the damaged journal is now.
    """
    aside = disk.journal.with_name(disk.journal.name + ".damaged")
    files.write(aside, files.read(disk.journal))
    edits = before(disk, operations) if operations else None
    if edits is None:
        files.write(disk.journal, b"")
        return aside
    first = operations[-1]
    added = Change((), tuple(enumerate(edits.values())))
    start = Operation(first.seq - 1, first.time, first.author, START, added, len(edits))
    kept = [start, *operations[::-1]] if edits else operations[::-1]
    files.write(
        disk.journal,
        journal.HEADER
        + b"".join(map(journal.encode, kept))
        + journal.written(disk.tail.seq, disk.tail.size, disk.tail.crc),
    )
    return aside
