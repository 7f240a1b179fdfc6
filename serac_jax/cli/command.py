"""What a command is, and what all commands share: the memory, statuses, and printing for people or
for programs."""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from serac_jax.core.errors import UserError
from serac_jax.edits import memory_file, records
from serac_jax.edits.operations import Operation
from serac_jax.edits.records import Edit
from serac_jax.edits.store import Store

OK, FAILED, NOTHING = (
    0,
    1,
    2,
)  # exit statuses; NOTHING: nothing was found, or a conflict kept it from being done
SHORT = 8  # digits of an id that people are shown
AT_MOST = 10  # edits of one operation that people are shown


class Command(NamedTuple):
    """A row of the table of commands."""

    name: str
    help: str  # what it does, in a line
    examples: str  # command lines, each with what it is for behind #
    arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]  # gives the exit status


def nothing_more(parser: ArgumentParser) -> None:
    """The arguments of a command that has none of its own."""


def memory_path(options: Namespace) -> Path:
    return Path(options.memory or os.environ.get("SERAC_MEMORY") or "edits.jsonl")


def open_store(options: Namespace) -> Store:
    """The memory, which is made by the first edit."""
    return Store.open(memory_path(options), options.author)


def existing_store(options: Namespace) -> Store:
    """The memory. Raises UserError where there is none, nor a journal that could tell of it."""
    store = open_store(options)
    if not store.seq and not memory_path(options).exists():
        raise UserError(
            f"there is no memory {memory_path(options)}; `add` begins one, and --memory or"
            " $SERAC_MEMORY names another"
        )
    return store


def exclusive(store: Store, options: Namespace) -> AbstractContextManager[None]:
    """No other program writes between looking and changing, unless a person is asked in between,
    who may take long."""
    return nullcontext() if options.policy == "ask" else store.turn()


def unasked(options: Namespace) -> str:
    """What tells why a person was not asked who should have been."""
    return (
        "there is no terminal to ask at; "
        if options.policy == "ask" and not sys.stdin.isatty()
        else ""
    )


def plain(path: str) -> dict[str, Edit]:
    """The edits of a memory file as they are there, without its journal. Raises UserError with the
    line."""
    if not Path(path).is_file():
        raise UserError(f"there is no file {path}")
    return memory_file.parse(memory_file.read(Path(path)), Path(path)).edits


def show_json(value: Any) -> None:
    """One line for programs."""
    print(json.dumps(value, ensure_ascii=False))


def one_line(edit: Edit) -> str:
    """An edit for people."""
    tags = f"  [{', '.join(edit.tags)}]" if edit.tags else ""
    gone = f"  (expired {edit.expires[:10]})" if records.expired(edit, records.now()) else ""
    return f"{edit.id[:SHORT]}  {visible(edit.prompt)} → {visible(edit.answer)}{tags}{gone}"


def visible(text: str) -> str:
    """A text on one line, without what would move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def show_change(
    removed: Iterable[Edit], added: Iterable[Edit], limit: int | None = AT_MOST
) -> None:
    """Lines with − and + for people; no more of each than the limit. Of an edit that only says
    other things about itself, also those."""
    went, came = list(removed), list(added)
    for sign, edits, others in (("-", went, came), ("+", came, went)):
        other = {edit.id: edit for edit in others}
        for edit in edits[:limit]:
            print(f"{sign} {one_line(edit)}{changed_fields(edit, other.get(edit.id, edit))}")
        if limit is not None and len(edits) > limit:
            print(f"{sign} … {len(edits) - limit} more")


def changed_fields(edit: Edit, other: Edit) -> str:
    """What an edit says about itself otherwise than another one of the same id."""
    differing = [
        f"{name}: {visible(getattr(edit, name))}"
        for name in ("note", "source", "expires")
        if getattr(edit, name) not in ("", getattr(other, name))
    ]
    return f"  ({', '.join(differing)})" if differing else ""


def counted(count: int, name: str, plural: str = "") -> str:
    """As "1 edit" and "2 edits"."""
    return f"{count} {name if count == 1 else plural or f'{name}s'}"


def title(operation: Operation) -> str:
    of = f" {operation.of}" if operation.of else ""
    message = f": {visible(operation.message)}" if operation.message else ""
    return (
        f"{operation.seq}  {operation.time}  {visible(operation.author) or 'nobody'} "
        f" {operation.do}{of}{message}"
    )


def as_json(operation: Operation) -> dict[str, Any]:
    """An operation for programs."""
    named = {
        name: getattr(operation, name)
        for name in ("seq", "time", "author", "do", "message", "of", "count")
    }
    removed, added = (
        [records.as_fields(edit) for _, edit in placed] for placed in operation.change
    )
    return named | {"removed": removed, "added": added}
