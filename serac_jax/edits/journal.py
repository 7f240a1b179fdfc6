"""The journal: how operations are written, and how they are read from the file's end.

Reading backward makes opening cheap however long the history is. A journal looks like this, where …
stands for further fields:

    {"format": "serac_jax journal", "version": 1}
    {"remove": {…}, "at": 3}
    {"add": {…}, "at": 7}
    {"commit": 5, "time": …, "author": …, "do": "add", "lines": 2, "count": 8, …, "check": …}
    {"written": 5, "size": …, "crc": …, "check": …}

A `remove` or `add` line has an edit and its position, counted from 0, before or after the
operation; an `add` line without a position appends. The `commit` line makes the operation count:

    lines, body   the number of its own lines, and their CRC-32
    count         the edits after it
    size, crc     the memory file's size and CRC-32 after it
    of            the operation that this one undoes or redoes, if it does
    check         the CRC-32 of the commit line itself

A `written` line follows when the memory file has been brought up to the operation, and again when
the file's bytes, but not its edits, changed. What follows the last of these lines was being written
when a program was killed, and does not count.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO, NamedTuple
from zlib import crc32

from serac_jax.core.errors import UserError
from serac_jax.edits import records
from serac_jax.edits.changes import Change, appends
from serac_jax.edits.operations import Operation

FORMAT, VERSION = "serac_jax journal", 1
HEADER = (json.dumps({"format": FORMAT, "version": VERSION}) + "\n").encode()
SEALED = re.compile(rb'(\{"(?:commit|written)": .*), "check": (\d{1,10})\}\n', re.DOTALL)
COMMIT: dict[str, type] = {
    **dict.fromkeys(("commit", "lines", "count", "size", "crc", "body"), int),
    **dict.fromkeys(("time", "author", "do"), str),
}
WRITTEN: dict[str, type] = dict.fromkeys(("written", "size", "crc"), int)
OPTIONAL: dict[str, Any] = {"message": "", "of": 0}
BLOCK = 1 << 16


class Tail(NamedTuple):
    """The end of a journal; all zeros before the first operation.

    Attributes:
      seq: The number of the last operation.
      size: The memory file's size after it.
      crc: The memory file's CRC-32 after it.
      end: The offset after the last line that counts.
      begin: The offset of the last operation's lines if no written line follows them, so that the
        memory file may lack it; else 0.
    """

    seq: int = 0
    size: int = 0
    crc: int = 0
    end: int = 0
    begin: int = 0


def encode(operation: Operation) -> bytes:
    """The operation's lines, commit line last."""
    change = operation.change
    at_end = appends(Change((), change.added), operation.count - len(change.added))
    rows = [f'{{"remove": {records.format(edit)}, "at": {at}}}\n' for at, edit in change.removed]
    rows += [
        (
            f'{{"add": {records.format(edit)}}}\n'
            if at_end
            else f'{{"add": {records.format(edit)}, "at": {at}}}\n'
        )
        for at, edit in change.added
    ]
    body = "".join(rows).encode()
    commit = {
        "commit": operation.seq,
        "time": operation.time,
        "author": operation.author,
        "do": operation.do,
    }
    commit |= {
        name: value
        for name, value in (("message", operation.message), ("of", operation.of))
        if value
    }
    commit |= {
        "lines": len(rows),
        "count": operation.count,
        "size": operation.size,
        "crc": operation.crc,
        "body": crc32(body),
    }
    return body + sealed(commit)


def written(seq: int, size: int, crc: int) -> bytes:
    """The line that says that the memory file has the operation."""
    return sealed({"written": seq, "size": size, "crc": crc})


def sealed(record: dict[str, Any]) -> bytes:
    """A line with the checksum of its other fields."""
    text = json.dumps(record, ensure_ascii=False)[:-1].encode()
    return text + b', "check": %d}\n' % crc32(text)


def unsealed(line: bytes) -> dict[str, Any] | None:
    """The record of a commit or written line; None if it is another, damaged or unfinished."""
    match = SEALED.fullmatch(line)
    if not match or crc32(match[1]) != int(match[2]):
        return None
    try:
        record = json.loads(match[1] + b"}")
        "".join(value for value in record.values() if isinstance(value, str)).encode()
    except (ValueError, RecursionError):
        return None
    kinds = COMMIT if "commit" in record else WRITTEN
    right = all(type(record.get(name, empty)) is type(empty) for name, empty in OPTIONAL.items())
    for name, kind in kinds.items():
        value = record.get(name)
        right = right and type(value) is kind and (kind is str or 0 <= value < 1 << 63)
    return record if right else None


def tail(file: BinaryIO, where: str, end: int | None = None) -> Tail:
    """Where a journal, or its part up to an offset, ends.

    Raises:
      UserError: The file is not a journal.
    """
    if not begins(file, where):
        return Tail()
    found: Tail | None = None
    lines = backward(file, file.seek(0, 2) if end is None else end)
    for start, line in lines:
        record = unsealed(line) or {}
        if "commit" in record:
            if found:
                return found._replace(seq=record["commit"])
            # after a loss of power the commit line can be there without the lines before it
            if rows := body(lines, record):
                end, begin = start + len(line), start - sum(map(len, rows))
                return Tail(record["commit"], record["size"], record["crc"], end, begin)
        elif record:
            end = start + len(line)
            found = found or Tail(record["written"], record["size"], record["crc"], end)
        elif found:
            break  # the commit line is damaged, or there is none yet
    return found or Tail(end=len(HEADER))


def body(lines: Iterator[tuple[int, bytes]], commit: dict[str, Any]) -> list[bytes]:
    """An operation's own lines, the next of `lines`; none if its commit line is not of these."""
    rows = [row for _, row in islice(lines, commit["lines"])][::-1]
    return rows if len(rows) == commit["lines"] and crc32(b"".join(rows)) == commit["body"] else []


def begins(file: BinaryIO, where: str) -> bool:
    """Whether a journal has its first line yet.

    Raises:
      UserError: It has another first line.
    """
    file.seek(0)
    line = file.readline(len(HEADER))
    if line == HEADER or HEADER.startswith(line):
        return line == HEADER
    raise UserError(
        f"{where}:1: not a journal of version {VERSION}, whose first line is"
        f" {HEADER.decode().strip()}; move the file away to begin a new history"
    )


def history(file: BinaryIO, end: int, where: str) -> Iterator[Operation]:
    """The operations before an offset, newest first.

    Raises:
      UserError: Names the line at which the journal is damaged; newer operations come first.
    """
    lines = backward(file, end)
    expected: int | None = None  # the number that comes next
    missing = 0  # what the oldest operation so far began with, or how many are not there
    for start, line in lines:
        if start == 0:
            if missing:
                raise damaged(file, start, where)
            return
        record = unsealed(line) or {}
        number = record.get("commit", record.get("written", -1))
        if number < 0 or expected not in (None, number):
            raise damaged(file, start, where)
        if "commit" in record:
            rows = body(lines, record)
            if not rows:
                raise damaged(file, start, where)
            operation = decoded(file, start, where, record, rows)
            expected = number - 1
            missing = record["count"] + len(operation.change.removed) - len(operation.change.added)
            yield operation
        elif expected is None:
            expected = missing = number


def decoded(
    file: BinaryIO, offset: int, where: str, commit: dict[str, Any], rows: list[bytes]
) -> Operation:
    """The operation at an offset.

    Raises:
      UserError: The checksums of its lines are right, but not the lines.
    """
    try:
        return decode(commit, [json.loads(row) for row in rows])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged(file, offset, where) from error


def decode(commit: dict[str, Any], rows: list[dict[str, Any]]) -> Operation:
    """The operation of a commit line and its own lines."""
    removed = tuple((row["at"], records.trusted(row["remove"])) for row in rows if "remove" in row)
    behind = commit["count"] - (len(rows) - len(removed))
    added = tuple(
        (row.get("at", at), records.trusted(row["add"]))
        for at, row in enumerate(rows[len(removed) :], behind)
    )
    for placed in (removed, added):
        places = [at for at, _ in placed]
        if places != sorted(set(places)) or not all(type(at) is int and at >= 0 for at in places):
            raise ValueError("positions should be whole numbers that ascend")
    rest = {name: commit[name] for name in Operation._fields if name in commit}
    return Operation(seq=commit["commit"], change=Change(removed, added), **rest)


def damaged(file: BinaryIO, offset: int, where: str) -> UserError:
    """The error for a journal that is damaged at an offset."""
    file.seek(0)
    line = file.read(offset).count(b"\n") + 1
    return UserError(
        f"{where}:{line}: the journal is damaged here, and the history before it cannot be read;"
        " `check --repair` keeps what is newer"
    )


def backward(file: BinaryIO, end: int) -> Iterator[tuple[int, bytes]]:
    """The lines before an offset, last first, each with the offset of its beginning.

    The last line of the file may lack its line break.
    """
    # buffer: the file from `start` on, of which the first `stop` bytes have not been yielded yet
    start, buffer, stop = end, b"", 0
    while start or stop:
        cut = buffer.rfind(b"\n", 0, max(stop - 1, 0))
        if cut < 0 and start:
            step = min(max(BLOCK, stop), start)  # doubling, so that a long line costs its length
            start -= step
            file.seek(start)
            buffer = file.read(step) + buffer[:stop]
            stop = len(buffer)
        else:
            yield start + cut + 1, buffer[cut + 1 : stop]
            stop = cut + 1
