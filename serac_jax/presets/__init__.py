"""Configs by name: an experiment, an editor and a variant, such as "zsre_rep:mini".

from serac_jax import presets

config = presets.preset("zsre_rep:mini")
config.train.steps = 100
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

from serac_jax.core.errors import UserError
from serac_jax.core.types import Config
from serac_jax.presets.bases import BASES
from serac_jax.presets.experiments import EXPERIMENTS, MINI
from serac_jax.presets.methods import METHODS
from serac_jax.training import sections
from serac_jax.training.overrides import near

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
    path = Path(file)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UserError(f"there is no config file {file}; presets are {', '.join(NAMES)}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise UserError(f"{file} defines no function get_config")
    return module.get_config(variant) if variant else module.get_config()
