"""The commands that train, evaluate and prepare runs."""

from __future__ import annotations

import shlex
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path

from serac_jax.cli.answering import dtype_argument
from serac_jax.cli.command import OK, Command
from serac_jax.cli.options import configured, launch, named, parse, parser, sibling
from serac_jax.core.console import say
from serac_jax.core.types import Config

TRAIN = """Train an editor. A run that was killed or stopped goes on, without a difference, when it
is started again with its folder."""
EVAL = """Score the editor of a run: by default the newest one under runs/, from its best
checkpoint. Writes results.json and predictions.jsonl into the run's folder. Fields that do not
change the trained editor can be changed: eval., data. and mesh., base.dtype and base.param_dtype.
With --data, an editor is scored on rows of facts (see `serac convert`), by kinds of questions and
numbers of edits held."""
TABLE = """Train and evaluate every editor on every experiment, and write table.md, table.json and a
figure. Started again, it repeats no run that is finished, and continues one that was killed."""
CONFIG = "Print every field of a config: its value, and what it means."


def train(options: Namespace) -> int:
    """`serac train`."""
    from serac_jax.runtime import distributed

    one = parser("train", TRAIN)
    one.add_argument(
        "--workdir", metavar="FOLDER", help="the run's folder (default: a new one under runs/)"
    )
    distributed.add_arguments(one)
    chosen = parse(one, options.rest)
    config = configured(chosen)

    def main() -> None:
        from serac_jax.training import loop, run_folder

        folder = chosen.workdir or run_folder.new_name(named(chosen))
        loop.train(config, Path(folder), sibling("eval"))

    return launch(main, chosen)


def evaluate(options: Namespace) -> int:
    """`serac eval`."""
    from serac_jax.runtime import distributed

    one = parser("eval", EVAL, preset=False)
    one.add_argument(
        "--workdir", metavar="FOLDER", help="a run's folder (default: the newest under runs/)"
    )
    one.add_argument(
        "--editor",
        metavar="EDITOR",
        help="a saved editor instead: a folder, mini, mini/fnli, …; with --data, also any run",
    )
    one.add_argument(
        "--preset", metavar="PRESET", help="with --editor: whose data are used, and fields"
    )
    one.add_argument(
        "--out", metavar="FOLDER", help="with --editor: where to write (default: under runs/)"
    )
    dtype_argument(one, "with --editor: ")
    add_fact_arguments(one)
    one.add_argument("trained", nargs="?", help=SUPPRESS)
    distributed.add_arguments(one)
    chosen = parse(one, options.rest)
    if chosen.trained:
        one.error(
            f"{chosen.trained!r}: a run is scored, not a preset; train one first"
            f" (`{sibling('train')} {chosen.trained}`)"
        )
    if chosen.editor and chosen.workdir:
        one.error("give --workdir for a run, or --editor for a saved editor, not both")
    if (chosen.preset or chosen.out or chosen.data or chosen.dtype) and not chosen.editor:
        one.error("--preset, --data, --out and --dtype belong to --editor")
    asked = {name: value for name in FACTS if (value := getattr(chosen, name)) is not None}
    if asked and not chosen.data:
        one.error(f"--{next(iter(asked))} belongs to --data")
    if chosen.data and (chosen.preset or chosen.fields or not chosen.out):
        one.error("--data needs --out, and takes no --preset and no fields of a config")

    def main() -> None:
        from serac_jax.evaluation.score_run import score_run
        from serac_jax.training import run_folder

        command = f"{sibling('eval')} {shlex.join(options.rest)}".strip()
        if chosen.data:
            from serac_jax.cli import fact_scoring

            what = fact_scoring.Options(chosen.editor, chosen.data, dtype=chosen.dtype, **asked)
            fact_scoring.score_facts(what, chosen.out, command)
            return
        if chosen.editor:
            from serac_jax.cli.scoring import score_editor

            score_editor(
                chosen.editor, chosen.preset, chosen.fields, chosen.out, command, chosen.dtype
            )
            return
        score_run(Path(chosen.workdir or run_folder.newest()), chosen.fields, command)

    return launch(main, chosen)


FACTS = (
    "edits",
    "kinds",
    "limit",
    "seed",
    "when",
    "before",
    "fill",
)  # options that belong to --data


def add_fact_arguments(one: ArgumentParser) -> None:
    """Adds the options of an evaluation on rows of facts."""
    one.add_argument(
        "--data", metavar="FILE", help="with --editor: rows of facts instead of a preset's data"
    )
    one.add_argument(
        "--edits",
        metavar="LIST",
        help="with --data: how many edits are held at once (1,10,100,1000,all)",
    )
    one.add_argument(
        "--kinds", metavar="LIST", help="with --data: only these kinds, such as prompt,rephrase"
    )
    one.add_argument(
        "--limit",
        metavar="N",
        type=natural,
        help="with --data: about so many questions at each number of edits (all)",
    )
    one.add_argument(
        "--seed", metavar="N", type=natural, help="with --data: of what is held together (0)"
    )
    one.add_argument(
        "--when",
        choices=("all", "each"),
        help="with --data: ask after all edits of a group (all), or after each about that one",
    )
    one.add_argument(
        "--fill",
        metavar="FILE",
        nargs="+",
        help="with --data: more rows to hold where FILE has too few; they are not asked about",
    )
    one.add_argument(
        "--before",
        action="store_const",
        const=True,
        help="with --data: ask the base model every question, also where no score needs it",
    )


def natural(text: str) -> int:
    """A whole number of at least 0."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise ArgumentTypeError(f"{text[:30]!r} is not a whole number of at least 0")
    return int(text)


def table(options: Namespace) -> int:
    """`serac table`."""
    one = parser("table", TABLE, preset=False, fields=False)
    one.add_argument(
        "--mini",
        action="store_true",
        help="the small variant of every run: shipped models and data, no network",
    )
    one.add_argument(
        "--runs",
        default="*",
        metavar="NAMES",
        help="presets, or patterns such as zsre_*, separated by commas (default: all)",
    )
    one.add_argument(
        "--out", metavar="FOLDER", help="where to write (default: runs/table, runs/table-mini)"
    )
    one.add_argument(
        "--configs",
        metavar="FOLDER",
        help="a folder of config files, EXPERIMENT_EDITOR.py, instead of the presets",
    )
    chosen = parse(one, options.rest)

    def main() -> None:
        from serac_jax import presets
        from serac_jax.evaluation import compare

        sources = {name: name for name in presets.NAMES}
        if chosen.configs:
            files = Path(chosen.configs).glob("*_*.py")
            sources = {file.stem: str(file) for file in files}
        variant = "mini" if chosen.mini else "full"
        compare.compare(sources, chosen.runs.split(","), variant, chosen.out, presets.load)

    return launch(main)


def show_config(options: Namespace) -> int:
    """`serac config`."""
    chosen = parse(parser("config", CONFIG), options.rest)
    from serac_jax.training import sections

    config = configured(chosen)
    for name, fields in sections.SECTIONS.items():
        say(name or "run")
        for field, described in fields.items():
            full = f"{name}.{field}" if name else field
            say(f"  {full} = {value_of(config, full)!r}")
            say(f"      {described.meaning}")
    return OK


def value_of(config: Config, name: str) -> object:
    """A field's value, by its full name."""
    for part in name.split("."):
        config = config[part]
    return config


COMMANDS = {
    "train": Command(train, None, "train zsre_rep:mini --train.steps=100"),
    "eval": Command(evaluate, None, "eval --eval.batches=3  # of the newest run"),
    "config": Command(show_config, None, "config zsre_rep:mini"),
    "table": Command(table, None, "table --mini --runs=zsre_*"),
}
