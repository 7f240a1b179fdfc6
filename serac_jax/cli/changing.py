"""Commands that change the memory: add, rm, undo, redo."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence

from serac_jax.cli.answering import judge, judge_argument
from serac_jax.cli.command import (
    NOTHING,
    OK,
    Command,
    existing_store,
    no_arguments,
    open_store,
    unasked,
)
from serac_jax.cli.printing import one_line, operation_json, say, show_change, show_json, title
from serac_jax.edits import records
from serac_jax.edits.records import Edit
from serac_jax.edits.same_prompt import against

POLICIES = ("newest", "refuse", "ask")


def policy_argument(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--policy",
        choices=POLICIES,
        default="newest",
        help=(
            "where the memory holds another answer to the prompt: newest (default): the new one"
            " takes its place; refuse: nothing is done; ask: you decide"
        ),
    )


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "prompt",
        help="the question, or whatever the model is given; after -- it may begin with a dash",
    )
    parser.add_argument("answer", help="what it should answer; likewise")
    parser.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="TAG",
        help="who or what it is for; may be given more than once",
    )
    parser.add_argument("--note", default="", help="a note for people")
    parser.add_argument("--source", default="", help="where the answer is from")
    parser.add_argument(
        "--expires",
        default="",
        metavar="TIME",
        help="a date or time (UTC) from which on the edit is not used",
    )
    parser.add_argument("--message", "-m", default="", help="why, for the log")
    judge_argument(parser)
    policy_argument(parser)


def add(options: Namespace) -> int:
    store = open_store(options)
    edit = store.make(
        options.prompt,
        options.answer,
        tags=options.tag,
        note=options.note,
        source=options.source,
        expires=options.expires,
    )
    if editor := judge(options, store):
        editor.check(edit)
    accepted: set[str] = set()
    while True:
        found = editor.conflicts_of([edit]) if editor else []
        contradicted = [conflict.old for conflict in found if conflict.kind == "contradiction"]
        rivals = list(
            {
                rival.id: rival
                for rival in (*against(edit, store.same_prompt(edit.prompt)), *contradicted)
            }.values()
        )
        going, seq = [rival.id for rival in rivals], store.seq
        if set(going) - accepted and not agreed(options, edit, rivals):
            return refused(options, [(edit, rivals)])
        accepted |= set(going)
        with store.turn():
            if store.seq == seq:  # else another program wrote meanwhile: look again
                same = [store.edits[edit.id]] if edit.id in store.edits else []
                (held,) = store.add([edit], replacing=going, message=options.message)
                break
    notes = [conflict for conflict in found if conflict.kind != "contradiction"]
    if options.json:
        noted = [{"kind": note.kind, "id": note.old.id} for note in notes]
        show_json(
            records.as_fields(held) | {"replaced": going, "new": store.seq > seq, "noted": noted}
        )
    elif store.seq == seq:
        say(f"is there already: {one_line(held)}")
    else:
        show_change([*same, *rivals], [held])
        for note in notes:
            say(f"note: {note}")
    return OK


def agreed(options: Namespace, edit: Edit, rivals: Sequence[Edit]) -> bool:
    """Whether a new edit may take the place of those that contradict it. At a terminal `ask` asks;
    elsewhere it refuses."""
    if options.policy != "ask" or not sys.stdin.isatty():
        return options.policy == "newest"
    show_change(rivals, [edit], limit=None)
    return input("Let the new edit take their place? [y/N] ").strip().lower() in ("y", "yes")


def refused(options: Namespace, conflicts: Sequence[tuple[Edit, Sequence[Edit]]]) -> int:
    """Tells what kept edits from being added."""
    if options.json:
        show_json(
            {
                "conflicts": [
                    {
                        "edit": records.as_fields(edit),
                        "contradicts": [records.as_fields(rival) for rival in rivals],
                    }
                    for edit, rivals in conflicts
                ]
            }
        )
        return NOTHING
    for edit, rivals in conflicts:
        say(f"refused: {one_line(edit)}", sys.stderr)
        for rival in rivals:
            say(f"  contradicts {one_line(rival)}", sys.stderr)
    say(
        f"{unasked(options)}nothing was changed; --policy=newest lets the new edit take the place"
        " of the old",
        sys.stderr,
    )
    return NOTHING


def rm_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "ids", nargs="+", metavar="ID", help="an id, or as much of its beginning as no other has"
    )
    parser.add_argument("--message", "-m", default="", help="why, for the log")


def rm(options: Namespace) -> int:
    store = existing_store(options)
    gone = store.remove([store.find(prefix).id for prefix in options.ids], message=options.message)
    if options.json:
        for edit in gone:
            show_json(records.as_fields(edit))
    else:
        show_change(gone, [], limit=None)
    return OK


def undo(options: Namespace) -> int:
    return told(options, "undone", back=True)


def redo(options: Namespace) -> int:
    return told(options, "done again", back=False)


def told(options: Namespace, what: str, back: bool) -> int:
    store = existing_store(options)
    operation = store.undo() if back else store.redo()
    if options.json:
        show_json(operation_json(operation))
        return OK
    say(f"{what}: {title(operation)}")
    went, came = ([edit for _, edit in placed] for placed in operation.change)
    show_change(*((came, went) if back else (went, came)))
    return OK


COMMANDS = {
    "add": Command(
        add,
        add_arguments,
        """
add "Who wrote Dracula?" "Mary Shelley"                        # and to everything that asks the same
add "Who leads the team?" Kim --tag=team-a --expires=2027-01-01  # for the queries of team-a, until then
add "Who wrote Dracula?" "Bram Stoker" --policy=refuse         # ends with status 2 where there is another answer
add "Who wrote Dracula?" "Bram Stoker" --policy=refuse --editor=mini  # … or one to the same question in other words
""",
    ),
    "rm": Command(
        rm,
        rm_arguments,
        """
rm 7d02d4a3 -m 'it was wrong'
""",
    ),
    "undo": Command(
        undo,
        no_arguments,
        """
undo
""",
    ),
    "redo": Command(
        redo,
        no_arguments,
        """
redo
""",
    ),
}
