"""Writes the trained networks of a run as Hugging Face folders."""

from __future__ import annotations

from pathlib import Path

from serac_jax.core.console import say
from serac_jax.core.errors import UserError


def export_networks(folder: Path | None, out: Path) -> None:
    """Writes what the best checkpoint of a run has learned, one folder a network.

    The scope classifier and the counterfactual model become OUT/scope and OUT/counterfactual, which
    PyTorch `transformers` loads, and which another run can name as base.name, serac.scope or
    serac.counterfactual.

    Args:
      folder: The run's folder; by default the newest under runs/.
      out: Where the folders are written.

    Raises:
      UserError: There is no run, or its editor trains no network of its own.
    """
    from serac_jax import models
    from serac_jax.runtime import program
    from serac_jax.training import run_folder
    from serac_jax.training.restore import restore

    folder = folder or run_folder.newest()
    config = run_folder.config_of(folder, run_folder.ONE_DEVICE)
    run, step, params = restore(folder, config)
    if not run.parts:
        raise UserError(
            f"{folder}: the editor {config.editor!r} trains no network of its own, so there is"
            " nothing to export"
        )
    out = program.writable(out, "out")
    for part, model in run.parts.items():
        models.save(out / part, model, params[part])
        say(f"{out / part}: {model.name} as of step {step}")
