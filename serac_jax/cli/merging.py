"""The command merge, which is also a merge driver for git."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from serac_jax.cli.command import NOTHING, OK, Command, existing_store, memory_path, plain, unasked
from serac_jax.cli.printing import counted, one_line, show_change
from serac_jax.core import files
from serac_jax.core.console import complain, say, show_json
from serac_jax.edits import merge, records
from serac_jax.edits.merge import Clash, Side

SETTLE = {"newest": merge.newest, "ours": merge.ours, "theirs": merge.theirs}


def merge_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "theirs", metavar="THEIRS", help="the memory file to merge into this memory"
    )
    parser.add_argument(
        "--base",
        metavar="FILE",
        help="the memory file that both come from; without it nothing counts as removed",
    )
    parser.add_argument(
        "--git",
        metavar="BASE",
        help="act as git's merge driver: merge THEIRS into the --memory file itself, without its"
        " journal, and mark clashes in it",
    )
    policies = (*SETTLE, "refuse", "ask")
    parser.add_argument(
        "--policy",
        choices=policies,
        default="refuse",
        help="if both changed the answer to a prompt; by default nothing is merged then",
    )


def merge_memories(options: Namespace) -> int:
    if options.git:
        return merge_for_git(options)
    store = existing_store(options)
    base, theirs = plain(options.base) if options.base else {}, plain(options.theirs)
    can_ask = options.policy == "ask" and sys.stdin.isatty()
    with store.turn():
        merged = merge.merge(
            base, store.edits, theirs, ask if can_ask else SETTLE.get(options.policy, merge.ours)
        )
        if merged.clashes and options.policy not in SETTLE and not can_ask:
            return clashing(options, merged.clashes)
        change = store.replace_all(
            merged.edits.values(), do="merge", message=f"with {options.theirs}"
        )
    removed, added = ([edit for _, edit in placed] for placed in change)
    if options.json:
        show_json(
            {
                "removed": [edit.id for edit in removed],
                "added": [edit.id for edit in added],
                "clashes": len(merged.clashes),
            }
        )
    else:
        show_change(removed, added)
        say(
            f"{len(added)} added, {len(removed)} removed,"
            f" {counted(len(merged.clashes), 'clash', 'clashes')} settled"
        )
    return OK


def ask(clash: Clash) -> Side:
    """Asks at the terminal which side of a clash stays."""
    say("both sides changed this prompt:")
    for name, side in (("before", clash.base), ("ours", clash.ours), ("theirs", clash.theirs)):
        for edit in side:
            say(f"  {name + ':':8}{one_line(edit)}, {edit.author or 'nobody'} {edit.time}")
    while True:
        answer = input("Keep [o]urs, [t]heirs or [b]oth? ").strip().lower()[:1]
        if answer in ("o", "t", "b"):
            return {"o": clash.ours, "t": clash.theirs, "b": (*clash.ours, *clash.theirs)}[answer]


def clashing(options: Namespace, clashes: tuple[Clash, ...]) -> int:
    """Reports what kept two memories from being merged."""
    if options.json:
        show_json(
            {
                "clashes": [
                    {
                        name: [records.as_fields(edit) for edit in side]
                        for name, side in clash._asdict().items()
                    }
                    for clash in clashes
                ]
            }
        )
        return NOTHING
    for clash in clashes:
        for name, side in clash._asdict().items():
            for edit in side or [None]:
                say(f"{name + ':':8}{one_line(edit) if edit else '(no edit)'}", sys.stderr)
        complain("")
    say(
        f"{counted(len(clashes), 'clash', 'clashes')}; {unasked(options)}nothing was changed;"
        " --policy=newest, ours, theirs or ask settles them",
        sys.stderr,
    )
    return NOTHING


def merge_for_git(options: Namespace) -> int:
    """Merges as git asks for it: three files without journals, of which the second is the result.

    Any status but 0 is a conflict to git.
    """
    ours_file = memory_path(options)
    base, ours, theirs = (
        plain(name) if files.read(Path(name)) else {}
        for name in (options.git, str(ours_file), options.theirs)
    )
    merged = merge.merge(base, ours, theirs, SETTLE.get(options.policy, merge.ours))
    rows = {key: records.format(edit) for key, edit in merged.edits.items()}
    settled = options.policy in SETTLE or not merged.clashes
    marked = () if settled else {edit.id for clash in merged.clashes for edit in clash.ours}
    lines = [records.HEADER, *(row for key, row in rows.items() if key not in marked)]
    for clash in () if settled else merged.clashes:
        lines += ["<<<<<<< ours", *map(records.format, clash.ours)]
        lines += ["=======", *map(records.format, clash.theirs), ">>>>>>> theirs"]
    files.write(ours_file, "".join(f"{line}\n" for line in lines).encode())
    return OK if settled else NOTHING


COMMANDS = {
    "merge": Command(
        merge_memories,
        merge_arguments,
        """
merge theirs.jsonl --base=ancestor.jsonl
merge theirs.jsonl --policy=newest
""",
    ),
}
