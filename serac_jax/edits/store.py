"""`Store`: edits that people keep, in a file or in this process only, with their history."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import Any

from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.edits import memory_file, operations, records
from serac_jax.edits.author import default_author
from serac_jax.edits.changes import Change, difference, inverse, replace, replay
from serac_jax.edits.disk import Disk, Stamp
from serac_jax.edits.journal import Tail
from serac_jax.edits.operations import Operation, OtherVersion, State
from serac_jax.edits.records import Edit
from serac_jax.edits.view import View


class Store(View):
    """Edits by id, oldest first. Every change is one operation, which can be undone.

    Several programs may use one file: each writes in its turn, after it has read what the others
    wrote, and readers see whole operations only. Reading writes nothing: a change by hand or by git
    is the last operation at once, and the next change writes it down.
    """

    def __init__(self, disk: Disk | None = None, author: str | None = None):
        super().__init__()
        self._disk, self._author = disk, author
        self._older = 0  # the journal's offset up to which operations are older than `_recent`
        self._recent: list[Operation] = []  # since opening, oldest first
        # both files' when the memory file was read as people or git had changed it
        self._by_hand: tuple[Stamp, Stamp] | None = None
        self._taken_back = 0
        self._turn = threading.RLock()

    @classmethod
    def open(cls, path: str | Path | None = None, author: str | None = None) -> Store:
        """Opens a memory.

        Args:
          path: The memory file, which need not exist yet; None keeps the edits in this process,
            until `save`.
          author: Who signs operations; by default $SERAC_AUTHOR, git's user.name or the login name.

        Raises:
          UserError: The file is not a memory file, or a line of it, which is named, is damaged.
        """
        store = cls(Disk(path) if path is not None else None, author)
        store._load()
        return store

    def __repr__(self) -> str:
        where = repr(str(self.path)) if self.path else "in this process only"
        return f"Store({where}, {len(self.edits)} edits, operation {self.seq})"

    @property
    def path(self) -> Path | None:
        """The memory file, if there is one."""
        return self._disk.path if self._disk else None

    @property
    def author(self) -> str:
        """Who signs operations."""
        self._author = default_author() if self._author is None else self._author
        return self._author

    def make(self, prompt: str, answer: str, **fields: object) -> Edit:
        """Makes an edit, by this author and now unless the fields say otherwise; adds nothing.

        Raises:
          UserError: Names the field that is not right.
        """
        named: dict[str, Any] = {"author": self.author, "time": records.now()} | fields
        return records.make(prompt, answer, **named)

    @contextmanager
    def turn(self, at: int | None = None, author: str = "") -> Generator[None]:
        """Keeps other programs and threads from writing, and reads what they wrote before.

        For changes that depend on what the memory holds.

        Args:
          at: The operation that should still be the last one.
          author: Who signs operations meanwhile.

        Raises:
          OtherVersion: There is an operation after `at`.
          UserError: As from `open`, or if the file cannot be written.
        """
        with self._turn, self._disk.locked() if self._disk else nullcontext():
            if self._disk:
                self._catch_up(self._disk)
            if at is not None and at != self._seq:
                raise OtherVersion(at, self._seq)
            usual, self._author = self._author, author or self._author
            try:
                yield
            finally:
                self._author = usual

    @contextmanager
    def reading(self, or_last: bool = False) -> Generator[None]:
        """What others wrote is read, and no other thread changes the store meanwhile; other
        programs may. With `or_last`, where the files cannot be read, the edits are those that
        were read last."""
        with self._turn:
            with suppress(UserError) if or_last else nullcontext():
                self.refresh()
            yield

    def surely_empty(self) -> bool:
        """Whether there are no edits, told without waiting for anyone; False also where only a look
        into the files could tell."""
        return not self._edits and (self._disk is None or self._disk.unchanged())

    def live(self, time: str | None = None) -> Mapping[str, Edit]:
        """The edits that have not expired (by now), as they are at one moment."""
        with self._turn:
            return dict(super().live(time))

    def expired(self, time: str | None = None) -> set[str]:
        with self._turn:
            return super().expired(time)

    def same_prompt(self, prompt: str) -> list[Edit]:
        with self._turn:
            return super().same_prompt(prompt)

    def add(
        self,
        edits: Iterable[Edit],
        *,
        replacing: Collection[str] = (),
        message: str = "",
        do: str = "add",
    ) -> tuple[Edit, ...]:
        """Adds edits, and removes others, as one operation. See `insert` for conflicts.

        An edit that the memory holds stays as it is, unless its note, source or expiry differs:
        then the new one replaces it, at the end.

        Args:
          edits: What is added.
          replacing: Ids of edits that are removed.
          message: Why, for the log.
          do: What the log calls the operation.

        Returns:
          The edits as the memory holds them now.

        Raises:
          UserError: An id of `replacing` is unknown.
        """
        with self.turn():
            wanted = {edit.id: edit for edit in edits}
            held = self._edits
            new = {k: edit for k, edit in wanted.items() if not records.covers(held.get(k), edit)}
            gone = (self._known(replacing) - wanted.keys()) | (new.keys() & held.keys())
            self._commit(do, replace(held, gone, new.values()), message)
            return tuple(self._edits[key] for key in wanted)

    def remove(self, ids: Iterable[str], *, message: str = "") -> tuple[Edit, ...]:
        """Removes edits as one operation, and returns them.

        Raises:
          UserError: An id is unknown.
        """
        with self.turn():
            gone = replace(self._edits, self._known(ids), ())
            self._commit("remove", gone, message)
            return tuple(edit for _, edit in gone.removed)

    def replace_all(self, edits: Iterable[Edit], *, do: str, message: str = "") -> Change:
        """Makes these, in this order, the edits of the memory; returns what changed."""
        with self.turn():
            change = difference(self._edits, {edit.id: edit for edit in edits})
            self._commit(do, change, message)
            return change

    def undo(self) -> Operation:
        """Undoes the newest operation that stands, whoever made it, and returns it.

        Raises:
          UserError: There is none.
        """
        with self.turn():
            operation = operations.to_undo(self.log())
            if operation is None:
                raise UserError("there is nothing to undo")
            self._commit(operations.UNDO, inverse(operation.change), "", of=operation.seq)
            return operation

    def redo(self) -> Operation:
        """Redoes the operation that was undone last, and returns it.

        Raises:
          UserError: Nothing was undone since the last change.
        """
        with self.turn():
            undoing = operations.to_redo(self.log())
            if undoing is None:
                raise UserError("there is nothing to redo")
            self._commit(operations.REDO, inverse(undoing.change), "", of=undoing.of)
            return next(operation for operation in self.log() if operation.seq == undoing.of)

    def log(self, until: int | str | None = None) -> Iterator[Operation]:
        """The operations, newest first; old ones are read from the journal as they are asked for.

        Args:
          until: Begin with this operation, by its number, or with the newest one that is not later
            than this time. `as_of` is the memory after it.

        Raises:
          UserError: There is no operation of this number, or the time is not ISO 8601.
        """
        return self._all() if until is None else dropwhile(self._later_than(until), self._all())

    def as_of(self, when: int | str) -> dict[str, Edit]:
        """The edits after operation number `when`, or at a time; see `log`."""
        is_later = self._later_than(when)
        newest = self._after(when) if isinstance(when, int) else self._all()
        later = takewhile(is_later, newest)
        return replay(self._edits.values(), (inverse(operation.change) for operation in later))

    def changes_since(self, seq: int) -> tuple[list[Edit], list[str]]:
        """What an index must follow: edits that are new since an operation, and ids that are gone.

        An edit whose note changed is in both. The cost depends on the number of changes only.
        """
        with self._turn:
            before = operations.net(self._after(seq))
            changed = {
                key: edit for key, edit in reversed(before.items()) if edit != self._edits.get(key)
            }
            return [self._edits[key] for key in changed if key in self._edits], [
                key for key, edit in changed.items() if edit
            ]

    @property
    def state(self) -> State:
        """Differs whenever the edits may differ: (0, `seq`), where a change by hand that nobody had
        written down was never taken back; else the first number is how often one was."""
        with self._turn:
            return self._taken_back, self._seq

    def refresh(self) -> bool:
        """Reads what others wrote since; whether there was anything. Costs as much as is new.

        Raises:
          UserError: As from `open`.
        """
        with self._turn:
            before = self.state
            if (disk := self._disk) and not (disk.unchanged() or disk.stamps() == self._by_hand):
                self._read(disk)
            return self.state != before

    def save(self, path: str | Path) -> None:
        """Writes the memory to a file: a new one with the history, or one operation of another."""
        disk = Disk(path)
        if self._disk and disk.path == self._disk.path:
            return
        if not disk.exists():
            with disk.locked():
                if not disk.exists():
                    disk.create(list(self.log())[::-1], self._edits.values())
                    return
        Store.open(path, self._author).replace_all(self._edits.values(), do="save")

    def _later_than(self, when: int | str) -> Callable[[Operation], bool]:
        if isinstance(when, str):
            time = records.utc(when, "the time")
            return lambda operation: operation.time > time
        if not 0 <= when <= self.seq:
            raise UserError(f"there is no operation {when}; the last is {self.seq}")
        return lambda operation: operation.seq > when

    def _all(self) -> Iterator[Operation]:
        yield from reversed(self._recent)
        if self._disk:
            yield from self._disk.history(self._older)

    def _after(self, seq: int) -> Iterator[Operation]:
        return operations.after(self._all(), seq) if seq < self._seq else iter(())

    def _known(self, ids: Iterable[str]) -> set[str]:
        known = list(ids)
        for key in known:
            if key not in self._edits:
                raise UserError(f"no edit of this memory has the id {key!r}; `list` shows all")
        return set(known)

    def _load(self) -> None:
        if (disk := self._disk) is None:
            return
        tail = disk.read_tail()
        data = disk.in_step(tail)
        data = disk.replayed(tail) if data is None else data
        if data is not None:
            self._take(disk, memory_file.parse_trusted(data, disk.path))
            return
        with disk.quiet():
            disk.tail = disk.read_tail()
            self._take(disk, replay((), (one.change for one in disk.newer(disk.tail, 0))))
            self._read(disk)

    def _read(self, disk: Disk) -> None:
        """Brings this object up to the files, and writes nothing."""
        self._take_back(disk)
        if disk.agrees(tail := disk.follow_tail()):
            self._follow_to(disk, tail)
            return
        with disk.quiet():  # what was read may have been one file before an operation, one after
            stamps = disk.stamps()
            tail = disk.follow_tail()
            if by_hand := self._follow_all(disk, tail, disk.agrees(tail)):
                do, change, _ = by_hand
                if change != Change():
                    self._follow(self._operation(do, change))
                self._by_hand = stamps

    def _take_back(self, disk: Disk) -> None:
        """Forgets a change by hand, which is about to be read again or written down."""
        if self._by_hand and self._seq > disk.tail.seq:
            change = self._recent.pop().change
            self._begin(replay(self._edits.values(), [inverse(change)]), disk.tail.seq)
            self._taken_back += 1
        self._by_hand = None

    def _catch_up(self, disk: Disk) -> None:
        """Brings both files and this object up to the last operation, before it writes.

        Raises:
          UserError: As from `_follow_all`.
        """
        if disk.unchanged() and not disk.tail.begin:
            return
        self._take_back(disk)
        tail = disk.follow_tail()
        if by_hand := self._follow_all(disk, tail, disk.finish(tail) or disk.agrees(tail)):
            do, change, tidy = by_hand
            self._commit(do, change, "", tidy=tidy)

    def _follow_all(self, disk: Disk, tail: Tail, agrees: bool) -> tuple[str, Change, bytes] | None:
        """Follows the journal; for a memory file that does not agree, returns what was changed by
        hand: its name in the log, the change, and the file in its usual form.

        Raises:
          UserError: The file is not a memory file any more, or is empty.
        """
        self._follow_to(disk, tail)
        if agrees:
            return None
        disk.tail = tail
        data = files.read(disk.path)
        if self._edits and not data:
            raise UserError(
                f"{disk.path}:1: the file is gone or empty, but its journal has"
                f" {len(self._edits)} edits: `check --repair` writes them again; to begin a new"
                f" memory, move {disk.journal.name} away too"
            )
        parsed = memory_file.parse(data, disk.path)
        do = operations.OUTSIDE if self._seq else operations.START
        return do, difference(self._edits, parsed.edits), parsed.tidy

    def _follow_to(self, disk: Disk, tail: Tail) -> None:
        for operation in disk.newer(tail, self._seq):
            self._follow(operation)

    def _commit(
        self, do: str, change: Change, message: str, of: int = 0, tidy: bytes | None = None
    ) -> None:
        """Commits one operation, unless it changes nothing."""
        if change == Change():
            if tidy is not None and self._disk:
                self._disk.tidy(tidy)
            return
        operation = self._operation(do, change, message, of)
        self._follow(self._disk.commit(operation, tidy) if self._disk else operation)

    def _operation(self, do: str, change: Change, message: str = "", of: int = 0) -> Operation:
        """The next operation, by this author and now."""
        author = records.text(self.author, "the author")
        message = records.text(message, "the message")
        count = len(self._edits) - len(change.removed) + len(change.added)
        return Operation(self._seq + 1, records.now(), author, do, change, count, message, of)

    def _take(self, disk: Disk, edits: dict[str, Edit]) -> None:
        self._begin(edits, disk.tail.seq)
        self._older = disk.tail.end

    def _follow(self, operation: Operation) -> None:
        super()._follow(operation)
        self._recent.append(operation)
