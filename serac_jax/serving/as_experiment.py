"""A saved editor as an experiment, so that evaluation scores exactly the editor that answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serac_jax.core import sharding
from serac_jax.core.errors import UserError
from serac_jax.core.types import Config, Params
from serac_jax.editors.protocol import on_gathered_weights
from serac_jax.editors.serac.loss import Options
from serac_jax.editors.serac.serac_editor import serac
from serac_jax.serving.parts import Parts
from serac_jax.training import registry
from serac_jax.training.experiment import Experiment


def as_experiment(parts: Parts, config: Config, cache: Path) -> tuple[Experiment, Params]:
    """The experiment of an editor on the data of a config, and the editor's parameters.

    Router and reader, with their thresholds, are the ones that the service answers with; questions
    are cut where the service cuts them.

    Args:
        config: names the task, its data and the mesh; fields of models and editors are not read.

    Raises:
        UserError: the editor has no base model of its own, answers otherwise than the task asks, or
            has two scope classifiers.
    """
    spec, networks = parts.spec, parts.networks
    if "base" not in networks:
        raise UserError("the editor has no base model of its own, so its answers cannot be scored")
    if spec.judge:
        raise UserError(
            "an editor whose reader judges is scored on rows of facts: serac eval --editor=…"
            " --data=rows.jsonl --out=FOLDER"
        )
    if "scope" in networks and "rerank" in networks:
        raise UserError(
            "an editor with both 'scope' and 'rerank' cannot be scored yet; save it without one"
        )
    task_folder = registry.task(config.task)
    if spec.answers != tuple(task_folder.CLASSES):
        raise UserError(
            f"the editor answers with {', '.join(spec.answers) or 'words'}, but the task"
            f" {config.task!r} asks for {', '.join(task_folder.CLASSES) or 'words'}"
        )
    drawn = config.copy_and_resolve_references().unlock()
    drawn.data.question_tokens = spec.question_widths[-1]
    if not spec.answers:
        drawn.data.answer_tokens = spec.answer_widths[-1]

    mesh = sharding.make_mesh(data=config.mesh.data, fsdp=config.mesh.fsdp, model=config.mesh.model)
    scope = "scope" if "scope" in networks else "rerank"
    drawn.serac.cross_attention = scope == "rerank"
    placed: dict[str, Any] = {
        part: sharding.place(found.params, sharding.shardings(found.params, mesh))
        for part, found in networks.items()
    }
    params = {"scope": placed[scope]}
    counterfactual = None
    if "counterfactual" in networks:
        counterfactual = parts.reader("counterfactual")
        params["counterfactual"] = placed["counterfactual"]
    editor = serac(
        parts.router,
        params["scope"],
        parts.reader("base"),
        counterfactual,
        params.get("counterfactual"),
        Options(),
    )
    scope_tokenizer = networks[scope].model.tokenizer
    task = task_folder.build(drawn, parts.tokenizer, scope_tokenizer, cache, parts.template)
    base, trained = networks["base"].model, {"scope": networks[scope].model}
    if counterfactual:
        trained["counterfactual"] = networks["counterfactual"].model
    return Experiment(
        mesh, base, placed["base"], on_gathered_weights(editor), task, trained
    ), params
