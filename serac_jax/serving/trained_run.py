"""The editor that a run of train.py has trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from serac_jax.core.errors import UserError
from serac_jax.core.types import Config, Params
from serac_jax.editors.adapter_serac.adapter_serac_editor import COSINE
from serac_jax.editors.protocol import Thresholds
from serac_jax.index.distance import Distance
from serac_jax.models import adapters
from serac_jax.serving.editor_spec import JudgeSpec, Spec
from serac_jax.serving.parts import Part, Parts
from serac_jax.text.buckets import spread_widths
from serac_jax.training import run_folder
from serac_jax.training.experiment import Experiment
from serac_jax.training.registry import TASKS
from serac_jax.training.restore import restore


def of_run(folder: Path, mesh: Mapping[str, int], dtype: str | None = None) -> Parts:
    """Its parts, with the parameters of the best checkpoint, on a mesh. Raises UserError for a run
    of an editor that keeps no edits as text.

    dtype: of the base model, in place of the config's.
    """
    axes = {f"mesh.{axis}": size for axis, size in mesh.items()}
    config = run_folder.config_of(folder, run_folder.ONE_DEVICE | axes | run_folder.in_dtype(dtype))
    if config.editor not in PARTS:
        raise UserError(
            f"{folder} is a run of the editor {config.editor!r}; only SERAC's keeps edits as text"
            " (runs _rep, _rp and _serac)"
        )
    built, _, params = restore(folder, config)
    return PARTS[config.editor](config, built, params)


def of_serac(config: Config, built: Experiment, params: Params) -> Parts:
    """SERAC's networks."""
    chosen, scope = config.serac, "rerank" if config.serac.cross_attention else "scope"
    networks = {
        "base": Part(built.base, built.base_params),
        scope: Part(built.parts["scope"], params["scope"]),
    }
    if "counterfactual" in built.parts:
        networks["counterfactual"] = Part(built.parts["counterfactual"], params["counterfactual"])
    names = {part: f"./{part}" for part in networks} | named_base(config)
    spec = common(config, names)._replace(
        pool=chosen.pool,
        distance=Distance(chosen.cosine, chosen.square, chosen.bounded, chosen.heads),
        decision=Thresholds(chosen.threshold, chosen.threshold),
        exact_match=chosen.exact_match,
    )
    return Parts(spec, networks, built.base.tokenizer, template_of(config, built))


def of_adapter_serac(config: Config, built: Experiment, params: Params) -> Parts:
    """Adapter SERAC's: two named models, and their adapters.

    The base model answers as its network declares, since it has not learned the reader's form.
    """
    chosen = config.adapter_serac
    encoder = adapters.merged(params["encoder"], params["scope"])
    networks = {
        "base": Part(built.base, built.base_params, params["reader"]),
        "scope": Part(built.parts["encoder"], encoder, params["scope"]),
    }
    names = {"base": config.base.name, "scope": chosen.encoder}
    spec = common(config, names)._replace(
        pool=chosen.pool,
        distance=COSINE,
        decision=Thresholds(chosen.threshold, chosen.threshold),
        judge=JudgeSpec(template_of(config, built), chosen.proposals, chosen.border),
    )
    return Parts(spec, networks, built.base.tokenizer, built.base.network.template)


# By the editor of the run.
PARTS: Mapping[str, Callable[[Config, Experiment, Params], Parts]] = {
    "serac": of_serac,
    "adapter_serac": of_adapter_serac,
}


def common(config: Config, names: dict[str, str]) -> Spec:
    """What the spec of every editor says of a run."""
    classes = TASKS[config.task].CLASSES
    return Spec(
        names,
        classes,
        question_widths=spread_widths(config.data.question_tokens, config.data.sizes),
        answer_widths=(1,) if classes else (config.data.answer_tokens,),
        dtype=dtype_of(config),
    )


def dtype_of(config: Config) -> str:
    """The dtype of a saved editor, which holds and computes its base model in one: the wider of the
    two of a run, in which weights that are held in the other stay what they are."""
    return "float32" if "float32" in (config.base.dtype, config.base.param_dtype) else "bfloat16"


def named_base(config: Config) -> dict[str, str]:
    """The name of the base model, unless its weights come from a file."""
    return {} if config.base.checkpoint else {"base": config.base.name}


def template_of(config: Config, built: Experiment) -> str:
    """How edits and questions were put together in training."""
    return config.base.template or built.base.network.template
