"""The bytes of a memory file: parsed with every line checked, and built anew from a change."""

from __future__ import annotations

import gc
import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from serac_jax.core.errors import UserError
from serac_jax.edits import records
from serac_jax.edits.changes import Change, splice
from serac_jax.edits.records import Edit

FIRST = (records.HEADER + "\n").encode()


class Parsed(NamedTuple):
    """What people or git left in a memory file.

    Attributes:
      edits: The edits by id.
      tidy: The file with one line an edit and nothing else. A line that is complete and in the
        program's own order keeps its spacing.
    """

    edits: dict[str, Edit]
    tidy: bytes


def line(edit: Edit) -> bytes:
    """An edit's line, with its end."""
    return (records.format(edit) + "\n").encode()


def parse(data: bytes, path: Path) -> Parsed:
    """Parses and checks a memory file.

    Of an edit that stands in it twice, as after a merge by git, the first counts; blank lines are
    skipped.

    Raises:
      UserError: Names the first line that is not right.
    """
    edits: dict[str, Edit] = {}
    tidy = [FIRST]
    for number, row in enumerate(data.split(b"\n"), 1):
        where = f"{path}:{number}"
        try:
            text = decoded(row, where)
            if number == 1:
                records.check_header(text, where)
            elif text.strip() and text.strip() != records.HEADER:
                fields = records.parse_object(text, where)
                edit = records.from_fields(fields, where)
                if edit.id not in edits:
                    edits[edit.id] = edit
                    complete = "id" in fields and records.of_fields(fields) == edit
                    tidy.append(row + b"\n" if complete else line(edit))
        except UserError as error:
            if number == 1:
                raise
            raise UserError(f"{error}; `check --repair` keeps all that can be read") from error
    return Parsed(edits, b"".join(tidy))


def decoded(row: bytes, where: str) -> str:
    """A line as text.

    Raises:
      UserError: It is not UTF-8.
    """
    try:
        return row.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 text (byte {error.start + 1} of the line)") from error


def parse_trusted(data: bytes, path: Path) -> dict[str, Edit]:
    """The edits of a file that this program wrote, as its checksum shows.

    Raises:
      UserError: The checksum is right, but not the file; names the first line that is not right.
    """
    try:
        # in a line of JSON there is no line break, so these separate the objects of one list
        rows = data[len(FIRST) : -1].decode().replace("\n", ",")
        with collector_paused():
            return {edit.id: edit for edit in json.loads(f"[{rows}]", object_hook=records.trusted)}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return parse(data, path).edits


@contextmanager
def collector_paused() -> Generator[None]:
    """Pauses garbage collection while many objects are made, none of which is in a cycle."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def changed(data: bytes, change: Change) -> bytes:
    """The bytes of a tidy memory file after a change; the lines of other edits stay as they are."""
    rows = data.split(b"\n")[1:-1] if data else []
    rows = splice(
        rows,
        [at for at, _ in change.removed],
        [(at, records.format(edit).encode()) for at, edit in change.added],
    )
    return FIRST + b"".join(row + b"\n" for row in rows)
