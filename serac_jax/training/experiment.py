"""From a config to the parts of a run: mesh, frozen base model, editor and task."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array
from transformers import PreTrainedTokenizerBase

from serac_jax import models
from serac_jax.core import sharding
from serac_jax.core.batch import Examples, stack
from serac_jax.core.errors import UserError
from serac_jax.core.types import Config, Params
from serac_jax.editors.enn import enn
from serac_jax.editors.finetune import finetune
from serac_jax.editors.lookup import lookup
from serac_jax.editors.mend import mend
from serac_jax.editors.protocol import Editor, on_gathered_weights
from serac_jax.editors.serac import scope as scopes
from serac_jax.editors.serac.serac import Options, serac
from serac_jax.models import Model
from serac_jax.tasks import protocol
from serac_jax.tasks.protocol import Task
from serac_jax.text.tokens import prefix_token_count

Load = Callable[..., tuple[Model, Params]]  # a function like `models.load`


class Experiment(NamedTuple):
    mesh: Mesh
    base: Model
    base_params: Params
    editor: Editor
    task: Task
    parts: dict[str, Model]  # the networks that training changes, by their part of the parameters


def build(
    config: Config, cache: Path, load: Load | None = None, devices: Sequence[Any] | None = None
) -> Experiment:
    """Loads what the config names. Raises UserError, with what to do, where something is missing or
    does not fit.

    load: how models are loaded; by default, each leaf goes where the sharding table says as soon as
        it is read.
    devices: of which the mesh is made; by default this machine's.
    """
    mesh = sharding.make_mesh(
        data=config.mesh.data, fsdp=config.mesh.fsdp, model=config.mesh.model, devices=devices
    )
    load = load or partial(models.load, place=placer(mesh))
    dtype = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}.get(config.base.dtype)
    if dtype is None:
        raise UserError(f"base.dtype={config.base.dtype!r} is not known; use float32 or bfloat16")
    if config.task not in protocol.TASKS:
        raise UserError(
            f"task={config.task!r} is not known; there are {', '.join(sorted(protocol.TASKS))}"
        )
    output = protocol.TASKS[config.task].output
    base, base_params = load(
        config.base.name, output=output, checkpoint=config.base.checkpoint, dtype=dtype
    )
    if config.editor not in EDITORS:
        raise UserError(
            f"editor={config.editor!r} is not known; there are {', '.join(sorted(EDITORS))}"
        )
    editor, parts, scope_tokenizer = EDITORS[config.editor](config, base, load, cache)
    task = protocol.build(config, base.tokenizer, scope_tokenizer, cache)
    return Experiment(mesh, base, base_params, on_gathered_weights(editor), task, parts)


def placer(mesh: Mesh) -> Callable[[str, np.ndarray], Array]:
    """Puts a leaf where the sharding table says."""
    return lambda path, array: sharding.place(
        array, NamedSharding(mesh, sharding.checked_spec(path, array.shape, mesh))
    )


Built = tuple[
    Editor, dict[str, Model], PreTrainedTokenizerBase | None
]  # an editor, the networks that it trains, the scope classifier's tokenizer


def build_serac(config: Config, base: Model, load: Load, cache: Path) -> Built:
    options, train = config.serac, config.train
    loading: dict[str, Any] = {
        "dropout": train.dropout,
        "dtype": base.module.config.dtype,
        "seed": config.seed,
    }
    output = "head" if options.cross_attention else options.pool
    fresh = ("head", "pre_head", "pooler") if options.cross_attention else ()
    classifier, classifier_params = load(
        options.scope, output=output, remat=options.remat, fresh=fresh, **loading
    )
    if options.cross_attention:
        scope = scopes.cross_attention(classifier, prefix_token_count(classifier.tokenizer))
    else:
        scope = scopes.embedding(
            classifier,
            scopes.Distance(options.cosine, options.square, options.bounded, options.heads),
        )
    counterfactual = counterfactual_params = None
    if not options.freeze_counterfactual:
        answers: dict[str, Any] = {
            "output": base.output,
            "labels": base.labels,
            "fresh": ("head",),
        }  # as the base model's
        counterfactual, counterfactual_params = load(
            options.counterfactual, remat=options.remat, **answers, **loading
        )
        check_vocabulary(base, counterfactual)
    editor = serac(
        base,
        scope,
        classifier_params,
        counterfactual,
        counterfactual_params,
        prefix_token_count(base.tokenizer),
        Options(
            options.supervised,
            options.soft_weighting,
            options.all_negatives,
            options.freeze,
            train.cedit,
            train.cloc,
            train.unlikelihood,
        ),
    )
    parts = {"scope": classifier} | ({"counterfactual": counterfactual} if counterfactual else {})
    return editor, parts, classifier.tokenizer


def build_enn(config: Config, base: Model, load: Load, cache: Path) -> Built:
    train = config.train
    options = enn.Options(
        **config.enn, cedit=train.cedit, cloc=train.cloc, unlikelihood=train.unlikelihood
    )
    return (
        enn.enn(base.with_dropout(train.dropout), tuple(config.inner), options),
        {"base": base} if options.train_base else {},
        None,
    )


def check_vocabulary(base: Model, counterfactual: Model) -> None:
    """Raises UserError unless the two models read and write the same tokens: their answers are
    compared and mixed."""
    if base.tokenizer.get_vocab() != counterfactual.tokenizer.get_vocab():
        raise UserError(
            f"the counterfactual model {counterfactual.name!r} has another vocabulary than the base"
            f" model {base.name!r}; choose a model of the same family"
        )
    sizes = [model.module.config.vocab for model in (base, counterfactual)]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"{base.name!r} has {sizes[0]} output tokens, {counterfactual.name!r} has {sizes[1]};"
            " choose a counterfactual model with as many"
        )


def build_mend(config: Config, base: Model, load: Load, cache: Path) -> Built:
    train = config.train
    options = mend.Options(
        **config.mend, cedit=train.cedit, cloc=train.cloc, unlikelihood=train.unlikelihood
    )
    return mend.mend(base, tuple(config.inner), options), {}, None


def build_lookup(config: Config, base: Model, load: Load, cache: Path) -> Built:
    return lookup.lookup(base, lookup.Options(**config.lookup)), {}, None


def build_finetune(config: Config, base: Model, load: Load, cache: Path) -> Built:
    chosen = config.finetune
    if chosen.optimizer not in finetune.OPTIMIZERS:
        raise UserError(
            f"finetune.optimizer={chosen.optimizer!r} is not known; there are"
            f" {', '.join(finetune.OPTIMIZERS)}"
        )
    options = finetune.Options(
        chosen.optimizer,
        chosen.lr,
        chosen.steps,
        config.train.clip,
        chosen.rank,
        chosen.init_std,
        config.seed,
        chosen.cedit,
    )
    nearby = (
        outside(config, base, cache, chosen.locality_batches, chosen.locality_rows)
        if chosen.locality_batches
        else None
    )
    return finetune.finetune(base, tuple(config.inner), options, nearby), {}, None


def outside(config: Config, base: Model, cache: Path, batches: int, rows: int) -> Examples:
    """So many batches of out-of-scope queries of the training split, leaves "m o …"."""
    data = protocol.build(config, base.tokenizer, None, cache).batches(
        config.data.train_split, rows, True
    )
    return jax.tree.map(
        jnp.asarray, stack([batch.outside for batch in itertools.islice(data, batches)])
    )


EDITORS = {
    "serac": build_serac,
    "mend": build_mend,
    "enn": build_enn,
    "lookup": build_lookup,
    "finetune": build_finetune,
}
