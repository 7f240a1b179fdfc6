"""The bytes of a memory file: read, checked line by line, built anew from a change, and written so
that a kill leaves the old or the new."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import json
import os
import shutil
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from serac_jax.core.errors import UserError
from serac_jax.edits import records
from serac_jax.edits.changes import Change, splice
from serac_jax.edits.records import Edit

PATIENCE = 30.0  # seconds that a writer waits for another
FIRST = (records.HEADER + "\n").encode()


class Parsed(NamedTuple):
    """What people or git left in a memory file."""

    edits: dict[str, Edit]
    # the file with one line an edit, and nothing else; lines that say all, in the form that they
    # are written in, as they are
    tidy: bytes


def line(edit: Edit) -> bytes:
    return (records.format(edit) + "\n").encode()


def read(path: Path) -> bytes:
    """The file's bytes; none where it does not exist."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror})") from error


def parse(data: bytes, path: Path) -> Parsed:
    """The edits of a memory file, checked. An edit that is there twice, as after a merge by git,
    counts where it is first; blank lines do not count.

    Raises UserError with the first line that is not right.
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
                    tidy.append(
                        row + b"\n"
                        if "id" in fields and records.trusted(fields) == edit
                        else line(edit)
                    )
        except UserError as error:
            raise (
                error
                if number == 1
                else UserError(f"{error}; `check --repair` keeps all that can be read")
            ) from error
    return Parsed(edits, b"".join(tidy))


def decoded(row: bytes, where: str) -> str:
    """A line as text. Raises UserError."""
    try:
        return row.decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{where}: not UTF-8 text (byte {error.start + 1} of the line)") from error


def parse_trusted(data: bytes) -> dict[str, Edit]:
    """The edits of a memory file that this program wrote, as its checksum showed."""
    rows = (
        data[len(FIRST) : -1].decode().replace("\n", ",")
    )  # within a line, JSON has no line breaks
    with uncollected():
        return {edit.id: edit for edit in json.loads(f"[{rows}]", object_hook=records.trusted)}


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Many objects are made, none of which refers to itself: the collector would look through all
    of them again and again."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def changed(data: bytes, change: Change) -> bytes:
    """The bytes of a tidy memory file after a change; lines of edits that stay are not touched."""
    rows = data.split(b"\n")[1:-1] if data else []
    rows = splice(
        rows,
        [at for at, _ in change.removed],
        [(at, records.format(edit).encode()) for at, edit in change.added],
    )
    return FIRST + b"".join(row + b"\n" for row in rows)


def append(path: Path, size: int, data: bytes) -> None:
    """Writes bytes behind the first `size` ones, durably."""
    with path.open("r+b", buffering=0) as file:
        file.seek(size)
        file.truncate()
        write_all(file, data)
        os.fsync(file.fileno())


def write(path: Path, data: bytes) -> None:
    """Puts a file in the place of another, durably; at any time there is the old or the new one."""
    new = path.with_name(path.name + ".new")
    with new.open("wb", buffering=0) as file:
        write_all(file, data)
        os.fsync(file.fileno())
    if path.exists():
        shutil.copymode(path, new)
    new.replace(path)
    sync_folder(path.parent)


def write_all(file: FileIO, data: bytes) -> None:
    """Writes without a buffer, whose rest would come later than an error."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]


def sync_folder(folder: Path) -> None:
    """Makes new names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path, patience: float = PATIENCE) -> Iterator[FileIO]:
    """A file, made if need be, that only one program at a time has in its hands this way.

    Raises UserError where another has it for too long, and OSError where it cannot be written.
    """
    deadline = time.monotonic() + patience
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        with file:
            while not lock(file):
                if time.monotonic() > deadline:
                    raise UserError(
                        f"another program has been writing to {path} for {patience:.0f} seconds;"
                        " wait until it has ended"
                    )
                time.sleep(0.005)
            if (
                stamp(path)[0] == os.fstat(file.fileno()).st_ino
            ):  # else someone put another file in its place meanwhile
                yield file
                return


def lock(file: FileIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def stamp(path: Path) -> tuple[int, int, int]:
    """What changes when a file does: its number, size and time of change; zeros where there is
    none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return 0, 0, 0
    return status.st_ino, status.st_size, status.st_mtime_ns
