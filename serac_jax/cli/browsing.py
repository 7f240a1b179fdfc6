"""Commands that read the memory: list, show, log, diff."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping
from itertools import islice

from serac_jax.cli.command import NOTHING, OK, Command, edits_of, is_file, plain, server_argument
from serac_jax.cli.printing import AT_MOST, one_line, show_change, title
from serac_jax.core.console import say, show_json
from serac_jax.core.errors import UserError
from serac_jax.edits import operations, records
from serac_jax.edits.operations import Operation
from serac_jax.edits.records import Edit


def moment(value: str) -> int | str:
    """The number of an operation, or a time, which is checked later."""
    return int(value) if value.isascii() and value.isdigit() and len(value) < 8 else value


def amount(value: str) -> int:
    """A number of operations.

    Raises:
      ArgumentTypeError: It is negative or no number.
    """
    if not value.isdecimal():
        raise ArgumentTypeError(f"expected a number from 0, not {value!r}")
    return min(int(value), sys.maxsize)


def as_of_argument(parser: ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--as-of",
        type=moment,
        metavar="WHEN",
        help=f"{what} after an operation (its number) or at a time (2026-01-31 or"
        " 2026-01-31T12:00, UTC)",
    )


def list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "text",
        nargs="?",
        default="",
        help="only edits with this text in their prompt, answer or note; case is ignored",
    )
    parser.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="TAG",
        help="only edits with this tag; repeated: with any of them",
    )
    parser.add_argument("--by", metavar="NAME", help="only edits of this author")
    parser.add_argument("--all", action="store_true", help="expired edits too")
    as_of_argument(parser, "the memory as it was")
    server_argument(parser)


def list_edits(options: Namespace) -> int:
    store = edits_of(options)
    time = options.as_of if isinstance(options.as_of, str) else records.now()
    edits = store.edits if options.as_of is None else store.as_of(options.as_of)
    found = [
        edit
        for edit in edits.values()
        if wanted(edit, options)
        and (options.all or not records.expired(edit, records.utc(time, "--as-of")))
    ]
    for edit in found:
        show_json(records.as_fields(edit)) if options.json else say(one_line(edit))
    return OK if found else NOTHING


def wanted(edit: Edit, options: Namespace) -> bool:
    """Whether an edit matches the text, tags and author of a command line."""
    text = options.text.casefold()
    says = any(text in field.casefold() for field in (edit.prompt, edit.answer, edit.note))
    return (
        says
        and (not options.tag or bool(set(options.tag) & set(edit.tags)))
        and options.by in (None, edit.author)
    )


def show_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "ids", nargs="+", metavar="ID", help="an id, or enough of its beginning to be unique"
    )
    server_argument(parser)


def show(options: Namespace) -> int:
    store = edits_of(options)
    for number, edit in enumerate([store.find(prefix) for prefix in options.ids]):
        if options.json:
            show_json(records.as_fields(edit))
        else:
            if number:
                say("")
            for name, value in records.as_fields(edit).items():
                say(f"{name + ':':9}{', '.join(value) if name == 'tags' else value}")
    return OK


def log_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "id",
        nargs="?",
        metavar="ID",
        help="only operations on this edit; give the whole id of one that was removed",
    )
    parser.add_argument("-n", type=amount, metavar="N", help="at most the newest N")
    parser.add_argument("--by", metavar="NAME", help="only operations of this author")
    parser.add_argument("--full", action="store_true", help="all edits of large operations")
    as_of_argument(parser, "the log as it was")
    server_argument(parser)


def log(options: Namespace) -> int:
    store = edits_of(options)
    touched = (
        options.id if options.id is None or len(options.id) == 16 else store.find(options.id).id
    )
    found = 0
    for operation in islice(
        (
            operation
            for operation in store.log(until=options.as_of)
            if in_log(operation, options, touched)
        ),
        options.n,
    ):
        if options.json:
            show_json(operations.as_fields(operation))
        else:
            say(title(operation))
            show_change(
                *([edit for _, edit in placed] for placed in operation.change),
                limit=None if options.full else AT_MOST,
            )
        found += 1
    return OK if found else NOTHING


def in_log(operation: Operation, options: Namespace, touched: str | None) -> bool:
    """Whether an operation matches the author and id of a command line."""
    ids = (edit.id for placed in operation.change for _, edit in placed)
    return options.by in (None, operation.author) and touched in (None, *ids)


def diff_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "old",
        nargs="?",
        metavar="FROM",
        help="a memory file, an operation's number, or a time; by default before the newest"
        " operation",
    )
    parser.add_argument(
        "new", nargs="?", metavar="TO", help="the same; by default the memory as it is now"
    )
    server_argument(parser)


def diff(options: Namespace) -> int:
    old, new = state(options, options.old, newest=False), state(options, options.new, newest=True)
    removed = [edit for key, edit in old.items() if new.get(key) != edit]
    added = [edit for key, edit in new.items() if old.get(key) != edit]
    if options.json:
        show_json(
            {
                "removed": [records.as_fields(edit) for edit in removed],
                "added": [records.as_fields(edit) for edit in added],
            }
        )
    else:
        show_change(removed, added, limit=None)
    return OK


def state(options: Namespace, value: str | None, newest: bool) -> Mapping[str, Edit]:
    """The edits that one side of `diff` names.

    Raises:
      UserError: It is not a file, a number or a time.
    """
    if value is not None and is_file(value):
        return plain(value)
    store = edits_of(options)
    if value is None:
        return store.edits if newest else store.as_of(max(store.seq - 1, 0))
    try:
        return store.as_of(moment(value))
    except UserError as error:
        raise UserError(
            f"{value[:200]!r} is not a file, an operation's number up to {store.seq}, or a time as"
            " 2026-01-31 or 2026-01-31T12:00"
        ) from error


COMMANDS = {
    "list": Command(
        list_edits,
        list_arguments,
        """
list                      # the edits in use
list dracula --tag=books  # with this word and tag
list --as-of=2026-01-31   # as it was then
list --as-of=5            # after operation 5
list --json | jq -r .prompt
""",
    ),
    "show": Command(
        show,
        show_arguments,
        """
show 7d02d4a3
""",
    ),
    "log": Command(
        log,
        log_arguments,
        """
log -n 3
log 7d02d4a3            # who changed this edit
log --by=Ann --json
log --as-of=2026-01-31  # up to then
""",
    ),
    "diff": Command(
        diff,
        diff_arguments,
        """
diff                  # what the newest operation changed
diff 5                # since operation 5
diff 2026-01-31       # since that time
diff old.jsonl        # from another memory file to this one
diff a.jsonl b.jsonl
""",
    ),
}
