"""The command that looks for damage and conflicts, and mends files."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from serac_jax.cli.answering import judge, judge_argument
from serac_jax.cli.command import NOTHING, OK, Command, existing_store, memory_path, no_memory
from serac_jax.cli.printing import counted, one_line, say, show_json
from serac_jax.edits import check, records
from serac_jax.edits.disk import Disk, journal_of
from serac_jax.edits.same_prompt import conflicts


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--repair",
        action="store_true",
        help=(
            "make the memory open again with everything that can be read; what cannot goes to"
            " ….damaged"
        ),
    )
    judge_argument(parser)


def run(options: Namespace) -> int:
    path = memory_path(options)
    if not path.exists() and not journal_of(path).exists():
        raise no_memory(path)
    done = check.repair(path, options.author) if options.repair else None
    problems = check.problems(path)
    edits = check.read(check.contents(Disk(path)), path).edits
    found = conflicts(edits.values())
    editor = None if problems else judge(options, existing_store(options))
    judged, unsayable = (editor.conflicts(), editor.unsayable()) if editor else ([], {})
    expired = [edit for edit in edits.values() if records.expired(edit, records.now())]
    if options.json:
        named = [problem._asdict() for problem in problems]
        pairs = [[conflict.first.id, conflict.second.id] for conflict in found]
        kinds = [
            {"kind": conflict.kind, "new": conflict.new.id, "old": conflict.old.id}
            for conflict in judged
        ]
        by_editor = {"judged": kinds, "unsayable": unsayable} if editor else {}
        repaired = {"repair": repair_as_json(done)} if done else {}
        show_json(
            {"edits": len(edits), "expired": len(expired), "problems": named, "conflicts": pairs}
            | by_editor
            | repaired
        )
    else:
        if done:
            show_repair(done)
        for problem in problems:
            say(str(problem))
        for conflict in found:
            say(f"conflict: {one_line(conflict.first)}")
            say(f"      and {one_line(conflict.second)}")
        for conflict in judged:
            say(f"{conflict.kind}: {conflict}")
        for why in unsayable.values():
            say(why)
        counts = (
            counted(len(edits), "edit"),
            f"{len(expired)} expired",
            counted(len(problems), "problem"),
            counted(len(found), "conflict"),
        )
        say(f"{', '.join(counts)}{'; --repair mends the files' if problems else ''}")
    contradicted = any(conflict.kind == "contradiction" for conflict in judged)
    return NOTHING if problems or found or contradicted or unsayable else OK


def repair_as_json(done: check.Repaired) -> dict[str, Any]:
    restored = [records.as_fields(edit) for edit in done.restored]
    return {
        "kept": done.kept,
        "restored": restored,
        "damaged": done.damaged and str(done.damaged),
        "journal": done.journal and str(done.journal),
    }


def show_repair(done: check.Repaired) -> None:
    say(f"kept {counted(done.kept, 'edit')} of the file")
    for edit in done.restored:
        say(f"brought back from the journal: {one_line(edit)}")
    for name, file in (
        ("lines that cannot be read", done.damaged),
        ("the damaged journal", done.journal),
    ):
        if file:
            say(f"{name}: {file.name}")


COMMANDS = {
    "check": Command(
        run,
        arguments,
        """
check
check --repair
check --editor=mini  # also contradictions in other words, and answers that the editor cannot say
check --json | jq .conflicts
""",
    ),
}
