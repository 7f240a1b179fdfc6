"""Configs by name: an experiment, an editor and a variant, such as "zsre_rep:mini".

from serac_jax import presets

config = presets.preset("zsre_rep:mini")
config.train.steps = 100
"""

from __future__ import annotations

import runpy
import traceback
from collections.abc import Callable
from pathlib import Path

from ml_collections import ConfigDict

from serac_jax.core.errors import UserError
from serac_jax.core.types import Config
from serac_jax.presets.bases import BASES
from serac_jax.presets.experiments import EXPERIMENTS, MINI
from serac_jax.presets.methods import METHODS
from serac_jax.training import sections
from serac_jax.training.sections import near

NAMES = tuple(f"{experiment}_{method}" for experiment in EXPERIMENTS for method in METHODS)


def preset(name: str) -> Config:
    """The config of a preset.

    Args:
      name: EXPERIMENT_EDITOR, as in the paper's tables; EXPERIMENT_EDITOR:mini for shipped models
        and data; or EXPERIMENT_EDITOR:BASE for another base model of `bases.BASES`.

    Raises:
      UserError: There is no such preset.
    """
    run, _, variant = name.partition(":")
    if run not in NAMES:
        hint = near(run, NAMES) or f"; presets are {', '.join(NAMES)}"
        raise UserError(f"there is no preset {run!r}{hint}")
    if variant not in ("", "full", "mini", *BASES):
        raise UserError(
            f"there is no variant :{variant} of a preset; use :mini, a base model"
            f" ({', '.join(BASES)}) or nothing"
        )
    experiment_name, _, method_name = run.rpartition("_")
    experiment, method = EXPERIMENTS[experiment_name], METHODS[method_name]
    mini = variant == "mini"
    config = sections.defaults()
    for changes in (
        MINI if mini else {},
        BASES[variant if variant in BASES else experiment.bases[mini]],
        experiment.full,
        experiment.mini if mini else {},
        method.full,
        method.mini if mini else {},
        method.tuned.get(experiment_name, {}) if mini else {},
    ):
        config.update_from_flattened_dict(changes)
    return config


def variants(name: str) -> Callable[[str], Config]:
    """A preset as the `get_config` of a file in configs/."""
    return lambda size="full": preset(f"{name}:{size}")


def load(name: str) -> Config:
    """The config of a preset, or of a Python file with a function `get_config`.

    Args:
      name: A preset, as in `preset`, or FILE.py or FILE.py:VARIANT, of which
        `get_config(VARIANT)` is called.

    Raises:
      UserError: There is no such preset or file, or the file has no `get_config`.
    """
    file, _, variant = name.partition(":")
    if not file.endswith(".py"):
        return preset(name)
    if not Path(file).is_file():
        raise UserError(f"there is no config file {file}; presets are {', '.join(NAMES)}")
    try:
        get_config = runpy.run_path(file).get("get_config")
        found = get_config and (get_config(variant) if variant else get_config())
    except UserError:
        raise
    except Exception as error:  # whatever the file does
        raise UserError(f"{file}{line_of(error, file)}: {type(error).__name__}: {error}") from error
    if not isinstance(found, ConfigDict):
        raise UserError(f"{file} defines no function get_config that gives a config")
    return found


def line_of(error: Exception, file: str) -> str:
    """The line of a file at which an error arose, as ":3"; "" where it did not arise there."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}"
    lines = [
        place.lineno
        for place in traceback.extract_tb(error.__traceback__)
        if place.filename == file
    ]
    return f":{lines[-1]}" if lines else ""
