"""Commands for the files of other programs: import, export."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from contextlib import nullcontext
from pathlib import Path

from serac_jax.cli.changing import agreed, policy_argument, refused
from serac_jax.cli.command import NOTHING, OK, Command, existing_store, open_store
from serac_jax.cli.printing import say, show_json
from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.edits import exchange, records
from serac_jax.edits.records import Edit
from serac_jax.edits.same_prompt import against, normal
from serac_jax.edits.store import Store


def import_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="edits or rows of zsRE, as JSON lines or CSV; - is the standard input",
    )
    parser.add_argument(
        "--format",
        choices=("jsonl", "csv"),
        help="by default what the file's name ends with, else jsonl",
    )
    parser.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="TAG",
        help="put this tag on every edit, besides its own",
    )
    parser.add_argument(
        "--source", default="", help="where the edits are from, for those that do not say"
    )
    parser.add_argument("--message", "-m", default="", help="why, for the log")
    policy_argument(parser)


def import_edits(options: Namespace) -> int:
    store = open_store(options)
    defaults = {"author": store.author, "time": records.now()} | (
        {"source": options.source} if options.source else {}
    )
    found = [
        tagged(edit, options.tag)
        for name in options.files
        for edit in exchange.read(contents(name), kind(name, options.format), name, **defaults)
    ]
    with nullcontext() if options.policy == "ask" else store.turn():
        wanted, replaced, conflicts = settled(store, found, options)
        if conflicts:
            return refused(options, conflicts)
        before = dict(store.edits)
        store.add(
            wanted,
            replacing=replaced,
            message=options.message or f"from {', '.join(options.files)}",
            do="import",
        )
    new = [edit for key, edit in store.edits.items() if before.get(key) != edit]
    if options.json:
        show_json({"read": len(found), "added": len(new), "replaced": sorted(replaced)})
    else:
        say(f"{len(found)} read, {len(new)} added, {len(replaced)} replaced")
    return OK


def settled(
    store: Store, found: list[Edit], options: Namespace
) -> tuple[list[Edit], set[str], list[tuple[Edit, list[Edit]]]]:
    """Edits to add, ids that they replace, and conflicts that the policy refuses. Among themselves,
    the later edit counts."""
    wanted: dict[str, Edit] = {}
    by_prompt: dict[str, list[str]] = {}
    replaced: set[str] = set()
    conflicts = []
    for edit in found:
        ids = by_prompt.setdefault(normal(edit.prompt), [])
        earlier = against(edit, [wanted[key] for key in ids if key in wanted])
        rivals = [
            rival
            for rival in against(edit, store.same_prompt(edit.prompt))
            if rival.id not in replaced
        ]
        if (earlier or rivals) and not agreed(options, edit, [*rivals, *earlier]):
            conflicts.append((edit, [*rivals, *earlier]))
        for rival in earlier:
            del wanted[rival.id]
        replaced |= {rival.id for rival in rivals}
        wanted[edit.id] = edit
        ids.append(edit.id)
    return list(wanted.values()), replaced - wanted.keys(), conflicts


def tagged(edit: Edit, tags: list[str]) -> Edit:
    return records.from_fields(
        edit._asdict()
        | {
            "tags": [*edit.tags, *tags],
            "id": records.edit_id(edit.prompt, edit.answer, {*edit.tags, *tags}),
        },
        "--tag",
    )


def contents(name: str) -> str:
    """A file's text, or the standard input's. Raises UserError."""
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
        return data.decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"cannot read {name} ({error.strerror})") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{name}:{line}: not UTF-8 text") from error


def kind(name: str, given: str | None) -> str:
    return given or ("csv" if name.lower().endswith(".csv") else "jsonl")


def export_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "file",
        nargs="?",
        default="-",
        metavar="FILE",
        help="what to write; by default, and as -, the standard output",
    )
    parser.add_argument(
        "--format",
        choices=exchange.FORMATS,
        help=(
            "jsonl: a memory file; zsre: rows as zsRE has them; by default what the name ends with"
        ),
    )
    parser.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="TAG",
        help="only edits with this tag; more than once: with any of them",
    )
    parser.add_argument("--all", action="store_true", help="expired edits too")
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        help="instead of edits, export a run's trained networks there, as Hugging Face folders",
    )
    parser.add_argument(
        "--workdir", metavar="FOLDER", help="with --out: the run (default: the newest under runs/)"
    )


def export(options: Namespace) -> int:
    if options.out or options.workdir:
        return export_run(options)
    store = existing_store(options)
    edits = (store.edits if options.all else store.live()).values()
    found = [edit for edit in edits if not options.tag or set(options.tag) & set(edit.tags)]
    text = "".join(exchange.write(found, options.format or kind(options.file, None)))
    if options.file == "-":
        sys.stdout.write(text)
    elif Path(options.file).exists():
        raise UserError(
            f"{options.file} is there already; name a file that is not, or move it away"
        )
    else:
        try:
            files.write(Path(options.file), text.encode())
        except OSError as error:
            raise UserError(f"cannot write {options.file} ({error.strerror})") from error
        (
            show_json({"exported": len(found)})
            if options.json
            else say(f"{len(found)} exported to {options.file}")
        )
    return OK if found else NOTHING


def export_run(options: Namespace) -> int:
    """Exports a run's trained networks instead of edits."""
    if not options.out:
        raise UserError("--workdir names a run to export; name the folder to write with --out=…")
    from serac_jax.cli.export import export_networks
    from serac_jax.cli.options import launch

    folder = Path(options.workdir) if options.workdir else None
    return launch(lambda: export_networks(folder, Path(options.out)))


COMMANDS = {
    "import": Command(
        import_edits,
        import_arguments,
        """
import facts.csv                       # columns prompt, answer, and others as list --json names them
import rows.jsonl --tag=zsre -m "dev"  # edits, or rows of zsRE
import - < more.jsonl
""",
    ),
    "export": Command(
        export,
        export_arguments,
        """
export > all.jsonl          # a memory file again
export --tag=books books.csv
export --workdir=runs/mine --out=networks  # a run's trained networks
export --format=zsre > rows.jsonl
""",
    ),
}
