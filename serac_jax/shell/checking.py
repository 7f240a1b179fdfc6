"""The command that looks for damage and conflicts, and mends files."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from serac_jax.errors import UserError
from serac_jax.shell.command import NOTHING, OK, Command, memory_file, one_line, show_json
from serac_jax.store import check, files
from serac_jax.store import edits as texts
from serac_jax.store.conflicts import conflicts
from serac_jax.store.disk import journal_of


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--repair", action="store_true", help="make the memory open again with everything that can be read; what cannot goes to ….damaged")


def run(options: Namespace) -> int:
    path = memory_file(options)
    if not path.exists() and not journal_of(path).exists():
        raise UserError(f"there is no memory {path}; `add` begins one, and --memory or $SERAC_MEMORY names another")
    if options.repair:
        repair(options)
    problems = check.problems(path)
    edits = check.read(files.read(path), path).edits
    found = conflicts(edits.values())
    expired = [edit for edit in edits.values() if texts.expired(edit, texts.now())]
    if options.json:
        show_json(
            {
                "edits": len(edits),
                "expired": len(expired),
                "problems": [problem._asdict() for problem in problems],
                "conflicts": [[conflict.first.id, conflict.second.id] for conflict in found],
            }
        )
    else:
        for problem in problems:
            print(problem)
        for conflict in found:
            print(f"conflict: {one_line(conflict.first)}\n      and {one_line(conflict.second)}")
        print(f"{len(edits)} edits, {len(expired)} expired, {len(problems)} problems, {len(found)} conflicts{'; --repair mends the files' if problems else ''}")
    return NOTHING if problems or found else OK


def repair(options: Namespace) -> None:
    done = check.repair(memory_file(options), options.author)
    if options.json:
        return
    print(f"kept {done.kept} edits of the file")
    for edit in done.restored:
        print(f"brought back from the journal: {one_line(edit)}")
    for name, file in (("lines that cannot be read", done.damaged), ("the damaged journal", done.journal)):
        if file:
            print(f"{name}: {file.name}")


COMMANDS = (
    Command("check", "look for damaged lines, and for edits that contradict each other", "check\ncheck --repair\ncheck --json | jq .conflicts", arguments, run),
)
