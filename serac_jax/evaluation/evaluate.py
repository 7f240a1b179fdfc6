"""Evaluates an editor: applies the edits of a split, and scores what they changed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from serac_jax.core import files
from serac_jax.core.batch import EditBatch
from serac_jax.core.console import say, say_lines
from serac_jax.core.metrics import Score
from serac_jax.core.sharding import fetch
from serac_jax.core.types import Config
from serac_jax.evaluation import report
from serac_jax.evaluation.predictions import Prediction, examples, predictions, shown
from serac_jax.runtime import distributed
from serac_jax.text.queries import TextBatch
from serac_jax.training import steps
from serac_jax.training.experiment import Experiment

RESULTS, PREDICTIONS = "results.json", "predictions.jsonl"
EVERY = 10.0  # seconds between lines of progress


class Evaluation(NamedTuple):
    """results: the content of results.json (`report`). predictions: a line per question."""

    results: dict[str, Any]
    predictions: list[Prediction]


class Drawn(NamedTuple):
    """A batch in words, and as arrays."""

    texts: TextBatch
    arrays: EditBatch


def evaluate(
    run: Experiment,
    params: Any,
    config: Config,
    *,
    split: str,
    step: int | None = None,
    command: str = "",
    progress: Callable[[str], None] | None = None,
) -> Evaluation:
    """Scores an editor on a split, `config.eval.edits` edits at a time.

    Args:
      run: the experiment that the editor belongs to.
      params: what the editor has learned.
      config: its sections `eval` and `seed` are read; all of it is recorded.
      split: the split whose rows are edited.
      step: the step of the checkpoint that `params` come from.
      command: the command line, to be recorded.
      progress: is given a line of text every ten seconds. None: nothing is said.
    """
    eval_step = steps.make_eval_step(run.editor, run.base, run.task.score)
    answer_step = steps.make_answer_step(run.editor, run.base)
    expected = run.task.needs(split).rows
    if config.eval.batches:
        expected = min(expected, config.eval.batches * config.eval.edits)

    def both(texts: TextBatch) -> Drawn:
        return Drawn(texts, run.task.encode(texts))

    scores: list[dict[str, Score]] = []
    lines: list[Prediction] = []
    clock, said = report.Clock(), 0.0
    drawn = run.task.batches(split, config.eval.edits, False, both)
    for texts, arrays in itertools.islice(drawn, config.eval.batches or None):
        batch = steps.pad_rows_to_mesh(arrays, run.mesh)
        placed = steps.shard_batch(batch, run.mesh)
        (found, routes), answers = fetch(
            (
                eval_step(params, run.base_params, placed),
                answer_step(params, run.base_params, placed),
            )
        )
        scores.append(found | run.task.score_answers(answers, batch))
        lines += predictions(
            texts, answers, routes, run.task.kinds, run.task.words, clock.counts["edits"]
        )
        clock.tick(batch)
        if progress and sum(clock.seconds.values()) >= said + EVERY:
            said = sum(clock.seconds.values())
            progress(progress_line(clock, expected))
    results = report.results(
        scores,
        run.task.kinds,
        clock,
        config,
        split=split,
        step=step,
        examples=examples(lines, config.eval.examples),
        command=command,
    )
    return Evaluation(results, lines)


def progress_line(clock: report.Clock, expected: int) -> str:
    """How many edits are done, and about how long the others take."""
    done = clock.counts["edits"]
    left = clock.remaining(max(expected - done, 0))
    said = "" if left is None else f", about {int(left) // 60}:{int(left) % 60:02d} left"
    return f"{done} of {expected} edits{said}"


def choose_split(run: Experiment, config: Config, asked: bool) -> tuple[str, str]:
    """The split to evaluate, and a note where it is not the config's.

    A split that the config names by default, but that the data lack, is replaced by the split that
    validation reads, or else by the last one; one that was `asked` for is not replaced.
    """
    wanted, there = config.eval.split, run.task.splits()
    if asked or wanted in there or not there:
        return wanted, ""
    chosen = config.data.val_split if config.data.val_split in there else there[-1]
    return chosen, (
        f"note: the data have no split {wanted!r}; {chosen!r} is evaluated instead (they have"
        f" {', '.join(there)}; choose with --config.eval.split)"
    )


def write(folder: Path, found: Evaluation) -> None:
    """Writes predictions.jsonl and results.json, each whole or not at all."""
    lines = (json.dumps(line, ensure_ascii=False) + "\n" for line in found.predictions)
    files.write(folder / PREDICTIONS, "".join(lines).encode())
    files.write_json(folder / RESULTS, found.results)


def evaluate_and_write(
    run: Experiment,
    params: Any,
    config: Config,
    folder: Path,
    *,
    name: str,
    step: int | None,
    split_asked: bool,
    command: str,
) -> None:
    """What eval.py does: evaluates, prints the table, and writes the files into a folder."""
    split, note = choose_split(run, config, split_asked)
    if note:
        say(note, flush=True)
    say(
        f"{name}: {config.eval.edits} edits at a time, split {split!r} of {config.task}",
        flush=True,
    )
    found = evaluate(
        run,
        params,
        config,
        split=split,
        step=step,
        command=command,
        progress=lambda line: say(line, flush=True),
    )
    say_lines(f"{report.table(found.results)}\n\n{shown(found.results['examples'])}")
    if distributed.is_primary():
        write(folder, found)
    say()
    say(f"written: {folder / RESULTS}, {folder / PREDICTIONS}")
