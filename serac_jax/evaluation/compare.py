"""Every editor on every experiment: trains what learns, evaluates, and writes table.md, table.json
and a figure (SVG, PNG, PDF)."""

from __future__ import annotations

import fnmatch
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from serac_jax.core import files
from serac_jax.core.console import say, say_lines
from serac_jax.core.errors import UserError
from serac_jax.core.types import Config
from serac_jax.evaluation.comparison_table import draw, markdown
from serac_jax.runtime import program
from serac_jax.training.run_folder import as_json

ROOT = Path(__file__).parents[2]  # what a program needs on its path to find this package


class Run(NamedTuple):
    """One run, and where it lives.

    source: its preset or config file, without the variant.
    variant: "full" or "mini".
    load: gives the config of a source and variant (`presets.load`).
    """

    name: str
    source: str
    variant: str
    folder: Path
    load: Callable[[str], Config]

    @property
    def experiment(self) -> str:
        return self.name.rpartition("_")[0]

    @property
    def editor(self) -> str:
        return self.name.rpartition("_")[2]

    @property
    def config(self) -> Config:
        return self.load(f"{self.source}:{self.variant}")

    @property
    def programs(self) -> dict[str, list[str]]:
        """The commands of a run, in their order, as arguments of `serac`."""
        source = self.source + (f":{self.variant}" if self.variant != "full" else "")
        given = f"--config={source}" if self.source.endswith(".py") else source
        return {
            "train": ["train", given, f"--workdir={self.folder}"],
            "eval": ["eval", f"--workdir={self.folder}"],
        }

    def results(self) -> dict[str, Any] | None:
        """What the evaluation wrote, if it is of this config, and the seconds that each program
        took."""
        written = self.folder / "results.json", self.folder / "seconds.json"
        if not all(file.exists() for file in written):
            return None
        found, seconds = (json.loads(file.read_text()) for file in written)
        return (
            {"results": found, "seconds": seconds}
            if found["config"] == as_json(self.config)
            else None
        )


def find(
    sources: Mapping[str, str],
    patterns: Iterable[str],
    variant: str,
    out: Path,
    load: Callable[[str], Config],
) -> list[Run]:
    """The runs whose names match a pattern.

    Args:
      sources: The preset or config file of every run, by its name.

    Raises:
      UserError: A pattern matches no run.
    """
    names = sorted(sources, key=lambda name: name.rpartition("_"))
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise UserError(f"--runs: {pattern!r} matches no run; there are {', '.join(names)}")
    return [
        Run(name, sources[name], variant, out / name, load)
        for name in names
        if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
    ]


def complete(run: Run) -> None:
    """Trains and evaluates. Raises UserError, with the last line that a program said, where it
    fails."""
    run.folder.mkdir(parents=True, exist_ok=True)
    seconds = {}
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    with files.appending(run.folder / "output.txt") as output:
        for name, command in run.programs.items():
            since = time.monotonic()
            status = subprocess.run(
                [sys.executable, "-m", "serac_jax", *command],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
            if status:
                said = Path(output.name).read_text(errors="replace").strip().rpartition("\n")[2]
                raise UserError(
                    f"{run.name}: {command[0]} ended with status {status}"
                    f" ({said or 'no output'}); see {output.name}"
                )
            seconds[name] = round(time.monotonic() - since, 1)
    files.write_json(run.folder / "seconds.json", seconds)


def complete_all(runs: list[Run], out: Path) -> list[str]:
    """Completes one run after the other, renews table and figure after each, and gives what went
    wrong."""
    ahead, failures, since = [run for run in runs if run.results() is None], [], time.monotonic()
    say(
        f"{len(runs)} runs, {len(runs) - len(ahead)} of them finished before; written to {out}",
        flush=True,
    )
    for number, run in enumerate(ahead):
        left = (
            f", about {(time.monotonic() - since) / number * (len(ahead) - number) / 60:.0f} min"
            " left"
            if number
            else ""
        )
        say(f"[{number + 1}/{len(ahead)}] {run.name}{left}", flush=True)
        try:
            complete(run)
        except UserError as error:
            failures.append(str(error))
            say(f"    {error}", flush=True)
        else:
            say(f"    {told(entry(run))}", flush=True)
            write(runs, out)
    write(runs, out)
    return failures


def entry(run: Run) -> dict[str, Any]:
    """A finished run, as in table.json."""
    found = run.results()
    if found is None:
        raise UserError(f"{run.folder} holds no results of {run.name} as it is now; start again")
    return {
        "experiment": run.experiment,
        "editor": run.editor,
        "scores": found["results"]["scores"],
        "pooled": found["results"]["pooled"],
        "kinds": found["results"]["kinds"],
        "counts": found["results"]["counts"],
        "step": found["results"]["step"],
        "seconds": found["seconds"],
        "commands": {
            name: shlex.join(["serac", *command]) for name, command in run.programs.items()
        },
        "config": found["results"]["config"],
        "versions": found["results"]["versions"],
    }


def told(found: dict[str, Any]) -> str:
    """The two scores of the paper's tables, in a line."""
    return (
        ", ".join(
            f"{name.replace('_', ' ')} {score['mean']:.3f}" for name, score in main_scores(found)
        )
        + f"; {sum(found['seconds'].values()):.0f} s"
    )


def main_scores(found: dict[str, Any]) -> Iterator[tuple[str, dict[str, float]]]:
    return ((name, found["pooled"][name]) for name in ("edit_success", "drawdown"))


def write(runs: list[Run], out: Path) -> None:
    """table.json, table.md and the figure of the runs that are finished."""
    entries = [entry(run) for run in runs if run.results() is not None]
    if not entries:
        return
    files.write_json(out / "table.json", entries)
    files.write(out / "table.md", markdown(entries).encode())
    draw(entries, out)


def compare(
    sources: Mapping[str, str],
    patterns: Iterable[str],
    variant: str,
    out: str | None,
    load: Callable[[str], Config],
) -> None:
    """Completes the runs whose names match a pattern, and prints the table.

    Args:
      sources: The preset or config file of every run, by its name.
      out: The folder to write to; by default runs/table, or runs/table-mini.

    Raises:
      UserError: A pattern matches no run, or a run failed.
    """
    default = "runs/table-mini" if variant == "mini" else "runs/table"
    folder = program.writable(Path(out or default), "out")
    failures = complete_all(find(sources, patterns, variant, folder, load), folder)
    if (folder / "table.md").exists():
        say_lines("\n" + (folder / "table.md").read_text(), flush=True)
    if failures:
        raise UserError(f"{len(failures)} runs failed: {'; '.join(failures)}")
