"""Scoring a saved editor on rows of facts, by kinds of questions and numbers of edits held."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from serac_jax.core import files
from serac_jax.core.console import say, say_lines
from serac_jax.core.errors import UserError
from serac_jax.evaluation import fact_asking, fact_figure, fact_plan, fact_results
from serac_jax.evaluation.edited_run import ROWS, EditedRun
from serac_jax.evaluation.fact_asking import BATCH, Asker, Service
from serac_jax.runtime import program
from serac_jax.serving.loading import load
from serac_jax.serving.trained_run import PARTS
from serac_jax.tasks.facts import fact_rows
from serac_jax.tasks.facts.fact_rows import Fact
from serac_jax.training import run_folder
from serac_jax.training.restore import restore
from serac_jax.training.run_folder import versions

EVERY = 10.0  # seconds between lines of progress
SETTINGS, PREDICTIONS = "settings.json", "predictions.jsonl"
RESULTS, FIGURE = "results.json", "by_kind"


class Options(NamedTuple):
    """What is asked.

    Attributes:
      editor: An editor, as `serac ask --editor` takes it, or the folder of any run.
      data: The file of facts.
      edits: Numbers of edits held at once, such as "1,10,all".
      kinds: Kinds of questions, separated by commas; empty: all.
      limit: The most questions at each number of edits; 0: all.
      seed: Of what is held together.
      when: "all" asks after all edits of a group, "each" about each edit right after it.
      before: Whether the base model answers every question, also where no score depends on it.
      fill: Files of facts that are held where those of `data` are fewer than a number of edits.
      dtype: What the base model is held and computed in; None: as the editor says.
    """

    editor: str
    data: str
    edits: str = "1,10,100,1000,all"
    kinds: str = ""
    limit: int = 0
    seed: int = 0
    when: str = "all"
    before: bool = False
    fill: Sequence[str] = ()
    dtype: str | None = None


def score_facts(options: Options, out: str | Path, command: str) -> dict[str, Any]:
    """Scores an editor, prints a table, and writes results, predictions and a figure.

    Started again with the same options after it was stopped, it goes on.

    Args:
      options: What is asked.
      out: The folder to write.
      command: The command line, to be recorded.

    Returns:
      The content of results.json.

    Raises:
      UserError: Something does not fit, or the folder holds another evaluation.
    """
    numbers, kinds = fact_plan.sizes(options.edits), fact_plan.kinds(options.kinds)
    one_each = fact_rows.one_a_prompt(fact_rows.read(options.data))
    if one_each.dropped:
        say(f"{one_each.dropped} facts with the prompt of an earlier one are left out")
    if one_each.joined:
        say(f"{one_each.joined} facts repeat an earlier one, which got their questions")
    program.use_compilation_cache(program.default_cache())
    service = service_of(options.editor, options.dtype)
    asked = sayable(service, one_each.facts)
    facts = [*asked, *filling(service, asked, options.fill)]
    plan = fact_plan.plan(
        facts,
        numbers,
        kinds,
        options.limit,
        options.seed,
        options.when == "each",
        len(facts) - len(asked),
    )
    for number in plan.skipped:
        say(f"{number} edits: left out, there are {len(facts)} facts")

    folder = program.writable(Path(out), "out")
    settings = same_settings(folder, options)
    asker = Asker(service, facts, options.before)
    lines = fact_asking.written(folder / PREDICTIONS, plan)
    asker.remember(lines)
    if lines:
        say(f"{folder / PREDICTIONS}: {len(lines)} of {plan.questions} questions were answered")
    together = ROWS if isinstance(service, EditedRun) else BATCH
    seconds = ask(asker, plan, folder / PREDICTIONS, len(lines), together)

    found = fact_results.results(
        fact_asking.written(folder / PREDICTIONS, plan),
        plan,
        numbers,
        facts=len(facts),
        settings=settings,
        seconds=seconds,
        command=command,
        versions=versions(),
    )
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    files.write(folder / RESULTS, text.encode())
    fact_figure.draw(found, folder / FIGURE)
    say_lines(
        f"\n{fact_results.table(found)}\n\n{len(facts)} facts, {plan.questions} questions in"
        f" {seconds:.0f} s"
    )
    say(f"written: {folder / RESULTS}, {PREDICTIONS}, {FIGURE}.png, {FIGURE}.pdf")
    return found


def service_of(editor: str, dtype: str | None = None) -> Service:
    """What answers: the editor that `serac ask` loads, or that of a run that it cannot load.

    Raises:
      UserError: There is no such editor.
    """
    folder = Path(editor)
    if not (folder / "config.json").exists():
        return load(editor, dtype=dtype)
    config = run_folder.config_of(folder, run_folder.in_dtype(dtype))
    if config.editor in PARTS:
        return load(editor, dtype=dtype)
    run, _, params = restore(folder, config)
    return EditedRun(run, params, config.eval.edits)


def sayable(service: Service, facts: list[Fact]) -> list[Fact]:
    """The facts whose answers the editor can say; tells of the others.

    Raises:
      UserError: There is none.
    """
    kept, reason = list[Fact](), ""
    for fact in facts:
        try:
            service.check(fact_asking.edit_of(fact))
            kept.append(fact)
        except UserError as error:
            reason = str(error)
    if len(kept) < len(facts):
        note = f"{len(facts) - len(kept)} of {len(facts)} facts are left out, such as {reason}"
        if not kept:
            raise UserError(note)
        say(note)
    return kept


def filling(service: Service, asked: Sequence[Fact], fill: Sequence[str]) -> list[Fact]:
    """The facts of files that have another prompt than those that are asked about."""
    read = [fact for file in fill for fact in fact_rows.read(file)]
    if not read:
        return []
    alone = (fact._replace(asks=()) for fact in (*asked, *read))
    found = fact_rows.one_a_prompt(alone).facts[len(asked) :]
    if len(found) < len(read):
        say(f"--fill: {len(read) - len(found)} facts have the prompt of an earlier one")
    return sayable(service, found)


def same_settings(folder: Path, options: Options) -> dict[str, Any]:
    """What is evaluated, written into the folder.

    Raises:
      UserError: The folder holds an evaluation of something else.
    """
    settings: dict[str, Any] = options._asdict()
    digest = hashlib.sha256()
    for name in (options.data, *options.fill):
        digest.update(Path(name).read_bytes())
    settings["sha256"] = digest.hexdigest()
    for name in ("fill", "dtype"):
        if not settings[name]:
            del settings[name]  # which earlier versions did not write
    file, text = folder / SETTINGS, json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    if file.exists() and file.read_text(encoding="utf-8") != text:
        raise UserError(f"{folder} holds another evaluation; choose another --out")
    files.write(file, text.encode())
    return settings


def ask(asker: Asker, plan: fact_plan.Plan, file: Path, done: int, together: int) -> float:
    """Asks what is left, tells how far it is every ten seconds, and returns the seconds it took."""
    start = said = time.monotonic()
    first, total = done, plan.questions
    for asked in fact_asking.run(asker, plan, file, done, together):
        now = time.monotonic()
        if now >= said + EVERY and asker.group:
            said = now
            left = int((total - asked) * (now - start) / (asked - first))
            say(
                f"{asker.group.edits} edits held: {asked} of {total} questions, about"
                f" {left // 60}:{left % 60:02d} left",
                flush=True,
            )
    return time.monotonic() - start
