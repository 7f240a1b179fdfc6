"""Every editor on every experiment: trains what learns, evaluates, and writes table.md, table.json
and a figure (SVG, PNG, PDF).

    python -m serac_jax.evaluation.compare --mini [--runs=zsre_*,*_ft] [--out=FOLDER]

The runs are those of configs/EXPERIMENT_EDITOR.py, each in its own folder OUT/EXPERIMENT_EDITOR.
Started again, it repeats no run that is finished, and a run that was killed goes on."""

from __future__ import annotations

import fnmatch
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from absl import flags

from serac_jax.core.errors import UserError
from serac_jax.core.types import Config
from serac_jax.evaluation.comparison_table import draw, markdown
from serac_jax.runtime import program
from serac_jax.training.run_folder import as_json

MINI = flags.DEFINE_bool(
    "mini", False, "The small variant of every run: shipped models and data, no network."
)
RUNS = flags.DEFINE_list(
    "runs", ["*"], "Names of runs, or patterns such as zsre_*; by default all."
)
OUT = flags.DEFINE_string(
    "out", None, "Where everything is written; by default runs/table, or runs/table-mini."
)
ROOT = Path(__file__).parents[2]
CONFIGS = flags.DEFINE_string(
    "configs", str(ROOT / "configs"), "The folder of run files, EXPERIMENT_EDITOR.py."
)


class Run(NamedTuple):
    """One run file, and where its run lives."""

    file: Path
    variant: str  # "full" or "mini"
    folder: Path

    @property
    def experiment(self) -> str:
        return self.file.stem.rpartition("_")[0]

    @property
    def editor(self) -> str:
        return self.file.stem.rpartition("_")[2]

    @property
    def config(self) -> Config:
        namespace: dict[str, Any] = {}
        exec(compile(self.file.read_text(), str(self.file), "exec"), namespace)
        return namespace["get_config"](self.variant)

    @property
    def programs(self) -> dict[str, list[str]]:
        """The commands of a run, in their order."""
        return {
            "train": [
                "train.py",
                f"--config={self.file}" + (f":{self.variant}" if self.variant != "full" else ""),
                f"--workdir={self.folder}",
            ],
            "eval": ["eval.py", f"--workdir={self.folder}"],
        }

    def results(self) -> dict[str, Any] | None:
        """What the evaluation wrote, if it is of this config, and the seconds that each program
        took."""
        files = self.folder / "results.json", self.folder / "seconds.json"
        if not all(file.exists() for file in files):
            return None
        found, seconds = (json.loads(file.read_text()) for file in files)
        return (
            {"results": found, "seconds": seconds}
            if found["config"] == as_json(self.config)
            else None
        )


def find(configs: Path, patterns: Iterable[str], variant: str, out: Path) -> list[Run]:
    """The runs whose names match a pattern. Raises UserError where a pattern matches none."""
    files = sorted(configs.glob("*_*.py"), key=lambda file: file.stem.rpartition("_"))
    for pattern in patterns:
        if not any(fnmatch.fnmatch(file.stem, pattern) for file in files):
            raise UserError(
                f"--runs: {pattern!r} matches no run file of {configs}; there are"
                f" {', '.join(file.stem for file in files)}"
            )
    return [
        Run(file, variant, out / file.stem)
        for file in files
        if any(fnmatch.fnmatch(file.stem, pattern) for pattern in patterns)
    ]


def complete(run: Run) -> None:
    """Trains and evaluates. Raises UserError, with the last line that a program said, where it
    fails."""
    run.folder.mkdir(parents=True, exist_ok=True)
    seconds = {}
    with (run.folder / "output.txt").open("a") as output:
        for name, command in run.programs.items():
            since = time.monotonic()
            status = subprocess.run(
                [sys.executable, *command],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
            if status:
                said = Path(output.name).read_text().splitlines()
                raise UserError(
                    f"{run.file.stem}: {command[0]} ended with status {status}"
                    f" ({said[-1] if said else 'no output'}); see {output.name}"
                )
            seconds[name] = round(time.monotonic() - since, 1)
    (run.folder / "seconds.json").write_text(json.dumps(seconds) + "\n")


def complete_all(runs: list[Run], out: Path) -> list[str]:
    """Completes one run after the other, renews table and figure after each, and gives what went
    wrong."""
    ahead, failures, since = [run for run in runs if run.results() is None], [], time.monotonic()
    print(
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
        print(f"[{number + 1}/{len(ahead)}] {run.file.stem}{left}", flush=True)
        try:
            complete(run)
        except UserError as error:
            failures.append(str(error))
            print(f"    {error}", flush=True)
        else:
            print(f"    {told(entry(run))}", flush=True)
            write(runs, out)
    write(runs, out)
    return failures


def entry(run: Run) -> dict[str, Any]:
    """A finished run, as in table.json."""
    found = run.results()
    if found is None:
        raise UserError(
            f"{run.folder} holds no results of {run.file.name} as it is now; start again"
        )
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
            name: shlex.join(["python", *command]) for name, command in run.programs.items()
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
    (out / "table.json").write_text(json.dumps(entries, indent=2) + "\n")
    (out / "table.md").write_text(markdown(entries))
    draw(entries, out)


def main() -> None:
    variant = "mini" if MINI.value else "full"
    out = program.writable(
        Path(OUT.value or ("runs/table-mini" if MINI.value else "runs/table")).resolve(), "out"
    )
    failures = complete_all(find(Path(CONFIGS.value).resolve(), RUNS.value, variant, out), out)
    if (out / "table.md").exists():
        print("\n" + (out / "table.md").read_text(), flush=True)
    if failures:
        raise UserError(f"{len(failures)} runs failed: {'; '.join(failures)}")


if __name__ == "__main__":
    program.run(main)
