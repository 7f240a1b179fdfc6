"""Turns a training archive of the original (PyTorch) into a run of this program."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from serac_jax.cli.command import Command
from serac_jax.cli.options import configured, launch, parse, parser, sibling
from serac_jax.core.console import say_lines
from serac_jax.core.errors import UserError
from serac_jax.core.types import Config
from serac_jax.editors.interventions import select
from serac_jax.models import convert, torch_file
from serac_jax.models.convert import Reader
from serac_jax.models.torch_file import Tensor
from serac_jax.runtime import program
from serac_jax.training import experiment, run_folder, steps
from serac_jax.training.checkpoints import Checkpoints
from serac_jax.training.experiment import Experiment

ABOUT = """Turn a training archive of the original (PyTorch) into a run of this program.

The archive is what the original saves while it trains (torch.save of model, opt, val_stats, step)
for SERAC (rep), MEND (gtn) or ENN (enn). It is read without PyTorch, and without running what is in
it. The preset names the editor, its options and the models, as for training. Afterwards `serac eval
--workdir=FOLDER` scores the parameters, and `serac train PRESET --workdir=FOLDER` continues from
them with a new optimizer: Adam's moments are not taken over."""

Leaves = Iterator[tuple[str, np.ndarray]]


def state_of(file: Path) -> tuple[dict[str, Reader], int]:
    """Readers of the trained tensors by the original's names, and the step. Raises UserError where
    the file is not an archive of the original."""
    archive = torch_file.load(file)
    if not isinstance(archive, dict) or not {"model", "step"} <= archive.keys():
        raise UserError(
            f"{file} is not a training archive of the original: it should hold model, opt,"
            " val_stats and step"
        )
    tensors = {
        name: tensor for name, tensor in archive["model"].items() if isinstance(tensor, Tensor)
    }
    return {
        name: lambda tensor=tensor: convert.as_float32(tensor.read())
        for name, tensor in tensors.items()
    }, int(archive["step"])


def network_leaves(
    tensors: dict[str, Reader], prefix: str, run: Experiment, part: str, template: Any, file: Path
) -> Leaves:
    """Leaves of one of the networks that an editor trains, whose names begin with `prefix`."""
    model = run.parts[part]
    named = {
        convert.canonical(name.removeprefix(prefix)): read
        for name, read in tensors.items()
        if name.startswith(prefix)
    }
    found = convert.from_hf(
        named,
        convert.flatten(template),
        rules=model.network.rules,
        transposed=model.network.transposed,
        copies=model.network.copies(model.module.config),
        ignored=model.network.ignored,
        optional=model.network.optional,
        source=f"{file} ({prefix}…)",
    )
    return ((f"{part}/{path}", array) for path, array in found)


def serac_leaves(
    tensors: dict[str, Reader], run: Experiment, config: Config, template: Any, file: Path
) -> Leaves:
    """The scope classifier and, unless it is the frozen base model, the counterfactual model."""
    for part, prefix in (("scope", "classifier."), ("counterfactual", "replacement.")):
        if part in template:
            yield from network_leaves(tensors, prefix, run, part, template[part], file)


def enn_leaves(
    tensors: dict[str, Reader], run: Experiment, config: Config, template: Any, file: Path
) -> Leaves:
    """The rates of edits, one a kernel in the order of `config.inner`, and the base model where it
    was trained too."""
    rates = rates_of(tensors, run, config, file)
    yield from (
        (f"rates/{path}", rate)
        for path, rate in zip(select(run.base_params, tuple(config.inner)), rates, strict=True)
    )
    if "base" in template:
        yield from network_leaves(tensors, "model.", run, "base", template["base"], file)


def rates_of(tensors: dict[str, Reader], run: Experiment, config: Config, file: Path) -> np.ndarray:
    """The learned rates of edits. Raises UserError unless there is one for each inner kernel."""
    kernels = select(run.base_params, tuple(config.inner))
    rates = tensors["edit_lrs"]() if "edit_lrs" in tensors else np.zeros(0)
    if len(rates) != len(kernels):
        raise UserError(
            f"{file} has {len(rates)} rates of edits, but config.inner names {len(kernels)}"
            " kernels; name those of the archive, in its order"
        )
    return rates


SIDES = {
    "mlp": "both",
    "mlp1": "x",
    "mlp2": "delta",
}  # what MEND's networks read, by the original's names
LAYER = {
    "u": "up",
    "v": "down",
    "bias": "bias",
    "mode_scale.weight": "scale",
    "mode_shift.weight": "shift",
}


def mend_leaves(
    tensors: dict[str, Reader], run: Experiment, config: Config, template: Any, file: Path
) -> Leaves:
    """Networks, moments and rates of edits; kernels that share networks are counted in the order of
    `config.inner`."""
    yield "rates", rates_of(tensors, run, config, file)
    groups = {
        found[1]: shared_name(found[1], run)
        for name in tensors
        if (found := re.match(r"gtn\.(.*)\.(?:mlp\d?\.|k$)", name))
    }
    for name, read in tensors.items():
        if found := re.fullmatch(r"gtn\.(.*)\.(mlp\d?)\.layers\.(\d+)\.(.*)", name):
            leaf = LAYER[found[4]]
            yield (
                f"networks/{groups[found[1]]}/{SIDES[found[2]]}/layer_{found[3]}/{leaf}",
                (read().T if leaf in ("up", "down") else read()),
            )
    for original, name in groups.items():
        if name in template.get("moments", {}):
            count, *sides = (
                tensors[f"gtn.{original}.{part}"]()
                for part in ("k", "u_mean", "v_mean", "u_s", "v_s")
            )
            moments = {
                "count": count.reshape(()),
                "mean": np.concatenate(sides[:2]),
                "square": np.concatenate(sides[2:]),
            }
            yield from ((f"moments/{name}/{part}", array) for part, array in moments.items())


def shared_name(original: str, run: Experiment) -> str:
    """Our name of the networks that the original calls by a shape, "(32, 64)", or by a weight,
    "encoder#block#…#weight"."""
    if original.startswith("("):
        return "x".join(re.findall(r"\d+", original))
    path = convert.path_of(
        convert.canonical(original.replace("#", ".")),
        run.base.network.rules,
        convert.flatten(run.base_params),
    )
    return str(path).removesuffix("/kernel").replace("/", ".")


IMPORTS: dict[str, Callable[..., Leaves]] = {
    "serac": serac_leaves,
    "mend": mend_leaves,
    "enn": enn_leaves,
}


def imported(
    tensors: dict[str, Reader], run: Experiment, config: Config, template: Any, file: Path
) -> Any:
    """The parameters of the run's editor, placed as `template` is. Raises UserError where the
    archive lacks some or does not fit the config."""
    if config.editor not in IMPORTS:
        raise UserError(
            f"editor={config.editor!r} cannot be imported; archives hold what"
            f" {', '.join(sorted(IMPORTS))} have learned"
        )
    leaves, filled = convert.flatten(template), {}
    for path, array in IMPORTS[config.editor](tensors, run, config, template, file):
        if array.shape != leaves[path].shape:
            raise UserError(
                f"{file}: {path} has shape {array.shape}, but the config asks for"
                f" {leaves[path].shape}; are its models and options those of the run?"
            )
        filled[path] = jax.device_put(jnp.asarray(array, leaves[path].dtype), leaves[path].sharding)
    if missing := sorted(set(leaves) - set(filled)):
        raise UserError(
            f"{file} lacks {len(missing)} of the editor's parameters, among them"
            f" {', '.join(missing[:5])}; is it the archive of another editor?"
        )
    return convert.unflatten(filled)


def run(options: Namespace) -> int:
    """`serac import-archive`."""
    one = parser("import-archive", ABOUT)
    one.add_argument("--archive", metavar="FILE", required=True, help="the original's archive")
    one.add_argument("--workdir", metavar="FOLDER", required=True, help="a new run's folder")
    chosen = parse(one, options.rest)
    config, file = configured(chosen), Path(chosen.archive).expanduser()
    return launch(lambda: import_archive(config, file, Path(chosen.workdir)))


def import_archive(config: Config, file: Path, folder: Path) -> None:
    """Writes a run whose last checkpoint is an archive's.

    Raises:
      UserError: The file is not an archive of the config's editor and models.
    """
    if not file.is_file():
        raise UserError(f"--archive={file} is not a file")
    tensors, step = state_of(file)
    run_folder.enter(folder, config)
    run = experiment.build(config, program.cache_folder(config))
    optimizer = steps.make_optimizer(config.train, run.editor)
    state = steps.init_state(run.editor, optimizer, run.base_params, config.seed, run.mesh)
    params = imported(tensors, run, config, state.params, file)
    state = state._replace(step=jnp.full_like(state.step, step), params=params)
    checkpoints = Checkpoints(folder)
    checkpoints.save(
        state, iter(run.task.batches(config.data.train_split, config.train.edits, True)), {}
    )
    checkpoints.close()
    say_lines(f"{file}, step {step} → {folder}\nnext: {sibling('eval')} --workdir={folder}")


COMMANDS = {
    "import-archive": Command(
        run, None, "import-archive zsre_rep --archive=qa_rep.pt --workdir=runs/original"
    )
}
