"""The edits of a server, with the methods of a `Store`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from serac_jax.client.connection import Connection, Unserved
from serac_jax.edits import records
from serac_jax.edits.changes import Change
from serac_jax.edits.operations import Operation
from serac_jax.edits.records import Edit
from serac_jax.edits.view import View

FEW, MOST = 10, 1000  # operations that are fetched at first, and then


class RemoteStore(View):
    """The edits that a server holds, of which a key sees its own. Every read asks the server."""

    path: Path | None = None  # the file is the server's

    def __init__(self, connection: Connection):
        super().__init__()
        self.connection = connection

    def __repr__(self) -> str:
        return f"RemoteStore({self.connection.url!r})"

    @property
    def edits(self) -> Mapping[str, Edit]:
        """All edits by id, oldest first, expired ones too."""
        self.refresh()
        return self._edits

    @property
    def seq(self) -> int:
        """The number of the last operation."""
        return int(self.connection.json("GET", "log", params={"limit": 0}).get("version", 0))

    def refresh(self) -> None:
        """Fetches all edits."""
        self._begin(self.fetched({}), 0)

    def live(self, time: str | None = None) -> Mapping[str, Edit]:
        self.refresh()
        return super().live(time)

    def find(self, prefix: str) -> Edit:
        self.refresh()
        return super().find(prefix)

    def same_prompt(self, prompt: str) -> list[Edit]:
        self.refresh()
        return super().same_prompt(prompt)

    def held(self, edit_id: str) -> Edit | None:
        try:
            return self.connection.edit(self.connection.json("GET", f"edits/{edit_id}"))
        except Unserved as error:
            if error.status == 404:
                return None
            raise

    def as_of(self, when: int | str) -> dict[str, Edit]:
        """The edits after operation number `when`, or at a time."""
        return self.fetched({"as_of": str(when)})

    def fetched(self, params: dict[str, str]) -> dict[str, Edit]:
        """All edits of a state, as a memory file has them."""
        response = self.connection.send("GET", "edits/export", params=params)
        text = response.content.decode(errors="replace")
        head, *lines = text.removesuffix("\n").split("\n")
        url = self.connection.url
        records.check_header(head, url)
        edits = [records.parse(line, f"{url}:{at}") for at, line in enumerate(lines, 2)]
        return {edit.id: edit for edit in edits}

    def make(self, prompt: str, answer: str, **fields: Any) -> Edit:
        """Makes an edit; adds nothing. The server signs and dates what it is given without."""
        return records.make(prompt, answer, **fields)

    def remove(self, ids: Iterable[str], *, message: str = "") -> tuple[Edit, ...]:
        """Removes edits as one operation, and returns them."""
        gone = {"ids": list(ids), "message": message}
        done = self.connection.json("POST", "edits/remove", json=gone)
        with self.connection.reading():
            return tuple(map(self.connection.edit, done["edits"]))

    def undo(self) -> Operation:
        """Undoes the newest operation that stands, whoever made it, and returns it."""
        return self.operations("POST", "undo")[0]

    def redo(self) -> Operation:
        """Redoes the operation that was undone last, and returns it."""
        return self.operations("POST", "redo")[0]

    def log(self, until: int | str | None = None) -> Iterator[Operation]:
        """The operations, newest first; older ones are fetched as they are asked for."""
        limit = FEW
        while True:
            params = {"limit": limit} | ({} if until is None else {"as_of": until})
            operations = self.operations("GET", "log", params=params)
            yield from operations
            if len(operations) < limit or operations[-1].seq <= 1:
                return
            until, limit = operations[-1].seq - 1, MOST

    def operations(self, method: str, path: str, **request: Any) -> list[Operation]:
        """The operations, or the one, of an answer."""
        done = self.connection.json(method, path, **request)
        with self.connection.reading():
            found = [done["operation"]] if "operation" in done else done["operations"]
            return [self.operation(fields) for fields in found]

    def operation(self, fields: dict[str, Any]) -> Operation:
        """An operation; the places of its edits are only their order."""
        removed, added = (
            tuple(enumerate(map(self.connection.edit, fields.pop(name))))
            for name in ("removed", "added")
        )
        return Operation(**fields, change=Change(removed, added))
