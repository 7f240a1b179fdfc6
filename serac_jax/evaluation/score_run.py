"""Scores the editor of a run."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from serac_jax.evaluation.evaluate import evaluate_and_write
from serac_jax.runtime import program
from serac_jax.training import run_folder
from serac_jax.training.restore import restore


def score_run(folder: Path, changes: dict[str, Any], command: str) -> None:
    """Restores the best checkpoint of a run, and prints and writes what its edits changed.

    Args:
      folder: The run's folder, which results.json and predictions.jsonl are written to.
      changes: Fields of the run's config to change.
      command: The command line, to be recorded.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing to save
    config = run_folder.config_of(folder, changes)
    program.use_compilation_cache(program.cache_folder(config))
    program.writable(folder, "workdir")

    run, step, params = restore(folder, config)
    evaluate_and_write(
        run,
        params,
        config,
        folder,
        name=f"{folder}, step {step}",
        step=step,
        split_asked="eval.split" in changes,
        command=command,
    )
