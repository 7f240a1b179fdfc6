"""A memory of edits: an ordered dictionary with a history, in a file or only in this process."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path

from serac_jax.errors import UserError
from serac_jax.store import edits as texts
from serac_jax.store.author import default_author
from serac_jax.store.changes import Change, apply, difference, inverse, replace
from serac_jax.store.conflicts import normal
from serac_jax.store.edits import Edit
from serac_jax.store.operations import REDO, UNDO, Operation, net, to_redo, to_undo


class Store:
    """Edits by id, in the order of their making. Every change is one operation that can be undone; readers see whole operations."""

    def __init__(self, author: str | None = None):
        self._author = author
        self._edits: dict[str, Edit] = {}
        self._recent: list[Operation] = []  # since opening, oldest first
        self._prompts: dict[str, dict[str, None]] | None = None  # normal prompt → ids; made when first asked for
        self._expiring: dict[str, Edit] = {}
        self._turn = threading.RLock()

    @classmethod
    def open(cls, path: str | Path | None = None, author: str | None = None) -> Store:
        """The memory of a file, which need not exist yet; without a path, one of this process only, which `save` writes.

        `author` signs operations; by default $SERAC_AUTHOR, git's user.name or the login name does.
        Raises UserError with the line where the file is no memory or is damaged.
        """
        return cls(author)

    @property
    def edits(self) -> Mapping[str, Edit]:
        """All edits by id, oldest first, expired ones too. Not to be changed but by the methods."""
        return self._edits

    @property
    def seq(self) -> int:
        """The number of the last operation; 0 before the first."""
        return self._recent[-1].seq if self._recent else 0

    @property
    def author(self) -> str:
        self._author = default_author() if self._author is None else self._author
        return self._author

    def make(self, prompt: str, answer: str, **fields: object) -> Edit:
        """An edit of this author, made now, unless the fields say otherwise; it is not in the memory yet. Raises UserError."""
        return texts.make(prompt, answer, **({"author": self.author, "time": texts.now()} | fields))  # type: ignore[arg-type]

    def live(self, time: str | None = None) -> Mapping[str, Edit]:
        """The edits that have not expired (by now)."""
        gone = self.expired(time)
        return {key: edit for key, edit in self._edits.items() if key not in gone} if gone else self._edits

    def expired(self, time: str | None = None) -> set[str]:
        """Ids of the edits that have expired (by now); its cost does not depend on edits that never do."""
        time = texts.now() if time is None else time
        return {key for key, edit in self._expiring.items() if texts.expired(edit, time)}

    def find(self, prefix: str) -> Edit:
        """The edit whose id begins so. Raises UserError where there is none or more than one."""
        if prefix in self._edits:
            return self._edits[prefix]
        found = [key for key in self._edits if key.startswith(prefix)] if prefix else []
        if not found:
            raise UserError(f"no edit of this memory has an id that begins with {prefix!r}; `list` shows all")
        if len(found) > 1:
            raise UserError(f"{len(found)} edits have ids that begin with {prefix!r} ({', '.join(found[:5])}{', …' * (len(found) > 5)}); give more digits")
        return self._edits[found[0]]

    def same_prompt(self, prompt: str) -> list[Edit]:
        """Edits of the same prompt but for case, blanks and closing punctuation, of all tags."""
        if self._prompts is None:
            self._prompts = {}
            for edit in self._edits.values():
                self._prompts.setdefault(normal(edit.prompt), {})[edit.id] = None
        return [self._edits[key] for key in self._prompts.get(normal(prompt), ())]

    def add(self, edits: Iterable[Edit], *, replacing: Collection[str] = (), message: str = "", do: str = "add") -> tuple[Edit, ...]:
        """Adds edits and removes those with the ids `replacing`, as one operation; the edits as the memory holds them now.

        An edit that is there already changes nothing, unless its note, source or expiry is another: then the new one takes its place at the end.
        Raises UserError where an id of `replacing` is unknown.
        """
        with self._writing():
            wanted = {edit.id: edit for edit in edits}
            new = {key: edit for key, edit in wanted.items() if key in replacing or not same(self._edits.get(key), edit)}
            self._commit(do, replace(self._edits, self._known(replacing) | (new.keys() & self._edits.keys()), new.values()), message)
            return tuple(self._edits[key] for key in wanted)

    def remove(self, ids: Iterable[str], *, message: str = "") -> tuple[Edit, ...]:
        """Removes edits, as one operation. Raises UserError where an id is unknown."""
        with self._writing():
            gone = replace(self._edits, self._known(ids), ())
            self._commit("remove", gone, message)
            return tuple(edit for _, edit in gone.removed)

    def replace_all(self, edits: Iterable[Edit], *, do: str, message: str = "") -> Change:
        """Makes these, in their order, the edits of the memory, as one operation; what changed."""
        with self._writing():
            change = difference(self._edits, {edit.id: edit for edit in edits})
            self._commit(do, change, message)
            return change

    def undo(self) -> Operation:
        """Takes back the newest operation that stands, whoever did it, and gives it. Raises UserError where there is none."""
        with self._writing():
            operation = to_undo(self.log())
            if operation is None:
                raise UserError("there is nothing to undo")
            self._commit(UNDO, inverse(operation.change), "", of=operation.seq)
            return operation

    def redo(self) -> Operation:
        """Does again what was undone last, and gives the operation. Raises UserError where nothing was undone since the last change."""
        with self._writing():
            undoing = to_redo(self.log())
            if undoing is None:
                raise UserError("there is nothing to redo")
            self._commit(REDO, inverse(undoing.change), "", of=undoing.of)
            return next(operation for operation in self.log() if operation.seq == undoing.of)

    def log(self) -> Iterator[Operation]:
        """All operations, the newest first; older ones are read from the journal as they are asked for."""
        yield from reversed(self._recent)

    def as_of(self, when: int | str) -> dict[str, Edit]:
        """The edits after the operation of a number, or at a time of ISO 8601. Raises UserError where the number or time is none."""
        if isinstance(when, int) and not 0 <= when <= self.seq:
            raise UserError(f"there is no operation {when}; the last is {self.seq}")
        when = when if isinstance(when, int) else texts.utc(when, "the time")
        edits = dict(self._edits)
        for operation in takewhile(lambda operation: operation.seq > when if isinstance(when, int) else operation.time > when, self.log()):
            edits = apply(edits, inverse(operation.change))
        return edits

    def changes_since(self, seq: int) -> tuple[list[Edit], list[str]]:
        """Edits that came and ids that went since an operation, which is what an index must follow; an edit whose note changed does both.

        It costs as much as there were changes.
        """
        before = net(takewhile(lambda operation: operation.seq > seq, self.log()))
        changed = {key: edit for key, edit in reversed(before.items()) if edit != self._edits.get(key)}
        return [self._edits[key] for key in changed if key in self._edits], [key for key, edit in changed.items() if edit]

    def refresh(self) -> bool:
        """Reads what other writers changed since; whether anything was."""
        return False

    def save(self, path: str | Path) -> None:
        """Writes the memory to a file: a new one with the whole history, or one more operation of the memory that is there."""
        raise NotImplementedError

    def _known(self, ids: Iterable[str]) -> set[str]:
        ids = set(ids)
        if unknown := sorted(ids - self._edits.keys()):
            raise UserError(f"no edit of this memory has the id {unknown[0]!r}; `list` shows all")
        return ids

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One writer at a time, who has seen what all others wrote."""
        with self._turn:
            yield

    def _commit(self, do: str, change: Change, message: str, of: int = 0) -> None:
        """One operation more, unless it changes nothing."""
        if change == Change():
            return
        count = len(self._edits) - len(change.removed) + len(change.added)
        self._follow(Operation(self.seq + 1, texts.now(), self.author, do, change, count, message, of))

    def _follow(self, operation: Operation) -> None:
        """Brings the edits up to an operation that is in the journal."""
        self._edits = apply(self._edits, operation.change)
        self._recent.append(operation)
        for _, edit in operation.change.removed:
            self._expiring.pop(edit.id, None)
            if self._prompts is not None:
                self._prompts[normal(edit.prompt)].pop(edit.id)
        for _, edit in operation.change.added:
            if edit.expires:
                self._expiring[edit.id] = edit
            if self._prompts is not None:
                self._prompts.setdefault(normal(edit.prompt), {})[edit.id] = None


def same(old: Edit | None, new: Edit) -> bool:
    """Whether an edit says nothing that the one in the memory does not; who said it first, and when, stays."""
    return old is not None and old._replace(author=new.author, time=new.time) == new
