"""An editor that answers on another machine.

editor = serac_jax.connect("http://127.0.0.1:8800")
editor.edit("Who wrote Dracula?", "Mary Shelley")
print(editor.ask("Who is the author of Dracula?").text)
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, overload

import httpx

from serac_jax.client.connection import Connection
from serac_jax.client.remote_store import RemoteStore
from serac_jax.core.errors import UserError
from serac_jax.edits import check, records
from serac_jax.edits.operations import Operation
from serac_jax.edits.records import Edit
from serac_jax.edits.same_prompt import Conflict
from serac_jax.serving.answers import Answer, Near, Why
from serac_jax.serving.checkup import Checkup, Editors
from serac_jax.serving.insert import (
    ContradictionRefused,
    Inserted,
    Policy,
    contradicted,
    tell_of_kept,
)

AT_ONCE = 8  # questions that are asked at the same time, and answered together
OPTIONAL = ("note", "source", "expires")
History = Sequence[tuple[str, str]]  # earlier turns: a question and its answer
Asked = tuple[str, ...] | str | None  # tags of a question, see `EditorService.ask`


class RemoteEditor:
    """The editor of a server, with the methods of a local one; threads may share it.

    Attributes:
        memory: the edits that the server holds.
    """

    def __init__(self, connection: Connection):
        self.connection = connection
        self.memory = RemoteStore(connection)

    def __repr__(self) -> str:
        return f"RemoteEditor({self.connection.url!r})"

    def __enter__(self) -> RemoteEditor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self.connection.http.close()

    @cached_property
    def about(self) -> dict[str, Any]:
        """What is served, and what the API key may do: `GET /about`."""
        return self.connection.json("GET", "about")

    @property
    def calibrated(self) -> bool:
        """Whether the threshold was fitted to a false-positive rate."""
        return bool(self.about.get("calibrated"))

    @property
    def reads_history(self) -> bool:
        """Whether the models that answer were made for conversations."""
        return bool(self.about.get("reads_history"))

    @overload
    def ask(  # pyright: ignore[reportOverlappingOverload]  (a str is a Sequence of str)
        self,
        questions: str,
        tags: Asked = None,
        history: History = (),
        max_tokens: int | None = None,
    ) -> Answer: ...
    @overload
    def ask(
        self,
        questions: Sequence[str],
        tags: Asked | Sequence[Asked] = None,
        history: Sequence[History] = (),
        max_tokens: int | None = None,
    ) -> list[Answer]: ...

    def ask(
        self,
        questions: str | Sequence[str],
        tags: Asked | Sequence[Asked] = None,
        history: History | Sequence[History] = (),
        max_tokens: int | None = None,
    ) -> Answer | list[Answer]:
        """Answers a question, or several together; see `EditorService.ask`."""

        def one(question: str, seen: Any, turns: Any) -> Answer:
            fields = {"max_tokens": max_tokens} if max_tokens else {}
            found = self.asked("ask", question, seen, turns, **fields)
            return self.answer(found, turns)

        if isinstance(questions, str):
            return one(questions, tags, history)
        each: list[Any] = tags if isinstance(tags, list) else [tags] * len(questions)
        histories = history or [()] * len(questions)
        for given, name in ((each, "lists of tags"), (histories, "histories")):
            if len(given) != len(questions):
                raise UserError(
                    f"{len(given)} {name} for {len(questions)} questions; give one for each, or"
                    " one for all"
                )
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(one, questions, each, histories))

    def why(self, question: str, tags: Asked = None, history: History = ()) -> Why:
        """Shows what decides the answer to a question; see `EditorService.why`."""
        fields = self.asked("why", question, tags, history)
        with self.connection.reading():
            rest = (fields[name] for name in ("threshold", "margin", "reads", "base_text"))
            return Why(self.answer(fields, history), *rest)

    def edit(
        self,
        prompt: str,
        answer: str,
        *,
        tags: Iterable[str] = (),
        note: str = "",
        source: str = "",
        expires: str = "",
        policy: Policy = None,
    ) -> Edit:
        """Adds an edit; see `EditorService.edit`."""
        made = self.memory.make(
            prompt, answer, tags=tags, note=note, source=source, expires=expires
        )
        done = self.edit_many([made], policy=policy)
        if any(conflict.kind == "contradiction" for conflict in done.conflicts):
            tell_of_kept(done, policy, self.calibrated)
        return done.edits[0]

    def edit_many(
        self,
        edits: Iterable[Edit | tuple[str, str]],
        *,
        policy: Policy = None,
        message: str = "",
        do: str = "add",
        at: int | None = None,
    ) -> Inserted:
        """Adds edits, as one operation; see `EditorService.edit_many`.

        Args:
            edits: edits, or pairs of a prompt and its answer.
            policy: what happens to contradictions; a function decides on each, and has to decide
                on all of them alike.
            message: why, for the log.
            do: what the log calls the operation: add, or import, which several are anyway.
            at: the operation that should still be the last one.

        Returns:
            The stored edits, the edits that were replaced, and, of a single edit, the conflicts.

        Raises:
            ContradictionRefused: nothing was changed.
        """
        made = [edit if isinstance(edit, Edit) else self.memory.make(*edit) for edit in edits]
        if not made:
            return Inserted((), [])
        if not callable(policy):
            return self.send(made, policy or "same_words", message, do, at)
        at = self.memory.seq if at is None else at
        try:
            return self.send(made, "refuse", message, do, at)
        except ContradictionRefused as error:
            decided: dict[tuple[str, str], str] = {}
            contradicted(error.conflicts, policy, decided)
            wanted = set(decided.values())
            if len(wanted) > 1:
                raise UserError(
                    "a server replaces all contradicted edits, or keeps all; nothing was changed"
                ) from error
            return self.send(made, wanted.pop(), message, do, at)

    def send(
        self, made: list[Edit], policy: str, message: str, do: str, at: int | None
    ) -> Inserted:
        """Adds edits by one request."""
        headers = {} if at is None else {"If-Match": f'"{at}"'}
        if len(made) == 1 and do == "add":
            (edit,) = made
            body = {"prompt": edit.prompt, "answer": edit.answer, "tags": list(edit.tags)}
            body |= {name: getattr(edit, name) for name in OPTIONAL}
            body |= {"policy": policy, "message": message}
            done = self.connection.json("POST", "edits", json=body, headers=headers)
            with self.connection.reading():
                held = (self.connection.edit(done),)
                noted = [self.noted(held[0], fields) for fields in done["noted"]]
                conflicts = [one for one in noted if one]
                return Inserted(held, conflicts, self.replaced(done, {edit.id}))
        done = self.connection.json(
            "POST",
            "edits/import",
            params={"policy": policy, "message": message},
            content="".join(f"{records.format(edit)}\n" for edit in made).encode(),
            headers=headers | {"Content-Type": "text/plain; charset=utf-8"},
        )
        ids, stored = {edit.id: None for edit in made}, self.memory.edits
        with self.connection.reading():
            replaced = self.replaced(done, ids)
        return Inserted(tuple(stored[key] for key in ids if key in stored), [], replaced)

    def replaced(self, done: dict[str, Any], ids: Collection[str]) -> tuple[Edit, ...]:
        """The edits that new ones replaced, by the operation that added these."""
        for operation in self.memory.log(until=done["version"]) if done["replaced"] else ():
            if not {edit.id for _, edit in operation.change.added}.isdisjoint(ids):
                return tuple(edit for _, edit in operation.change.removed if edit.id not in ids)
        return ()

    def noted(self, new: Edit, fields: dict[str, Any]) -> Conflict | None:
        """A conflict that was kept; None where its older edit is gone meanwhile."""
        old = self.memory.held(fields["old"])
        return Conflict(fields["kind"], new, old) if old else None

    def conflicts(self) -> list[Conflict]:
        """All conflicts among the stored edits, in other words too."""
        return self.judged("GET", params={"ask": True})

    def conflicts_of(self, edits: Sequence[Edit]) -> list[Conflict]:
        """The conflicts that edits would have, each by itself, were they stored."""
        found: list[Conflict] = []
        for edit in edits:
            draft = {"prompt": edit.prompt, "answer": edit.answer, "tags": list(edit.tags)}
            found += self.judged("POST", json=draft)
        return found

    def judged(self, method: str, **request: Any) -> list[Conflict]:
        """The conflicts of an answer."""
        found = self.connection.json(method, "conflicts", **request)
        with self.connection.reading():
            return [self.connection.conflict(one) for one in found["conflicts"]]

    def check(self, ask: bool = False) -> Checkup:
        """What is wrong with the memory's files and edits.

        Args:
            ask: whether the editor looks for conflicts in other words too, and is asked every edit
                back, which takes long for many.
        """
        fields = self.connection.json("GET", "check", params={"ask": ask})
        edits = self.memory.edits

        def pairs(found: Iterable[tuple[str, str, str]]) -> list[Conflict]:
            """Conflicts of edits that are still there."""
            return [
                Conflict(kind, edits[new], edits[old])
                for kind, new, old in found
                if old in edits and new in edits
            ]

        with self.connection.reading():
            conflicts = pairs(("contradiction", new, old) for old, new in fields["conflicts"])
            asked = None
            if "unanswered" in fields:
                judged = pairs((one["kind"], one["new"], one["old"]) for one in fields["judged"])
                silent = [edits[key] for key in fields["unanswered"] if key in edits]
                answers = [(edit, self.ask(edit.prompt, edit.tags)) for edit in silent]
                asked = Editors(judged, fields["unsayable"], answers)
            problems = [check.Problem(**one) for one in fields["problems"]]
            return Checkup(fields["edits"], fields["expired"], problems, conflicts, asked)

    def undo(self) -> Operation:
        """Takes back the last operation of the memory."""
        return self.memory.undo()

    def redo(self) -> Operation:
        """Does again what was undone last."""
        return self.memory.redo()

    def try_edit(
        self, question: str, prompt: str, answer: str, tags: Iterable[str] = ()
    ) -> dict[str, Any]:
        """Asks a question as it is answered now, and as an edit that is not stored would answer it.

        Returns:
            "now", the fields of the answer now; "would_answer", "score", "threshold" and "text" of
            the edit alone.
        """
        draft = {"prompt": prompt, "answer": answer, "tags": list(tags)}
        return self.connection.json("POST", "try", json={"question": question, "edit": draft})

    def report(self, question: str, edit_id: str, wrong: str = "hit") -> None:
        """Reports a question that an edit answered, and should not have; `serac calibrate` reads
        the reports.

        Args:
            wrong: "miss": the edit should have answered, and did not.
        """
        row = {"question": question, "edit_id": edit_id, "wrong": wrong}
        self.connection.json("POST", "reports", json=row)

    def asked(
        self, path: str, question: str, tags: Asked, history: History, **fields: Any
    ) -> dict[str, Any]:
        """What the server says to a question."""
        records.text(question, "the question", records.NOT_EMPTY)
        seen = None if tags is None else [tags] if isinstance(tags, str) else list(tags)
        turns = [{"question": before, "answer": said} for before, said in history]
        body = {"question": question, "tags": seen} | ({"history": turns} if turns else {})
        return self.connection.json("POST", path, json=body | fields)

    def answer(self, fields: dict[str, Any], history: History) -> Answer:
        """An answer from its fields."""
        with self.connection.reading():
            return Answer(
                question=fields["question"],
                text=str(fields["text"]),
                edit_id=fields["edit_id"] and str(fields["edit_id"]),
                score=float(fields["score"]),
                nearest=self.near(fields["nearest"]),
                runner_up=self.near(fields["runner_up"]),
                unsure=bool(fields["unsure"]),
                base=lambda question: self.why(question, history=history).base_text,
            )

    def near(self, fields: dict[str, Any] | None) -> Near | None:
        """An edit and its score."""
        return Near(self.connection.edit(fields["edit"]), fields["score"]) if fields else None


def connect(
    url: str,
    api_key: str | None = None,
    *,
    timeout: float = 120.0,
    transport: httpx.BaseTransport | None = None,
) -> RemoteEditor:
    """Connects to a server that `serac serve` runs.

    Args:
        url: where it listens, such as http://127.0.0.1:8800.
        api_key: one that `serac serve key` made; by default $SERAC_API_KEY.
        timeout: seconds that an answer may take.
        transport: what requests go through instead of the network, as of `httpx.Client`.

    Returns:
        An editor with the methods of a local one. Nothing is sent before it is used.

    Raises:
        UserError: this is no URL of a server, or no API key.
    """
    api_key = api_key or os.environ.get("SERAC_API_KEY")
    return RemoteEditor(Connection(url, api_key, timeout, transport))
