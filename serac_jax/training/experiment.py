"""From a config to the parts of a run: mesh, frozen base model, editor and task."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from serac_jax import models
from serac_jax.core import sharding
from serac_jax.core.batch import Examples, stack
from serac_jax.core.errors import UserError
from serac_jax.core.fields import DTYPES
from serac_jax.core.types import Config, Params
from serac_jax.editors.protocol import Editor, Setup, on_gathered_weights
from serac_jax.models import Load, Model
from serac_jax.tasks.measured_sizes import with_measured_sizes
from serac_jax.tasks.task import Task
from serac_jax.text.templates import TEMPLATES
from serac_jax.training import registry, sections


class Experiment(NamedTuple):
    mesh: Mesh
    base: Model
    base_params: Params
    editor: Editor
    task: Task
    parts: dict[str, Model]  # the networks that training changes, by their part of the parameters


def build(
    config: Config,
    cache: Path,
    load: Load | None = None,
    devices: Sequence[Any] | None = None,
    folder: Path | None = None,
) -> Experiment:
    """Loads what the config names. Raises UserError, with what to do, where something is missing or
    does not fit.

    load: how models are loaded; by default, each leaf goes where the sharding table says as soon as
        it is read.
    devices: of which the mesh is made; by default this machine's.
    folder: of a training run, which keeps the measured sizes of its batches.
    """
    sections.check(config)
    mesh = sharding.make_mesh(
        data=config.mesh.data, fsdp=config.mesh.fsdp, model=config.mesh.model, devices=devices
    )
    load = load or partial(models.load, place=sharding.placer(mesh))
    task_folder, editor_folder = registry.task(config.task), registry.editor(config.editor)
    base, base_params = load(
        config.base.name,
        output=task_folder.OUTPUT,
        checkpoint=config.base.checkpoint,
        dtype=dtype_of(config, "dtype"),
        param_dtype=dtype_of(config, "param_dtype"),
    )

    template = config.base.template or base.network.template
    base = base.stopping_at(TEMPLATES[template](base.tokenizer).stops)

    def outside(batches: int, rows: int) -> Examples:
        """So many batches of out-of-scope queries of the training split, leaves "m o …"."""
        alone = task_folder.build(config, base.tokenizer, None, cache, template)
        drawn = itertools.islice(alone.batches(config.data.train_split, rows, True), batches)
        return jax.tree.map(jnp.asarray, stack([batch.outside for batch in drawn]))

    built = editor_folder.build(Setup(config, base, template, load, outside))
    task = task_folder.build(config, base.tokenizer, built.scope_tokenizer, cache, template)
    task = task._replace(encode=replace(task.encode, judged=built.judges))
    task = with_measured_sizes(task, config, cache, folder)
    editor = on_gathered_weights(built.editor)
    return Experiment(mesh, base, base_params, editor, task, built.parts)


def dtype_of(config: Config, field: str) -> Any:
    """The dtype that a field of the section "base" names. Raises UserError where it is no such."""
    name = config.base[field]
    if name not in DTYPES:
        raise UserError(f"base.{field}={name!r} is not known; use {' or '.join(DTYPES)}")
    return jnp.dtype(name)
