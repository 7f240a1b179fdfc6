"""The journal's lines: how an operation is written, and how the file is read from its end, so that
opening costs nothing for a long history.

    {"format": "serac_jax journal", "version": 1}
    {"remove": {an edit}, "at": 3}                 positions are counted from 0, before the operation
    {"add": {an edit}, "at": 7}                    … and after it; without "at": behind all others
    {"commit": 5, "time": …, "author": …, "do": "add", …, "lines": 2, "count": 8, "size": …, "crc": …, "body": …, "check": …}
    {"written": 5, "size": …, "crc": …, "check": …}

An operation counts once its commit line is there: `body` is the CRC-32 of its own lines, `check`
that of the commit line itself. `size` and `crc` are the memory file's after it. A written line
follows when the memory file has been brought up to it, and again when the file's bytes, not its
edits, changed. What follows the last of these lines was being written when a program was killed; it
counts for nothing."""

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
SEALED = re.compile(rb'(\{"(?:commit|written)": .*), "check": (\d+)\}\n', re.DOTALL)
BLOCK = 1 << 16


class Tail(NamedTuple):
    """Where a journal ends, and the memory file that belongs there. Without any operation yet: all
    zeros."""

    seq: int = 0
    size: int = 0
    crc: int = 0
    end: int = 0  # offset behind the last line that counts
    # of the last operation's lines, where the memory file may not have been brought up to it yet;
    # else 0
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
    return sealed({"written": seq, "size": size, "crc": crc})


def sealed(record: dict[str, Any]) -> bytes:
    text = json.dumps(record, ensure_ascii=False)[:-1].encode()
    return text + b', "check": %d}\n' % crc32(text)


def unsealed(line: bytes) -> dict[str, Any] | None:
    """The record of a commit or written line; None for any other, a damaged or an unfinished
    one."""
    match = SEALED.fullmatch(line)
    return json.loads(match[1] + b"}") if match and crc32(match[1]) == int(match[2]) else None


def tail(file: BinaryIO, where: str, end: int | None = None) -> Tail:
    """The last of what counts in a journal, or in its part up to an offset. Raises UserError where
    the file is no journal."""
    if not begins(file, where):
        return Tail()
    found: Tail | None = None
    lines = backward(file, file.seek(0, 2) if end is None else end)
    for start, line in lines:
        record = unsealed(line) or {}
        if "commit" in record:
            if found:
                return found._replace(seq=record["commit"])
            rows = body(
                lines, record
            )  # after a loss of power the commit line can be there without what it stands for
            if rows:
                return Tail(
                    record["commit"],
                    record["size"],
                    record["crc"],
                    start + len(line),
                    start - sum(map(len, rows)),
                )
        elif record:
            found = found or Tail(
                record["written"], record["size"], record["crc"], start + len(line)
            )
        elif found:
            break  # the commit line is damaged, or there is none yet
    return found or Tail(end=len(HEADER))


def body(lines: Iterator[tuple[int, bytes]], commit: dict[str, Any]) -> list[bytes]:
    """An operation's own lines, which are the next of `lines`; none where they are not those that
    its commit line stands for."""
    rows = [row for _, row in islice(lines, commit["lines"])][::-1]
    return rows if len(rows) == commit["lines"] and crc32(b"".join(rows)) == commit["body"] else []


def begins(file: BinaryIO, where: str) -> bool:
    """Whether a journal has its first line yet. Raises UserError where it is another."""
    file.seek(0)
    line = file.readline(len(HEADER))
    if line == HEADER or HEADER.startswith(line):
        return line == HEADER
    raise UserError(
        f"{where}:1: not a journal of version {VERSION}, whose first line is"
        f" {HEADER.decode().strip()}; move the file away to begin a new history"
    )


def history(file: BinaryIO, end: int, where: str) -> Iterator[Operation]:
    """The operations before an offset, the newest first. Raises UserError with the line where the
    journal is damaged; what is newer was given before."""
    lines = backward(file, end)
    expected = None
    for start, line in lines:
        if start == 0:
            break
        record = unsealed(line)
        if record is None or (expected is not None and record.get("commit", expected) != expected):
            raise damaged(file, start, where)
        if "commit" in record:
            rows = body(lines, record)
            if not rows:
                raise damaged(file, start, where)
            expected = record["commit"] - 1
            yield decode(record, [json.loads(row) for row in rows])


def decode(commit: dict[str, Any], rows: list[dict[str, Any]]) -> Operation:
    removed = tuple((row["at"], records.trusted(row["remove"])) for row in rows if "remove" in row)
    behind = commit["count"] - (len(rows) - len(removed))
    added = tuple(
        (row.get("at", at), records.trusted(row["add"]))
        for at, row in enumerate(rows[len(removed) :], behind)
    )
    rest = {name: commit[name] for name in Operation._fields if name in commit}
    return Operation(seq=commit["commit"], change=Change(removed, added), **rest)


def damaged(file: BinaryIO, offset: int, where: str) -> UserError:
    file.seek(0)
    line = file.read(offset).count(b"\n") + 1
    return UserError(
        f"{where}:{line}: the journal is damaged here, and the history before it cannot be read;"
        " `check --repair` keeps what is newer"
    )


def backward(file: BinaryIO, end: int) -> Iterator[tuple[int, bytes]]:
    """The lines before an offset, last first, with their ends and the offsets of their beginnings;
    the first may lack its end."""
    start, buffer, stop = (
        end,
        b"",
        0,
    )  # the file from `start` on, of which `stop` bytes have not been given yet
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
