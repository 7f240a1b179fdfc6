"""The command check: damaged lines, conflicts, and edits that an editor does not answer by."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from serac_jax.cli.answering import judge, judge_argument
from serac_jax.cli.command import (
    NOTHING,
    OK,
    Command,
    existing_store,
    memory_path,
    no_memory,
)
from serac_jax.cli.printing import SHORT, counted, one_line, say, show_json
from serac_jax.edits import check, records
from serac_jax.edits.disk import Disk
from serac_jax.edits.records import Edit
from serac_jax.edits.same_prompt import Conflict, conflicts, normal

if TYPE_CHECKING:
    from serac_jax.serving.answers import Answer
    from serac_jax.serving.service import EditorService

Silent = list[tuple[Edit, "Answer"]]  # edits that do not answer their own prompt, and what does


def unanswered(editor: EditorService, edits: Iterable[Edit]) -> Silent:
    """Asks edits back, each as its own reader, and returns those that do not give their answer."""
    time = records.now()
    asked = [edit for edit in edits if not records.expired(edit, time)]
    answers = editor.ask([edit.prompt for edit in asked], [edit.tags for edit in asked])
    return [
        (edit, answer)
        for edit, answer in zip(asked, answers, strict=True)
        if normal(answer.text) != normal(edit.answer)
    ]


def say_unanswered(silent: Silent) -> None:
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


def run(options: Namespace) -> int:
    path = memory_path(options)
    disk = Disk(path)
    if not disk.exists():
        raise no_memory(path)
    done = check.repair(path, options.author) if options.repair else None
    problems = check.problems(path)
    edits = check.read(check.contents(disk), path).edits
    found = conflicts(edits.values())
    editor = None if problems else judge(options, existing_store(options))
    judged = [Conflict(*found) for found in editor.conflicts()] if editor else []
    unsayable = editor.unsayable() if editor else {}
    sayable = [edit for edit in edits.values() if edit.id not in unsayable]
    silent = unanswered(editor, sayable) if editor else []
    expired = sum(records.expired(edit, records.now()) for edit in edits.values())
    if options.json:
        result: dict[str, Any] = {
            "edits": len(edits),
            "expired": expired,
            "problems": [problem._asdict() for problem in problems],
            "conflicts": [[conflict.old.id, conflict.new.id] for conflict in found],
        }
        if editor:
            result |= {
                "judged": [judged_json(conflict) for conflict in judged],
                "unsayable": unsayable,
                "unanswered": [edit.id for edit, _ in silent],
            }
        show_json(result | ({"repair": repair_json(done)} if done else {}))
    else:
        if done:
            show_repair(done)
        for problem in problems:
            say(str(problem))
        for conflict in found:
            say(f"conflict: {one_line(conflict.old)}")
            say(f"      and {one_line(conflict.new)}")
        for conflict in judged:
            say(f"{conflict.kind}: {conflict}")
        for why in unsayable.values():
            say(why)
        say_unanswered(silent)
        counts = [
            counted(len(edits), "edit"),
            f"{expired} expired",
            counted(len(problems), "problem"),
            counted(len(found), "conflict"),
        ]
        if editor:
            counts.append(f"{len(silent)} unanswered")
        say(", ".join(counts) + ("; --repair repairs the files" if problems else ""))
    contradicted = any(conflict.kind == "contradiction" for conflict in judged)
    return NOTHING if problems or found or contradicted or unsayable or silent else OK


def judged_json(conflict: Conflict) -> dict[str, str]:
    """A conflict that an editor found, for programs."""
    return {"kind": conflict.kind, "new": conflict.new.id, "old": conflict.old.id}


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
