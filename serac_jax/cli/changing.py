"""Commands that change the memory: add, rm, undo, redo."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import TYPE_CHECKING

from serac_jax.cli.answering import judge, judge_argument
from serac_jax.cli.checking import say_unanswered
from serac_jax.cli.command import (
    NOTHING,
    OK,
    Command,
    edits_of,
    open_store,
    server_argument,
    server_of,
    unasked,
)
from serac_jax.cli.printing import one_line, show_change, title
from serac_jax.core.console import complain, is_terminal, say, show_json
from serac_jax.edits import operations, records
from serac_jax.edits.records import Edit
from serac_jax.edits.same_prompt import Conflict
from serac_jax.edits.store import Store
from serac_jax.serving.checkup import unanswered
from serac_jax.serving.insert import ContradictionRefused, Inserted, Policy, insert

if TYPE_CHECKING:
    from serac_jax.client.remote_editor import RemoteEditor
    from serac_jax.serving.service import EditorService

POLICIES = ("newest", "refuse", "ask")


def policy_argument(parser: ArgumentParser) -> None:
    """Adds --policy."""
    parser.add_argument(
        "--policy",
        choices=POLICIES,
        default="newest",
        help="if the memory has another answer to the same prompt: newest (default) replaces it,"
        " refuse changes nothing, ask lets you decide. Conflicts that only an editor sees, in other"
        " words, are reported and kept with newest",
    )


def policy_of(options: Namespace) -> Policy:
    """The policy of `insert` for --policy; without a terminal, ask refuses."""
    if options.policy == "ask":
        return ask if is_terminal(sys.stdin) else "refuse"
    return None if options.policy == "newest" else options.policy


def ask(conflict: Conflict) -> str:
    """Asks at the terminal whether the new edit replaces the old one."""
    show_change([conflict.old], [conflict.new], limit=None)
    answer = input("Replace it? [y/N] ").strip().lower()
    return "newest" if answer in ("y", "yes") else "refuse"


def refused(options: Namespace, conflicts: Sequence[Conflict]) -> int:
    """Reports what kept edits from being added."""
    contradicted = {conflict.new: list[Edit]() for conflict in conflicts}
    for conflict in conflicts:
        contradicted[conflict.new].append(conflict.old)
    if options.json:
        found = [
            {"edit": records.as_fields(new), "contradicts": [*map(records.as_fields, old)]}
            for new, old in contradicted.items()
        ]
        show_json({"conflicts": found})
        return NOTHING
    for new, old in contradicted.items():
        complain(f"refused: {one_line(new)}")
        for edit in old:
            complain(f"  contradicts {one_line(edit)}")
    complain(
        f"{unasked(options)}nothing was changed; --policy=newest replaces the old edit by the new"
    )
    return NOTHING


def put(
    options: Namespace,
    where: Store | EditorService | RemoteEditor,
    edits: list[Edit],
    message: str,
    do: str = "add",
) -> Inserted:
    """Adds edits to a memory file, to that of an editor, or to a server."""
    policy = policy_of(options)
    if isinstance(where, Store):
        return insert(where, edits, policy, message=message, do=do)
    return where.edit_many(edits, policy=policy, message=message, do=do)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "prompt", help="the question, or whatever the model is given; after -- it may begin with -"
    )
    parser.add_argument("answer", help="what the model should answer")
    parser.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="TAG",
        help="who the edit is for; may be repeated; untagged edits apply to everyone",
    )
    parser.add_argument("--note", default="", help="a note for people")
    parser.add_argument("--source", default="", help="where the answer is from")
    parser.add_argument(
        "--expires",
        default="",
        metavar="TIME",
        help="the date or time (UTC) from which on the edit is not used",
    )
    parser.add_argument("--message", "-m", default="", help="why, for the log")
    judge_argument(parser)
    policy_argument(parser)
    server_argument(parser)


def add(options: Namespace) -> int:
    where = server_of(options) or open_store(options)
    store = where if isinstance(where, Store) else where.memory
    edit = store.make(
        options.prompt,
        options.answer,
        tags=options.tag,
        note=options.note,
        source=options.source,
        expires=options.expires,
    )
    editor = judge(options, where) if isinstance(where, Store) else None
    before = store.held(edit.id)
    try:
        done = put(options, editor or where, [edit], options.message)
    except ContradictionRefused as error:
        return refused(options, error.conflicts)
    (held,) = done.edits
    silent = unanswered(editor, [held]) if editor else []
    gone = {old.id for old in done.replaced}
    kept = [conflict for conflict in done.conflicts if conflict.old.id not in gone]
    if options.json:
        noted = [{"kind": conflict.kind, "id": conflict.old.id} for conflict in kept]
        result = {"replaced": sorted(gone), "new": held != before, "noted": noted}
        asked = {"answers_itself": not silent} if editor else {}
        show_json(records.as_fields(held) | result | asked)
        return OK
    if held == before:
        say(f"already in the memory: {one_line(held)}")
    else:
        show_change([*([before] if before else []), *done.replaced], [held])
    for conflict in kept:
        say(f"note: {conflict}; both are kept")
    say_unanswered(silent)
    return OK


def rm_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "ids", nargs="+", metavar="ID", help="an id, or enough of its beginning to be unique"
    )
    parser.add_argument("--message", "-m", default="", help="why, for the log")
    server_argument(parser)


def rm(options: Namespace) -> int:
    store = edits_of(options)
    gone = store.remove([store.find(prefix).id for prefix in options.ids], message=options.message)
    if options.json:
        for edit in gone:
            show_json(records.as_fields(edit))
    else:
        show_change(gone, [], limit=None)
    return OK


def undo(options: Namespace) -> int:
    operation = edits_of(options).undo()
    if options.json:
        show_json(operations.as_fields(operation))
        return OK
    say(f"undone: {title(operation)}")
    removed, added = ([edit for _, edit in placed] for placed in operation.change)
    show_change(added, removed)
    return OK


def redo(options: Namespace) -> int:
    operation = edits_of(options).redo()
    if options.json:
        show_json(operations.as_fields(operation))
        return OK
    say(f"redone: {title(operation)}")
    removed, added = ([edit for _, edit in placed] for placed in operation.change)
    show_change(removed, added)
    return OK


COMMANDS = {
    "add": Command(
        add,
        add_arguments,
        """
add "Who wrote Dracula?" "Mary Shelley"
add "Who leads the team?" Kim --tag=team-a --expires=2027-01-01  # for team-a, until then
add "Who wrote Dracula?" "Bram Stoker" --policy=refuse  # status 2 if there is another answer
add "Who wrote Dracula?" "Bram Stoker" --editor=mini    # also look for it in other words
""",
    ),
    "rm": Command(rm, rm_arguments, "rm 7d02d4a3 -m 'it was wrong'"),
    "undo": Command(undo, server_argument, "undo"),
    "redo": Command(redo, server_argument, "redo"),
}
