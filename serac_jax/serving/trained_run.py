"""The editor that a run of train.py has trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from serac_jax.core.errors import UserError
from serac_jax.editors.protocol import Thresholds
from serac_jax.index.distance import Distance
from serac_jax.runtime import program
from serac_jax.serving.editor_spec import Spec
from serac_jax.serving.parts import Part, Parts
from serac_jax.text.buckets import spread_widths
from serac_jax.training import experiment, run_folder, steps
from serac_jax.training.checkpoints import trained
from serac_jax.training.registry import TASKS


def of_run(folder: Path, mesh: Mapping[str, int]) -> Parts:
    """Its parts, with the parameters of the best checkpoint, on a mesh. Raises UserError for a run
    of an editor that keeps no edits as text."""
    config = run_folder.config_of(
        folder, run_folder.ONE_DEVICE | {f"mesh.{axis}": size for axis, size in mesh.items()}
    )
    if config.editor != "serac":
        raise UserError(
            f"{folder} is a run of the editor {config.editor!r}; only SERAC's keeps edits as text"
            " (runs _rep and _rp)"
        )
    try:
        built = experiment.build(config, program.cache_folder(config))
    except AttributeError as error:  # a field that is read now, but which the run's config has not
        raise UserError(
            f"{folder} is a run of another version of this program ({error}); load it with that"
            " version, or train it anew"
        ) from error
    params = trained(
        folder,
        built.editor,
        steps.init_params(built.editor, built.base_params, config.seed, built.mesh),
    )[1]
    chosen, scope = config.serac, "rerank" if config.serac.cross_attention else "scope"
    networks = {
        "base": Part(built.base, built.base_params),
        scope: Part(built.parts["scope"], params["scope"]),
    }
    if "counterfactual" in built.parts:
        networks["counterfactual"] = Part(built.parts["counterfactual"], params["counterfactual"])
    names = {part: f"./{part}" for part in networks} | (
        {} if config.base.checkpoint else {"base": config.base.name}
    )
    classes = TASKS[config.task].CLASSES
    question_widths = spread_widths(config.data.question_tokens, config.data.sizes)
    answer_widths = (1,) if classes else (config.data.answer_tokens,)
    distance = Distance(chosen.cosine, chosen.square, chosen.bounded, chosen.heads)
    return Parts(
        Spec(
            names,
            classes,
            chosen.pool,
            distance,
            question_widths,
            answer_widths,
            decision=Thresholds(chosen.threshold, chosen.threshold),
            exact_match=chosen.exact_match,
        ),
        networks,
        built.base.tokenizer,
        built.base.network.template,
    )
