"""Commands for the files of other programs: import, export."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections import Counter
from pathlib import Path
from typing import Any

from serac_jax.cli.changing import policy_argument, put, refused
from serac_jax.cli.command import (
    NOTHING,
    OK,
    Command,
    edits_of,
    open_store,
    server_argument,
    server_of,
)
from serac_jax.cli.printing import counted
from serac_jax.core import console, files
from serac_jax.core.console import say, show_json
from serac_jax.core.errors import UserError
from serac_jax.edits import exchange, records
from serac_jax.edits.exchange import Columns
from serac_jax.edits.records import Edit
from serac_jax.edits.store import Store
from serac_jax.serving.insert import ContradictionRefused


def import_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="JSON lines, a JSON list or CSV; - reads the standard input",
    )
    parser.add_argument(
        "--format",
        choices=("jsonl", "csv"),
        help="default: csv if the file's name ends with it, else jsonl",
    )
    parser.add_argument(
        "--alternatives",
        action="store_true",
        help="of zsRE rows, store the alternative answer instead of the row's own",
    )
    parser.add_argument(
        "--tag", action="append", default=[], metavar="TAG", help="add this tag to every edit"
    )
    parser.add_argument("--source", default="", help="the source of edits that name none")
    parser.add_argument("--message", "-m", default="", help="why, for the log")
    policy_argument(parser)
    server_argument(parser)


def import_edits(options: Namespace) -> int:
    where = server_of(options) or open_store(options)
    store = where if isinstance(where, Store) else where.memory
    defaults: dict[str, str] = {}  # a server signs and dates what has no author
    if isinstance(store, Store):
        defaults |= {"author": store.author, "time": records.now()}
    if options.source:
        defaults["source"] = options.source
    read: list[Edit] = []
    columns: dict[str, Counter[Columns]] = {}
    for name in options.files:
        found = exchange.read(
            contents(name),
            kind(name, options.format),
            name,
            alternatives=options.alternatives,
            **defaults,
        )
        read += [tagged(edit, options.tag) for edit in found.edits]
        columns[name] = found.columns
    latest = list({edit.id: edit for edit in reversed(read)}.values())[::-1]
    before = dict(store.edits)
    message = options.message or f"from {', '.join(options.files)}"
    try:
        done = put(options, where, latest, message, "import")
    except ContradictionRefused as error:
        return refused(options, error.conflicts)
    added = [edit for edit in done.edits if before.get(edit.id) != edit]
    left_out = {
        "already in the memory": len(done.edits) - len(added),
        "repeated": len(read) - len(latest),
        "replaced by a later row": len(latest) - len(done.edits),
    }
    replaced = sorted({edit.id for edit in (*done.replaced, *added)} & before.keys())
    if options.json:
        result: dict[str, Any] = {"read": len(read), "added": len(added), "replaced": replaced}
        result["left_out"] = {reason: count for reason, count in left_out.items() if count}
        result["columns"] = {
            name: [{"rows": count} | shape._asdict() for shape, count in shapes.items()]
            for name, shapes in columns.items()
        }
        show_json(result)
        return OK
    for name, shapes in columns.items():
        for shape, count in shapes.items():
            if shape != Columns("prompt", "answer"):
                say(f"{name}: {columns_text(shape, count)}")
    reasons = [f"{count} {reason}" for reason, count in left_out.items() if count]
    say(
        f"{len(read)} read, {len(added)} added, {len(replaced)} replaced"
        + (f", {sum(left_out.values())} left out ({', '.join(reasons)})" if reasons else "")
    )
    return OK


def columns_text(shape: Columns, count: int) -> str:
    """How rows were read, for people."""
    unused = f"; not used: {', '.join(shape.unused)}" if shape.unused else ""
    return (
        f"{counted(count, 'row')} with the prompt from {shape.prompt!r} and the answer from"
        f" {shape.answer!r}{unused}"
    )


def tagged(edit: Edit, tags: list[str]) -> Edit:
    """An edit with more tags, and so another id."""
    if not tags:
        return edit
    fields = edit._asdict() | {"tags": [*edit.tags, *tags]}
    del fields["id"]
    return records.from_fields(fields, "--tag")


def contents(name: str) -> str:
    """The text of a file, or of the standard input.

    Raises:
      UserError: It cannot be read, or is not UTF-8.
    """
    if name != "-":
        return files.read_text(Path(name))
    return files.text_of(console.input_bytes(), name)


def kind(name: str, given: str | None) -> str:
    """The format of a file, by --format or its name."""
    return given or ("csv" if name.lower().endswith(".csv") else "jsonl")


def export_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "file",
        nargs="?",
        default="-",
        metavar="FILE",
        help="a new file; - (default) writes to the standard output",
    )
    parser.add_argument(
        "--format",
        choices=exchange.FORMATS,
        help="jsonl is a memory file, zsre are zsRE rows; default: csv if the file's name ends with"
        " it, else jsonl",
    )
    parser.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="TAG",
        help="only edits with this tag; repeated: with any of them",
    )
    parser.add_argument("--all", action="store_true", help="expired edits too")
    server_argument(parser)
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
    store = edits_of(options)
    edits = (store.edits if options.all else store.live()).values()
    found = [edit for edit in edits if not options.tag or set(options.tag) & set(edit.tags)]
    text = "".join(exchange.write(found, options.format or kind(options.file, None)))
    if options.file == "-":
        console.write(text)
        return OK if found else NOTHING
    target = files.resolve(options.file)
    if target.exists():
        raise UserError(f"{options.file} already exists; choose another name")
    try:
        files.write(target, text.encode())
    except OSError as error:
        raise UserError(f"cannot write {options.file} ({files.reason(error)})") from error
    if options.json:
        show_json({"exported": len(found)})
    else:
        say(f"{len(found)} exported to {options.file}")
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
import facts.csv                       # columns question and answer; also tags, note, source …
import zsre.jsonl --tag=zsre -m "dev"  # rows of zsRE, with their own answers
import knowedit.json                   # prompt and target_new, as in EasyEdit and KnowEdit
import - < more.jsonl                  # a memory file, or its lines
""",
    ),
    "export": Command(
        export,
        export_arguments,
        """
export > all.jsonl  # a memory file again
export --tag=books books.csv
export --workdir=runs/mine --out=networks  # a run's trained networks
export --format=zsre > rows.jsonl
""",
    ),
}
