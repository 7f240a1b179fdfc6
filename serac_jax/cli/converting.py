"""The commands that make rows of facts of data sets: convert, facts."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections import Counter

from serac_jax.cli.command import NOTHING, OK, Command
from serac_jax.cli.printing import counted
from serac_jax.core import files
from serac_jax.core.console import say, show_json
from serac_jax.core.errors import UserError


def arguments(parser: ArgumentParser) -> None:
    from serac_jax.tasks.facts.convert_facts import NAMES

    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="JSON, JSON lines or, by its name, CSV"
    )
    parser.add_argument("--out", metavar="FILE", required=True, help="the new file of facts")
    parser.add_argument(
        "--from",
        dest="form",
        choices=NAMES,
        default="",
        help="the data set (default: by the fields of each row, where only one has them)",
    )


def convert(options: Namespace) -> int:
    """`serac convert`."""
    from serac_jax.tasks.facts import convert_facts
    from serac_jax.tasks.facts.fact_rows import line_of

    target = files.resolve(options.out)
    if target.exists():
        raise UserError(f"{options.out} already exists; choose another name")
    found = convert_facts.convert(options.files, options.form)
    kinds = Counter(ask.kind for fact in found.facts for ask in fact.asks)
    try:
        files.write(target, "".join(map(line_of, found.facts)).encode())
    except OSError as error:
        raise UserError(f"cannot write {options.out} ({files.reason(error)})") from error
    if options.json:
        counts = {"rows": found.rows, "questions": kinds, "left_out": found.left_out}
        show_json(
            {"facts": len(found.facts), **{name: dict(each) for name, each in counts.items()}}
        )
    else:
        read = ", ".join(f"{counted(count, 'row')} of {name}" for name, count in found.rows.items())
        asked = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
        say(f"{read or 'no rows'} → {counted(len(found.facts), 'fact')} in {options.out}")
        say(f"questions besides the prompts: {asked or 'none'}")
        for reason, count in found.left_out.items():
            say(f"left out: {count} {reason}")
    return OK if found.facts else NOTHING


def facts_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "folder", metavar="FOLDER", help="of public files, or mini: the shipped world alone"
    )
    parser.add_argument("--split", default="test", help="train, dev or test (test)")
    parser.add_argument("--out", metavar="FOLDER", required=True, help="where files are written")


def facts(options: Namespace) -> int:
    """`serac facts`."""
    from serac_jax.tasks.facts import fact_sources

    folder = None if options.folder == "mini" else files.expanded(options.folder)
    written = fact_sources.write(folder, options.split, files.expanded(options.out))
    if options.json:
        show_json({str(file): count for file, count in written.items()})
    for file, count in {} if options.json else written.items():
        say(f"{counted(count, 'fact')} in {file}")
    return OK


COMMANDS = {
    "facts": Command(
        facts,
        facts_arguments,
        """
facts data --split=dev --out=rows                        # what facts_serac is calibrated on
facts data --out=rows                                    # and tested on: a file for each data set
""",
    ),
    "convert": Command(
        convert,
        arguments,
        """
convert MQuAKE-CF-3k.json --out=rows.jsonl               # the data set by its fields
convert cf.json --from=counterfact --out=rows.jsonl      # where several share its fields
""",
    ),
}
