"""Scoring a saved editor, with the threshold that it answers with."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from serac_jax import presets
from serac_jax.core.errors import UserError
from serac_jax.evaluation.evaluate import evaluate_and_write
from serac_jax.runtime import program
from serac_jax.serving.as_experiment import as_experiment
from serac_jax.serving.saved_editor import find
from serac_jax.training import overrides, run_folder

# The preset whose data a shipped editor was trained on.
SHIPPED = {
    "mini": "zsre_hard_rep:mini",
    "mini/zsre": "zsre_hard_rep:mini",
    "mini/fnli": "fnli_rep:mini",
    "mini/sent": "sent_rep:mini",
}


def score_editor(
    name: str,
    preset: str | None,
    changes: dict[str, Any],
    out: str | None,
    command: str,
    dtype: str | None = None,
) -> None:
    """Scores an editor on the data of a preset, and prints and writes what its edits changed.

    Args:
      name: an editor, as `serac ask --editor` takes it.
      preset: the preset or config file whose task and data are used; None for shipped editors.
      changes: fields of the preset to change.
      out: the folder for results.json and predictions.jsonl; None for a new one under runs/.
      command: the command line, to be recorded.
      dtype: what the base model is held and computed in; None: as the editor says.

    Raises:
      UserError: there is no such editor or preset, or they do not fit.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing to save
    preset = preset or SHIPPED.get(name)
    if preset is None:
        raise UserError(
            f"--editor={name}: name the preset whose data are asked, such as"
            " --preset=zsre_hard_rep:mini"
        )
    config = overrides.apply(presets.load(preset), changes)
    cache = program.cache_folder(config)
    program.use_compilation_cache(cache)
    folder = program.writable(Path(out) if out else new_folder(name), "out")
    run, params = as_experiment(find(name, dtype=dtype), config, cache)
    evaluate_and_write(
        run,
        params,
        config,
        folder,
        name=f"editor {name}",
        step=None,
        split_asked="eval.split" in changes,
        command=command,
    )


def new_folder(name: str) -> Path:
    """runs/eval-NAME-<date and time>."""
    stem = Path(name).name or "editor"
    return run_folder.RUNS / f"eval-{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
