"""The editor of a run with what it has learned."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from serac_jax.core.errors import UserError
from serac_jax.core.types import Config, Params
from serac_jax.runtime import program
from serac_jax.training import experiment, steps
from serac_jax.training.checkpoints import Checkpoints
from serac_jax.training.experiment import Experiment


class Trained(NamedTuple):
    """A run's experiment, and the step and the parameters of its best checkpoint; 0 and the initial
    ones of an editor that learns nothing."""

    run: Experiment
    step: int
    params: Params


def restore(workdir: Path, config: Config) -> Trained:
    """Restores the editor of a run.

    Args:
      workdir: The run's folder.
      config: The run's config.

    Raises:
      UserError: There is no checkpoint, something that the config names is missing, or the run is
        one of another version.
    """
    try:
        run = experiment.build(config, program.cache_folder(config))
    except AttributeError as error:  # a field that is read now, but which the run's config has not
        raise UserError(
            f"{workdir} is a run of another version of this program ({error}); load it with that"
            " version, or train it anew"
        ) from error
    start = steps.init_params(run.editor, run.base_params, config.seed, run.mesh)
    if run.editor.loss is None:
        return Trained(run, 0, start)
    return Trained(run, *Checkpoints(workdir).best_params(start))
