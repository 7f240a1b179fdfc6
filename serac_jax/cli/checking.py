"""The command check: damaged lines, conflicts, and edits that an editor does not answer by."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from serac_jax.cli.answering import judge, judge_argument
from serac_jax.cli.command import (
    NOTHING,
    OK,
    Command,
    existing_store,
    memory_path,
    no_memory,
    server_argument,
    server_of,
)
from serac_jax.cli.printing import SHORT, counted, one_line
from serac_jax.core.console import say, show_json
from serac_jax.edits import check, records
from serac_jax.edits.disk import Disk
from serac_jax.serving import checkup
from serac_jax.serving.checkup import Checkup, Unanswered


def say_unanswered(silent: Unanswered) -> None:
    """Prints edits that do not answer their own prompt."""
    for edit, answer in silent:
        by = f"by edit {answer.edit_id[:SHORT]}" if answer.edit_id else "by no edit"
        say(f"does not answer: {one_line(edit)}; the editor says {answer.text!r}, {by}")


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--repair",
        action="store_true",
        help="make the memory open again with all that can be read; the rest goes to ….damaged",
    )
    judge_argument(parser)
    server_argument(parser)


def run(options: Namespace) -> int:
    if server := server_of(options):
        return show(options, server.check())
    path = memory_path(options)
    disk = Disk(path)
    if not disk.exists():
        raise no_memory(path)
    done = check.repair(path, options.author) if options.repair else None
    problems = check.problems(path)
    edits = check.read(check.contents(disk), path).edits
    editor = None if problems else judge(options, existing_store(options))
    found = checkup.check(edits, problems, editor)
    return show(options, found, done)


def show(options: Namespace, found: Checkup, done: check.Repaired | None = None) -> int:
    """Prints what was found and repaired, and returns the exit status."""
    if options.json:
        show_json(found.as_fields() | ({"repair": repair_json(done)} if done else {}))
    else:
        if done:
            show_repair(done)
        show_checkup(found)
    return OK if found.fine else NOTHING


def show_checkup(found: Checkup) -> None:
    """Prints what was found."""
    for problem in found.problems:
        say(str(problem))
    for conflict in found.conflicts:
        say(f"conflict: {one_line(conflict.old)}")
        say(f"      and {one_line(conflict.new)}")
    counts = [
        counted(found.edits, "edit"),
        f"{found.expired} expired",
        counted(len(found.problems), "problem"),
        counted(len(found.conflicts), "conflict"),
    ]
    if asked := found.asked:
        for conflict in asked.judged:
            say(f"{conflict.kind}: {conflict}")
        for why in asked.unsayable.values():
            say(why)
        say_unanswered(asked.unanswered)
        counts.append(f"{len(asked.unanswered)} unanswered")
    say(", ".join(counts) + ("; --repair repairs the files" if found.problems else ""))


def repair_json(done: check.Repaired) -> dict[str, Any]:
    """What was repaired, for programs."""
    return {
        "kept": done.kept,
        "restored": [records.as_fields(edit) for edit in done.restored],
        "damaged": done.damaged and str(done.damaged),
        "journal": done.journal and str(done.journal),
    }


def show_repair(done: check.Repaired) -> None:
    """Prints what was repaired."""
    say(f"kept {counted(done.kept, 'edit')} of the file")
    for edit in done.restored:
        say(f"restored from the journal: {one_line(edit)}")
    if done.damaged:
        say(f"lines that cannot be read: {done.damaged.name}")
    if done.journal:
        say(f"the damaged journal: {done.journal.name}")


COMMANDS = {
    "check": Command(
        run,
        arguments,
        """
check
check --repair
check --editor=mini  # also conflicts in other words, and asks every edit back
check --json | jq .conflicts
""",
    ),
}
