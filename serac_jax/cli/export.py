"""Writes the trained networks of a run as Hugging Face folders.

    python -m serac_jax.cli.export --workdir=FOLDER --out=FOLDER

The best checkpoint's scope classifier and counterfactual model become OUT/scope and
OUT/counterfactual, which PyTorch `transformers` loads, and which can be named as base.name,
serac.scope or serac.counterfactual of another run."""

from pathlib import Path

from absl import flags

from serac_jax import models
from serac_jax.core.errors import UserError
from serac_jax.runtime import program
from serac_jax.training import experiment, run_folder, steps
from serac_jax.training.checkpoints import Checkpoints

WORKDIR = flags.DEFINE_string("workdir", None, "A run's folder; by default the newest under runs/.")
OUT = flags.DEFINE_string("out", None, "Where the folders are written.", required=True)


def main() -> None:
    folder = Path(WORKDIR.value) if WORKDIR.value else run_folder.newest()
    config = run_folder.config_of(folder, run_folder.ONE_DEVICE)
    run = experiment.build(config, program.cache_folder(config))
    if not run.parts:
        raise UserError(
            f"{folder}: the editor {config.editor!r} trains no network of its own, so there is"
            " nothing to export"
        )
    step, params = Checkpoints(folder).best_params(
        steps.init_params(run.editor, run.base_params, config.seed, run.mesh)
    )
    out = program.writable(Path(OUT.value), "out")
    for part, model in run.parts.items():
        models.save(out / part, model, params[part])
        print(f"{out / part}: {model.name} as of step {step}")


if __name__ == "__main__":
    program.run(main)
