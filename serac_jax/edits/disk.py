"""A memory file and its journal, kept in step: the journal's commit line decides, and the memory
file is brought up to it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from zlib import crc32

from serac_jax.core.errors import UserError
from serac_jax.edits import journal, memory_file
from serac_jax.edits.changes import Change, appends
from serac_jax.edits.journal import Tail
from serac_jax.edits.operations import Operation, after
from serac_jax.edits.records import Edit


class Disk:
    """The two files of one memory, and what is known of them. What writes needs `locked`."""

    def __init__(self, path: str | Path):
        self.path = Path(path).expanduser().resolve()  # a rename would take the place of a link
        self.journal = journal_of(self.path)
        self.tail = Tail()
        self._held: FileIO | None = None
        self._seen = memory_file.stamp(self.journal)  # the journal's stamp when its tail was read
        self._stamps: tuple | None = None  # of both files, when they were in step

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only this program writes; others wait. Raises UserError where the files cannot be
        written."""
        if self._held:
            yield
            return
        try:
            with memory_file.locked(self.journal) as file:
                self._held = file
                try:
                    yield
                finally:
                    self._held = None
        except OSError as error:
            raise UserError(
                f"cannot write {error.filename or self.path} ({error.strerror}); nothing that was"
                " committed is lost"
            ) from error

    def unchanged(self) -> bool:
        """Whether nobody has touched the files since they were last in step."""
        return self._stamps == (memory_file.stamp(self.path), memory_file.stamp(self.journal))

    def replaced(self) -> bool:
        """Whether the journal is another file than when it was last in step."""
        return self._stamps is not None and self._stamps[1][0] not in (
            0,
            memory_file.stamp(self.journal)[0],
        )

    def exists(self) -> bool:
        return any(file.exists() and file.stat().st_size for file in (self.path, self.journal))

    def writable(self) -> bool:
        """Whether this user may write the journal."""
        return os.access(
            self.journal if self.journal.exists() else self.journal.parent,
            os.W_OK,
            effective_ids=True,
        )

    def read_tail(self) -> Tail:
        """Reads how far the journal goes. Raises UserError where it is none."""
        self._seen = memory_file.stamp(self.journal)
        try:
            with self.journal.open("rb") as file:
                return journal.tail(file, str(self.journal))
        except FileNotFoundError:
            return Tail()
        except OSError as error:
            raise UserError(f"cannot read {self.journal} ({error.strerror})") from error

    def in_step(self, tail: Tail) -> bytes | None:
        """Reads the whole memory file: its bytes, if they are those that belong to the tail.
        Remembers that it was so."""
        stamps = memory_file.stamp(self.path), self._seen
        data = memory_file.read(self.path)
        if (len(data), crc32(data)) != (tail.size, tail.crc):
            return None
        self.tail, self._stamps = tail, stamps
        return data

    def grown(self, tail: Tail) -> bool:
        """Whether the memory file has only grown since it was last in step, to what belongs to the
        tail; reads what is new of it.

        Each writer checks the file before it appends, so what was there is right unless the file
        was changed after the journal."""
        stamps = (number, _, time), (_, _, journal_time) = memory_file.stamp(self.path), self._seen
        if not (
            self._stamps
            and number == self._stamps[0][0]
            and time <= journal_time
            and tail.seq > self.tail.seq
            and 0 < self.tail.size <= tail.size
        ):
            return False
        with self.path.open("rb") as file:
            file.seek(self.tail.size)
            new = file.read()
        if (self.tail.size + len(new), crc32(new, self.tail.crc)) != (tail.size, tail.crc):
            return False
        self.tail, self._stamps = tail, stamps
        return True

    def history(self, end: int | None = None) -> Iterator[Operation]:
        """The operations of the journal up to an offset (by default: all), the newest first. Raises
        UserError where it is damaged."""
        end = self.tail.end if end is None else end
        if end:
            with self.journal.open("rb") as file:
                yield from journal.history(file, end, str(self.journal))

    def newer(self, tail: Tail, seq: int) -> list[Operation]:
        """The operations after one, oldest first."""
        return list(after(self.history(tail.end), seq))[::-1] if tail.seq > seq else []

    def finish(self, tail: Tail) -> bool:
        """Brings the memory file up to the journal's last operation, where a kill kept it from
        that; whether that was so."""
        if not tail.begin:
            return False
        with self.journal.open("rb") as file:
            operation = next(journal.history(file, tail.end, str(self.journal)))
            before = journal.tail(file, str(self.journal), tail.begin)
        data = memory_file.read(self.path)
        base = data[: before.size]
        whole = (
            memory_file.changed(base, operation.change)
            if (len(base), crc32(base)) == (before.size, before.crc)
            else b""
        )
        if (len(whole), crc32(whole)) != (tail.size, tail.crc) or not (
            data == base or whole.startswith(data)
        ):
            return False  # someone else changed it
        if whole.startswith(base) and base:
            memory_file.append(self.path, len(base), whole[len(base) :])
        else:
            memory_file.write(self.path, whole)
        self._in_step_now(tail, len(whole), crc32(whole))
        return True

    def commit(self, operation: Operation, tidy: bytes | None = None) -> Operation:
        """Writes an operation to the journal, which commits it, and then the memory file; the
        operation as it is written.

        `tidy` is the memory file after it, where someone else has changed that already. Raises
        OSError where a disk is full, and UserError where it is so only after the journal was
        written: then the operation counts."""
        new = b"".join(memory_file.line(edit) for _, edit in operation.change.added)
        growing = (
            tidy is None
            and self.tail.size > 0
            and appends(operation.change, operation.count - len(operation.change.added))
        )
        data = new if growing else self._changed(operation.change) if tidy is None else tidy
        size, crc = (
            (self.tail.size + len(data), crc32(data, self.tail.crc))
            if growing
            else (len(data), crc32(data))
        )
        operation = operation._replace(size=size, crc=crc)
        tail = Tail(operation.seq, end=self._write_journal(journal.encode(operation)))
        try:
            if growing:
                memory_file.append(self.path, self.tail.size, data)
            elif tidy is None or data != memory_file.read(self.path):
                memory_file.write(self.path, data)
            self._in_step_now(tail, size, crc)
        except OSError as error:
            raise UserError(
                f"cannot write {error.filename or self.path} ({error.strerror}); the operation"
                f" counts, since {self.journal.name} has it: do not repeat it, the next command"
                " finishes it once it can write"
            ) from error
        return operation

    def tidy(self, data: bytes) -> None:
        """Writes the memory file anew where its bytes, but not its edits, are others than the
        journal tells."""
        if data != memory_file.read(self.path):
            memory_file.write(self.path, data)
        self.tail = self.tail._replace(end=self.tail.end or self._write_journal(b""))
        self._in_step_now(self.tail, len(data), crc32(data))

    def create(self, operations: list[Operation], edits: Iterable[Edit]) -> None:
        """Writes a memory that is not there yet, with its history. A kill leaves nothing, or the
        edits without their history."""
        data = memory_file.FIRST + b"".join(map(memory_file.line, edits))
        seq, size, crc = operations[-1].seq if operations else 0, len(data), crc32(data)
        memory_file.write(self.path, data)
        memory_file.write(
            self.journal,
            journal.HEADER
            + b"".join(map(journal.encode, operations))
            + journal.written(seq, size, crc),
        )

    def _changed(self, change: Change) -> bytes:
        """The memory file's bytes after a change. Raises UserError where someone who takes no turns
        is just writing to it."""
        data = memory_file.read(self.path)
        if (len(data), crc32(data)) != (self.tail.size, self.tail.crc):
            raise UserError(f"{self.path} is being changed by another program; try again")
        return memory_file.changed(data, change)

    def _write_journal(self, lines: bytes, durable: bool = True) -> int:
        """Puts lines behind what counts in the journal, in the place of what a kill has left there;
        where they end."""
        file = self._held
        assert file is not None, "only under the lock"
        begin = self.tail.end
        lines = lines if begin else journal.HEADER + lines
        file.seek(begin)
        file.truncate()
        try:
            memory_file.write_all(file, lines)
            if durable:
                os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(begin)
            raise
        if not begin:
            memory_file.sync_folder(self.journal.parent)
        return begin + len(lines)

    def _in_step_now(self, tail: Tail, size: int, crc: int) -> None:
        """Says in the journal that the memory file has these bytes, and remembers it."""
        self.tail = tail
        end = self._write_journal(journal.written(tail.seq, size, crc), durable=False)
        self.tail = Tail(tail.seq, size, crc, end)
        self._stamps = memory_file.stamp(self.path), memory_file.stamp(self.journal)


def journal_of(path: Path) -> Path:
    """The journal beside a memory file."""
    return path.with_name(path.name + ".journal")
