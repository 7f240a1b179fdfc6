"""The command calibrate: a threshold that lets no more than a given share of other questions
through."""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serac_jax.cli.answering import editor_argument, loaded, mesh_of
from serac_jax.cli.command import OK, Command
from serac_jax.core import files
from serac_jax.core.console import say, say_lines, show_json, show_progress
from serac_jax.core.errors import UserError

if TYPE_CHECKING:
    from serac_jax.serving.loading import EditorService
    from serac_jax.serving.trials import Trial


def arguments(parser: ArgumentParser) -> None:
    editor_argument(parser, "the editor, as for ask; by default $SERAC_EDITOR, or mini")
    parser.add_argument(
        "--rerank",
        default="",
        metavar="MODEL",
        help="a cross-attention classifier that becomes part of the editor",
    )
    parser.add_argument(
        "--out",
        required=True,
        metavar="FOLDER",
        help="where the calibrated editor is saved, with calibration.json and a figure",
    )
    parser.add_argument(
        "--target",
        type=float,
        default=0.05,
        metavar="RATE",
        help="the share of questions out of scope that an edit may answer (0.05); with --facts, of"
        " each kind of them",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--config",
        metavar="FILE",
        help=(
            "a run file, configs/NAME.py or configs/NAME.py:mini, whose data is used; of a run by"
            " default its own"
        ),
    )
    source.add_argument(
        "--data",
        metavar="FILE",
        help=(
            'lines of JSON instead: {"edits": [[prompt, answer], …], "inside": [question, …],'
            ' "outside": […]}'
        ),
    )
    fact_arguments(parser, source)
    parser.add_argument(
        "--split", default="dev", help="of the data: what the threshold is fitted to (dev)"
    )
    parser.add_argument(
        "--test-split",
        default="test",
        help="of the data: what it is then measured on (test); empty: nothing",
    )
    parser.add_argument(
        "--edits", type=int, default=10, metavar="N", help="edits that are in memory together (10)"
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=8,
        metavar="N",
        help="how often every row of a split is drawn, with other questions (8)",
    )


def fact_arguments(parser: ArgumentParser, source: Any) -> None:
    source.add_argument(
        "--facts",
        metavar="FILE",
        nargs="+",
        help=(
            "files of facts (`serac convert`), for an editor whose reader judges: also fits the"
            " weights of its score, and a threshold for each number of edits in --held"
        ),
    )
    parser.add_argument(
        "--held",
        default="10,100,1000,5000",
        metavar="N,…",
        help="with --facts: numbers of edits held at once (10,100,1000,5000)",
    )
    parser.add_argument(
        "--fill",
        metavar="FILE",
        nargs="*",
        default=[],
        help="with --facts: files of facts that are held as well, and not asked about",
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=1600,
        metavar="N",
        help="with --facts: the most questions, kinds in equal parts (1600)",
    )


def run(options: Namespace) -> int:
    from serac_jax.serving import calibration, calibration_plot, saved_editor

    if options.edits < 1 or options.rounds < 1:
        raise UserError("--edits and --rounds should be at least 1")
    saved_editor.check_place(Path(options.out))
    name = options.editor or os.environ.get("SERAC_EDITOR") or "mini"
    editor = loaded(name, rerank=options.rerank, mesh=mesh_of(options), dtype=options.dtype)
    if options.facts:
        return on_facts(options, editor)
    fitted, measured = trials_of(options, name, editor)
    progress = Progress(sum(len(each.inside) + len(each.outside) for each in [*fitted, *measured]))
    scores = calibration.measure(editor.matcher, fitted, progress)
    found = editor.calibrate_on(scores, options.target)
    reports = {"fitted": found} | (
        {"measured": editor.measure(measured, progress)} if measured else {}
    )
    out = Path(options.out)
    save(editor, out)
    curves = dict(
        zip(
            ("false_positive_rate", "recall", "precision"),
            calibration.thinned(*calibration.rates(scores)),
            strict=True,
        )
    )
    files.write_json(out / "calibration.json", reports | {"curves": curves})
    calibration_plot.draw(scores, editor.parts.spec.decision, out / "calibration")
    if options.json:
        show_json(reports)
        return OK
    for kind, report in reports.items():
        say_lines(f"{kind}, target {options.target}\n{calibration.told(report)}\n")
    say(f"written: {out} (editor.json, calibration.json, calibration.svg, calibration.png)")
    return OK


def on_facts(options: Namespace, editor: EditorService) -> int:
    """Calibrates an editor whose reader judges."""
    from serac_jax.evaluation.fact_plan import sizes
    from serac_jax.serving import calibration, fact_calibration
    from serac_jax.tasks.facts import fact_rows

    facts = [fact for file in options.facts for fact in fact_rows.read(file)]
    fill = [fact for file in options.fill for fact in fact_rows.read(file)]
    held = [len(facts) + len(fill) if size == "all" else int(size) for size in sizes(options.held)]
    fact_calibration.calibrate(
        editor, facts, fill, held, options.target, options.limit, Progress.of_pairs
    )
    out = Path(options.out)
    save(editor, out)
    found = editor.parts.spec.calibration or {}
    files.write_json(out / "calibration.json", {"fitted": found})
    if options.json:
        show_json({"fitted": found})
        return OK
    for size, report in found["sizes"].items():
        say_lines(f"{size} edits held, target {options.target}\n{calibration.told(report)}\n")
    say(f"written: {out} (editor.json, calibration.json)")
    return OK


def save(editor: EditorService, out: Path) -> None:
    """Saves an editor, with its base model where other machines know no name of it."""
    from serac_jax.serving import saved_editor

    known = saved_editor.is_public(editor.parts.spec.parts["base"])
    editor.save(out, base="reference" if known else "copy")


class Progress:
    """One line on a terminal's standard error: questions scored, of how many, and the time left."""

    def __init__(self, count: int):
        self.count, self.done, self.begun = count, 0, time.monotonic()

    @classmethod
    def of_pairs(cls, done: int, count: int) -> None:
        """Tells how many pairs of an edit and a question have been judged."""
        show_progress(f"{done}/{count} pairs judged", done >= count)

    def __call__(self, questions: int) -> None:
        """Counts questions that have been scored."""
        self.done += questions
        left = (time.monotonic() - self.begun) * (self.count / max(self.done, 1) - 1)
        show_progress(
            f"{self.done}/{self.count} questions scored, about {left:.0f} s left",
            self.done >= self.count,
        )


def trials_of(
    options: Namespace, name: str, editor: EditorService
) -> tuple[list[Trial], list[Trial]]:
    """What the threshold is fitted to, and what it is measured on."""
    from serac_jax.serving import trials

    if options.data:
        return trials.of_file(Path(options.data)), []
    config = config_of(options.config, name)

    def drawn(split: str) -> list[Trial]:
        return (
            list(trials.of_config(config, editor.parts, split, options.edits, options.rounds))
            if split
            else []
        )

    return drawn(options.split), drawn(options.test_split)


def config_of(file: str | None, name: str) -> Any:
    """The config of a run file, or of the run that is the editor."""
    from serac_jax.training import run_folder

    if file is None:
        if not (Path(name) / "checkpoints").exists():
            raise UserError(
                "questions are needed to calibrate on: give --config=configs/zsre_hard_rep.py:mini,"
                " or --data with your own"
            )
        return run_folder.config_of(Path(name), {})
    path, _, variant = file.partition(":")
    if not Path(path).is_file():
        raise UserError(f"--config: there is no file {path}")
    namespace: dict[str, Any] = {}
    exec(compile(Path(path).read_text(), path, "exec"), namespace)
    return namespace["get_config"](variant or "full").lock()


COMMANDS = {
    "calibrate": Command(
        run,
        arguments,
        """
calibrate --config=configs/zsre_hard_rep.py:mini --out=calibrated
calibrate --editor=runs/mine --out=calibrated --target=0.02  # on the run's own data
calibrate --data=mine.jsonl --out=calibrated                 # on your own questions
ask "Who is the author of Dracula?" --editor=calibrated
""",
    ),
}
