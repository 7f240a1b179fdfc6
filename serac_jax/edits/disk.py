"""A memory file and its journal, kept in step.

An operation is committed by its line in the journal; the memory file is then brought up to it.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path
from zlib import crc32

from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.edits import journal, memory_file
from serac_jax.edits.changes import Change, DoesNotFit, appends
from serac_jax.edits.journal import Tail
from serac_jax.edits.operations import Operation, after
from serac_jax.edits.records import Edit

Stamp = tuple[int, int, int]  # see `files.stamp`


class CannotWrite(UserError):
    """A memory's files cannot be written now; they may still be read."""


class Disk:
    """The two files of one memory, and what is known of them. Writing needs `locked`.

    Attributes:
      path: The memory file, with links followed.
      journal: The journal, in the same folder.
      tail: How far the journal goes that the edits in memory stand for. A tail with `begin` set has
        an operation that the memory file may lack.
    """

    def __init__(self, path: str | Path):
        self.path = files.resolve(path)  # replacing a link would leave its target as it was
        self.journal = journal_of(self.path)
        files.resolve(self.journal)
        self.tail = Tail()
        self._held: FileIO | None = None
        self._seen = files.stamp(self.journal)  # the journal's when its tail was read
        self._stamps: tuple[Stamp, Stamp] | None = None  # both files' when they were in step

    @contextmanager
    def locked(self) -> Generator[None]:
        """Keeps other programs from writing.

        Raises:
          CannotWrite: The files cannot be written, or their file system has no locks.
        """
        if self._held:
            yield
            return
        try:
            with files.locked(self.journal) as file:
                self._held = file
                try:
                    yield
                finally:
                    self._held = None
        except OSError as error:
            raise CannotWrite(
                f"cannot write {error.filename or self.path} ({files.reason(error)}); nothing that"
                " was committed is lost"
            ) from error

    @contextmanager
    def quiet(self) -> Generator[None]:
        """Keeps other programs from writing as far as that takes no right to write: by a lock that
        readers share, where there is a journal and its file system has locks."""
        with ExitStack() as held:
            if not self._held:
                with suppress(OSError):
                    held.enter_context(files.locked(self.journal, reading=True))
            yield

    def stamps(self) -> tuple[Stamp, Stamp]:
        """Both files' now."""
        return files.stamp(self.path), files.stamp(self.journal)

    def unchanged(self) -> bool:
        """Whether both files are as they were when they were last in step."""
        return self._stamps == self.stamps()

    def replaced(self) -> bool:
        """Whether the journal is another file than when the two were last in step."""
        inode = self._stamps[1][0] if self._stamps else 0
        return inode not in (0, files.stamp(self.journal)[0])

    def exists(self) -> bool:
        """Whether either file has anything in it."""
        return any(files.stamp(file)[1] for file in (self.path, self.journal))

    def read_tail(self) -> Tail:
        """Reads how far the journal goes.

        Raises:
          UserError: It cannot be read, or is not a journal.
        """
        self._seen = files.stamp(self.journal)
        try:
            with self.journal.open("rb") as file:
                return journal.tail(file, str(self.journal))
        except FileNotFoundError:
            return Tail()
        except OSError as error:
            raise UserError(f"cannot read {self.journal} ({files.reason(error)})") from error

    def follow_tail(self) -> Tail:
        """As `read_tail`, of the journal whose beginning is known.

        Raises:
          UserError: It is another journal.
        """
        tail = self.read_tail()
        if self.replaced() or tail.seq < self.tail.seq:
            raise UserError(
                f"{self.journal} was replaced while this memory was open; open the memory again"
            )
        return tail

    def agrees(self, tail: Tail) -> bool:
        """Whether the memory file holds what the journal says, or lacks the last operation only."""
        return self.grown(tail) or self.in_step(tail) is not None or self.replayed(tail) is not None

    def in_step(self, tail: Tail) -> bytes | None:
        """Reads the memory file: its bytes, if they belong to the tail, which is remembered."""
        stamps = files.stamp(self.path), self._seen
        data = files.read(self.path)
        if (len(data), crc32(data)) != (tail.size, tail.crc):
            return None
        self.tail, self._stamps = tail, stamps
        return data

    def replayed(self, tail: Tail) -> bytes | None:
        """The bytes that the memory file lacks the last operation of, with it; nothing is written.

        A program that was killed, or whose disk was full, leaves the file so after its commit.
        """
        stamps = files.stamp(self.path), self._seen
        data = self._finished(tail)[1]
        if data is not None:
            self.tail, self._stamps = tail, stamps
        return data

    def grown(self, tail: Tail) -> bool:
        """Whether the memory file has only grown, since it was in step, to what the tail says.

        Only the new bytes are read. Each writer checks the file before it appends, so the old ones
        are right unless the file was changed after the journal.
        """
        stamps = files.stamp(self.path), self._seen
        (inode, _, time), (_, _, journal_time) = stamps
        if not (
            self._stamps
            and inode == self._stamps[0][0]
            and time <= journal_time
            and tail.seq > self.tail.seq
            and 0 < self.tail.size <= tail.size
            and not self.tail.begin
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
        """The journal's operations up to an offset, by default all, newest first.

        Raises:
          UserError: The journal is damaged.
        """
        end = self.tail.end if end is None else end
        if end:
            with self.journal.open("rb") as file:
                yield from journal.history(file, end, str(self.journal))

    def newer(self, tail: Tail, seq: int) -> list[Operation]:
        """The operations after number `seq`, oldest first."""
        return list(after(self.history(tail.end), seq))[::-1] if tail.seq > seq else []

    def finish(self, tail: Tail) -> bool:
        """Writes to the memory file the last operation that a kill kept from it, if one did."""
        base, whole = self._finished(tail)
        if whole is None:
            return False
        files.remove_leftovers(self.path)
        if whole.startswith(base) and base:
            files.append(self.path, len(base), whole[len(base) :])
        else:
            files.write(self.path, whole)
        self._in_step_now(tail, len(whole), crc32(whole))
        return True

    def commit(self, operation: Operation, tidy: bytes | None = None) -> Operation:
        """Writes an operation to the journal, which commits it, and then to the memory file.

        Args:
          operation: What was done.
          tidy: The memory file after it, if someone else has changed the file already.

        Returns:
          The operation with the memory file's size and checksum.

        Raises:
          OSError: The disk is full or the like; nothing has happened.
          CannotWrite: The same, but after the journal was written: the operation counts.
        """
        new = b"".join(memory_file.line(edit) for _, edit in operation.change.added)
        growing = (
            tidy is None
            and self.tail.size > 0
            and appends(operation.change, operation.count - len(operation.change.added))
        )
        data = new if growing else self._changed(operation.change) if tidy is None else tidy
        start, crc = (self.tail.size, self.tail.crc) if growing else (0, 0)
        size, crc = start + len(data), crc32(data, crc)
        operation = operation._replace(size=size, crc=crc)
        tail = Tail(operation.seq, end=self._write_journal(journal.encode(operation)))
        try:
            if growing:
                files.append(self.path, start, data)
            elif tidy is None or data != files.read(self.path):
                files.write(self.path, data)
            self._in_step_now(tail, size, crc)
        except OSError as error:
            raise CannotWrite(
                f"cannot write {error.filename or self.path} ({files.reason(error)}); the operation"
                f" counts, since {self.journal.name} has it: do not repeat it; the next command"
                " that can write finishes it"
            ) from error
        return operation

    def tidy(self, data: bytes) -> None:
        """Rewrites a memory file whose bytes, but not its edits, differ from the journal's."""
        if data != files.read(self.path):
            files.write(self.path, data)
        self._in_step_now(self.tail, len(data), crc32(data))

    def create(self, operations: list[Operation], edits: Iterable[Edit]) -> None:
        """Writes a new memory with its history. A kill leaves nothing, or edits without history."""
        data = memory_file.FIRST + b"".join(map(memory_file.line, edits))
        seq, size, crc = operations[-1].seq if operations else 0, len(data), crc32(data)
        files.write(self.path, data)
        files.write(
            self.journal,
            journal.HEADER
            + b"".join(map(journal.encode, operations))
            + journal.written(seq, size, crc),
        )

    def _finished(self, tail: Tail) -> tuple[bytes, bytes | None]:
        """The memory file before the last operation, and after it; None if it is another file."""
        if not tail.begin:
            return b"", None
        with self.journal.open("rb") as file:
            operation = next(journal.history(file, tail.end, str(self.journal)))
            before = journal.tail(file, str(self.journal), tail.begin)
        data = files.read(self.path)
        base = data[: before.size]
        if (len(base), crc32(base)) != (before.size, before.crc):
            return base, None
        try:
            whole = memory_file.changed(base, operation.change)
        except DoesNotFit:
            return base, None
        ours = data == base or whole.startswith(data)
        right = (len(whole), crc32(whole)) == (tail.size, tail.crc)
        return base, whole if ours and right else None

    def _changed(self, change: Change) -> bytes:
        """The memory file's bytes after a change.

        Raises:
          UserError: A program that does not use the lock is writing to it.
        """
        data = files.read(self.path)
        if (len(data), crc32(data)) != (self.tail.size, self.tail.crc):
            raise UserError(f"{self.path} is being changed by another program; try again")
        return memory_file.changed(data, change)

    def _write_journal(self, lines: bytes, durable: bool = True) -> int:
        """Writes lines after what counts in the journal, over what a kill left; their end."""
        file = self._held
        if file is None:
            raise RuntimeError("the journal is written under its lock only")
        begin = self.tail.end
        lines = lines if begin else journal.HEADER + lines
        file.seek(begin)
        file.truncate()
        try:
            files.write_all(file, lines)
            if durable:
                os.fsync(file.fileno())
            if not begin:
                files.sync(self.journal.parent)
        except OSError:
            with suppress(OSError):
                file.truncate(begin)
            raise
        return begin + len(lines)

    def _in_step_now(self, tail: Tail, size: int, crc: int) -> None:
        """Notes in the journal that the memory file has these bytes, and remembers it."""
        self.tail = tail
        end = self._write_journal(journal.written(tail.seq, size, crc), durable=False)
        self.tail = Tail(tail.seq, size, crc, end)
        self._stamps = self.stamps()


def journal_of(path: Path) -> Path:
    """The journal of a memory file."""
    return path.with_name(path.name + ".journal")
