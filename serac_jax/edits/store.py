"""A memory of edits: an ordered dictionary with a history, in a file or only in this process."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Any

from serac_jax.core.errors import UserError
from serac_jax.edits import memory_file, records
from serac_jax.edits.author import default_author
from serac_jax.edits.changes import Change, difference, inverse, replace, replay
from serac_jax.edits.disk import Disk
from serac_jax.edits.operations import REDO, START, UNDO, Operation, after, net, to_redo, to_undo
from serac_jax.edits.records import Edit
from serac_jax.edits.view import View


class Store(View):
    """Edits by id, in the order of their making. Every change is one operation that can be undone;
    readers see whole operations."""

    def __init__(self, disk: Disk | None = None, author: str | None = None):
        super().__init__()
        self._disk, self._author = disk, author
        self._older = 0  # where the journal goes on with what was done before opening
        self._recent: list[Operation] = []  # since opening, oldest first
        self._turn = threading.RLock()

    @classmethod
    def open(cls, path: str | Path | None = None, author: str | None = None) -> Store:
        """The memory of a file, which need not exist yet; without a path, one of this process only,
        which `save` writes.

        `author` signs operations; by default $SERAC_AUTHOR, git's user.name or the login name does.
        Raises UserError with the line where the file is no memory or is damaged.
        """
        store = cls(Disk(path) if path is not None else None, author)
        store._load()
        return store

    @property
    def path(self) -> Path | None:
        return self._disk.path if self._disk else None

    @property
    def author(self) -> str:
        self._author = default_author() if self._author is None else self._author
        return self._author

    def make(self, prompt: str, answer: str, **fields: object) -> Edit:
        """An edit of this author, made now, unless the fields say otherwise; it is not in the
        memory yet. Raises UserError."""
        named: dict[str, Any] = {"author": self.author, "time": records.now()} | fields
        return records.make(prompt, answer, **named)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """No one else writes meanwhile, and what all others wrote has been read: for what is looked
        up and then changed. Raises UserError as `open` does."""
        with self._turn:
            if self._disk is None:
                yield
                return
            with self._disk.locked():
                self._catch_up(self._disk)
                yield

    def add(
        self,
        edits: Iterable[Edit],
        *,
        replacing: Collection[str] = (),
        message: str = "",
        do: str = "add",
    ) -> tuple[Edit, ...]:
        """Adds edits and removes those with the ids `replacing`, as one operation; the edits as the
        memory holds them now.

        An edit that is there already stays as it is, unless its note, source or expiry is another:
        then the new one comes at the end in its stead. Raises UserError where an id of `replacing`
        is unknown."""
        with self.turn():
            wanted = {edit.id: edit for edit in edits}
            new = {
                key: edit for key, edit in wanted.items() if not same(self._edits.get(key), edit)
            }
            self._commit(
                do,
                replace(
                    self._edits,
                    (self._known(replacing) - wanted.keys()) | (new.keys() & self._edits.keys()),
                    new.values(),
                ),
                message,
            )
            return tuple(self._edits[key] for key in wanted)

    def remove(self, ids: Iterable[str], *, message: str = "") -> tuple[Edit, ...]:
        """Removes edits, as one operation. Raises UserError where an id is unknown."""
        with self.turn():
            gone = replace(self._edits, self._known(ids), ())
            self._commit("remove", gone, message)
            return tuple(edit for _, edit in gone.removed)

    def replace_all(self, edits: Iterable[Edit], *, do: str, message: str = "") -> Change:
        """Makes these, in their order, the edits of the memory, as one operation; what changed."""
        with self.turn():
            change = difference(self._edits, {edit.id: edit for edit in edits})
            self._commit(do, change, message)
            return change

    def undo(self) -> Operation:
        """Takes back the newest operation that stands, whoever did it, and gives it. Raises
        UserError where there is none."""
        with self.turn():
            operation = to_undo(self.log())
            if operation is None:
                raise UserError("there is nothing to undo")
            self._commit(UNDO, inverse(operation.change), "", of=operation.seq)
            return operation

    def redo(self) -> Operation:
        """Does again what was undone last, and gives the operation. Raises UserError where nothing
        was undone since the last change."""
        with self.turn():
            undoing = to_redo(self.log())
            if undoing is None:
                raise UserError("there is nothing to redo")
            self._commit(REDO, inverse(undoing.change), "", of=undoing.of)
            return next(operation for operation in self.log() if operation.seq == undoing.of)

    def log(self) -> Iterator[Operation]:
        """All operations, the newest first; older ones are read from the journal as they are asked
        for."""
        yield from reversed(self._recent)
        if self._disk:
            yield from self._disk.history(self._older)

    def as_of(self, when: int | str) -> dict[str, Edit]:
        """The edits after the operation of a number, or at a time of ISO 8601. Raises UserError
        where the number or time is none."""
        if isinstance(when, int) and not 0 <= when <= self.seq:
            raise UserError(f"there is no operation {when}; the last is {self.seq}")
        when = when if isinstance(when, int) else records.utc(when, "the time")
        later = (
            self._after(when)
            if isinstance(when, int)
            else takewhile(lambda operation: operation.time > when, self.log())
        )
        return replay(self._edits.values(), (inverse(operation.change) for operation in later))

    def changes_since(self, seq: int) -> tuple[list[Edit], list[str]]:
        """Edits that came and ids that went since an operation, which is what an index must follow;
        an edit whose note changed does both.

        It costs as much as there were changes.
        """
        before = net(self._after(seq))
        changed = {
            key: edit for key, edit in reversed(before.items()) if edit != self._edits.get(key)
        }
        return [self._edits[key] for key in changed if key in self._edits], [
            key for key, edit in changed.items() if edit
        ]

    def refresh(self) -> bool:
        """Reads what others changed since; whether anything was. Costs as much as there is new.
        Raises UserError as `open` does.

        What someone who may not write has opened, and is not as the journal tells it, stays as it
        was read."""
        with self._turn:
            seq = self._seq
            if (
                self._disk
                and not self._disk.unchanged()
                and not self._follow_others(self._disk)
                and self._disk.writable()
            ):
                with self.turn():
                    pass
            return self._seq > seq

    def save(self, path: str | Path) -> None:
        """Writes the memory to a file: a new one with the whole history, or one more operation of
        the memory that is there."""
        disk = Disk(path)
        if self._disk and disk.path == self._disk.path:
            return
        if not disk.exists():
            with disk.locked():
                if not disk.exists():
                    disk.create(list(self.log())[::-1], self._edits.values())
                    return
        Store.open(path, self._author).replace_all(self._edits.values(), do="save")

    def _after(self, seq: int) -> Iterator[Operation]:
        return after(self.log(), seq) if seq < self._seq else iter(())

    def _known(self, ids: Iterable[str]) -> set[str]:
        known = list(ids)
        for key in known:
            if key not in self._edits:
                raise UserError(f"no edit of this memory has the id {key!r}; `list` shows all")
        return set(known)

    def _load(self) -> None:
        """Reads the file. What a kill has left undone is done, and what people or git changed in
        the file becomes an operation."""
        if self._disk is None:
            return
        data = self._disk.in_step(self._disk.read_tail())
        if data is None and not self._disk.writable():
            self._take(
                self._disk,
                memory_file.parse(memory_file.read(self._disk.path), self._disk.path).edits,
            )
        elif data is None:
            with self._disk.locked():
                self._settle(self._disk)
        else:
            self._take(self._disk, memory_file.parse_trusted(data))

    def _settle(self, disk: Disk) -> None:
        tail = disk.read_tail()
        finished = disk.finish(tail)
        data = disk.in_step(disk.read_tail() if finished else tail)
        if data is not None:
            self._take(disk, memory_file.parse_trusted(data))
            return
        disk.tail = tail
        self._take(disk, replay((), (operation.change for operation in disk.newer(tail, 0))))
        self._take_outside(disk)

    def _catch_up(self, disk: Disk) -> None:
        """Follows what other writers did, finishes what a kill has left, and takes in what was
        changed by hand or by git."""
        if disk.unchanged() or self._follow_others(disk):
            return
        tail = disk.read_tail()
        finished = disk.finish(tail)
        for operation in disk.newer(tail, self._seq):
            self._follow(operation)
        if not finished:
            disk.tail = tail
            self._take_outside(disk)

    def _follow_others(self, disk: Disk) -> bool:
        """Follows other writers' operations, if the file is what their last one left. Raises
        UserError where the journal is another file now."""
        tail = disk.read_tail()
        if disk.replaced() or tail.seq < self._seq:
            raise UserError(
                f"{disk.journal} was replaced while this memory was open; open the memory again"
            )
        if not disk.grown(tail) and disk.in_step(tail) is None:
            return False
        for operation in disk.newer(tail, self._seq):
            self._follow(operation)
        return True

    def _take_outside(self, disk: Disk) -> None:
        """Makes one operation of what was changed in the file. Raises UserError where that is no
        memory any more."""
        data = memory_file.read(disk.path)
        if self._edits and not data:
            raise UserError(
                f"{disk.path}:1: the file is gone or empty, but its journal knows"
                f" {len(self._edits)} edits: `check --repair` writes them again; to begin a new"
                f" memory, move {disk.journal.name} away too"
            )
        parsed = memory_file.parse(data, disk.path)
        self._commit(
            "outside" if self._seq else START,
            difference(self._edits, parsed.edits),
            "",
            tidy=parsed.tidy,
        )

    def _commit(
        self, do: str, change: Change, message: str, of: int = 0, tidy: bytes | None = None
    ) -> None:
        """One operation more, unless it changes nothing."""
        if change == Change():
            if tidy is not None and self._disk:
                self._disk.tidy(tidy)
            return
        author, message = (
            records.text(value, f"the {name}")
            for name, value in (("author", self.author), ("message", message))
        )
        count = len(self._edits) - len(change.removed) + len(change.added)
        operation = Operation(self._seq + 1, records.now(), author, do, change, count, message, of)
        self._follow(self._disk.commit(operation, tidy) if self._disk else operation)

    def _take(self, disk: Disk, edits: dict[str, Edit]) -> None:
        self._begin(edits, disk.tail.seq)
        self._older = disk.tail.end

    def _follow(self, operation: Operation) -> None:
        super()._follow(operation)
        self._recent.append(operation)


def same(old: Edit | None, new: Edit) -> bool:
    """Whether an edit says nothing that the one in the memory does not; who said it first, and
    when, stays."""
    return old is not None and old._replace(author=new.author, time=new.time) == new
