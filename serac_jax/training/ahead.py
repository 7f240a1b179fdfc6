"""Compiles a config's programs from shapes alone, to find out whether it fits the hardware.

Only configurations and tokenizers of models are read, and nothing runs. Batches have the largest
size that the config allows.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh

from serac_jax import models
from serac_jax.core import files, sharding
from serac_jax.core.console import say
from serac_jax.core.errors import UserError
from serac_jax.core.types import Config
from serac_jax.models import Model, convert, hub
from serac_jax.training import experiment, steps
from serac_jax.training.experiment import Experiment

# Memory of a chip in GiB, by JAX's name of its kind (published figures).
MEMORY = {"TPU v4": 32, "TPU v5 lite": 16, "TPU v5": 95, "TPU v6 lite": 32}
# GB of common GPUs; a tenth is reserved for the driver and libraries.
GPUS = (16, 24, 40, 80)
# A collective: its kind, and the channel, which its parts in a TPU program share.
COLLECTIVE = re.compile(
    r" (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
    r".*?channel_id=(\d+)"
)
GIB = 2**30


class Cost(NamedTuple):
    """What the compiler reports for one program on one chip.

    Attributes:
      seconds: Time to compile.
      held: Bytes of arguments.
      new: Bytes of results and temporaries that are not arguments.
      flops: FLOPs of the program as written: the body of a loop counts once.
      moved: Bytes moved between memory and cores.
      collectives: The number of collectives of each kind.
    """

    seconds: float
    held: int
    new: int
    flops: float
    moved: float
    collectives: dict[str, int]


def abstract(
    config: Config, cache: Path, devices: Sequence[Any], mirror: str | None = None
) -> tuple[Experiment, Any]:
    """The experiment with shapes instead of weights, and the shapes of its parameters.

    Args:
      mirror: A folder that holds every model under its name.
    """
    loaded: list[tuple[Model, Any]] = []
    mesh = sharding.make_mesh(
        data=config.mesh.data, fsdp=config.mesh.fsdp, model=config.mesh.model, devices=devices
    )

    def load(
        name: str,
        *,
        checkpoint: str = "",
        fresh: tuple[str, ...] = (),
        seed: int = 0,
        param_dtype: Any = np.float32,
        **options: Any,
    ) -> Any:
        folder = Path(mirror).expanduser() / name if mirror else hub.described(name)
        model = models.outline(name, folder, **options)
        shapes = models.abstract(model.module, param_dtype)
        loaded.append((model, placed(convert.unflatten(shapes), mesh)))
        return loaded[-1]

    run = experiment.build(config, cache, load, devices)
    shapes = [params for _, params in loaded]

    def init(weights: list[Any]) -> Any:
        """The editor's initial parameters, as a function of the models' weights."""
        again = iter(zip((model for model, _ in loaded), weights, strict=True))
        return experiment.build(
            config, cache, lambda name, **options: next(again), devices
        ).editor.init(jax.random.key(0), weights[0])

    return run, placed(jax.eval_shape(init, shapes), mesh)


def placed(tree: Any, mesh: Mesh) -> Any:
    """Shapes with the shardings of the sharding table."""
    return jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
        tree,
        sharding.shardings(tree, mesh),
    )


def batch(run: Experiment, size: int, train: bool) -> Any:
    """Shapes of the largest batch, sharded as `steps.shard_batch` does."""
    where = sharding.batch_sharding(run.mesh)
    widest = steps.pad_rows_to_mesh(run.task.widest(size, train), run.mesh)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), widest
    )


def programs(config: Config, run: Experiment, params: Any) -> dict[str, Callable[[], Any]]:
    """Functions that trace each program of `serac train` and `serac eval`, and editing alone."""
    asked = batch(run, config.eval.edits, False)

    def edit(params: Any, base: Any, edits: Any) -> Any:
        return run.editor.edit(params, run.editor.start(params, base, edits), edits)

    found: dict[str, Any] = {
        "edit": (jax.jit(edit), params, run.base_params, asked.edits),
        "evaluate": (
            steps.make_eval_step(run.editor, run.base, run.task.score),
            params,
            run.base_params,
            asked,
        ),
        "generate": (steps.make_answer_step(run.editor, run.base), params, run.base_params, asked),
    }
    if run.editor.loss:
        optimizer = steps.make_optimizer(config.train, run.editor)
        state = placed(
            jax.eval_shape(lambda params: steps.start_state(optimizer, params), params), run.mesh
        )
        train_step = steps.make_train_step(run.editor, state, config.train.accumulate, config.seed)
        learning = {
            "train": (train_step, state, run.base_params, batch(run, config.train.edits, True))
        }
        found = learning | {"update": (steps.make_update_step(optimizer, state), state)} | found
    return {
        name: lambda program=program, arguments=arguments: program.trace(*arguments)
        for name, (program, *arguments) in found.items()
    }


def cost(trace: Callable[[], Any]) -> Cost:
    begun = time.perf_counter()
    try:
        compiled = trace().lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UserError(f"DOES NOT FIT: {files.reason(error)}") from error
    memory, counts = compiled.memory_analysis(), dict(compiled.cost_analysis() or {})
    new = memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    seconds = time.perf_counter() - begun
    return Cost(
        seconds,
        memory.argument_size_in_bytes,
        new,
        counts.get("flops", 0.0),
        counts.get("bytes accessed", 0.0),
        collectives(compiled.as_text()),
    )


def collectives(program: str) -> dict[str, int]:
    """Counts the collectives of each kind in a compiled program's text."""
    return dict(
        Counter(kind for kind, _ in {match.groups() for match in COLLECTIVE.finditer(program)})
    )


def chips(topology: str) -> list[Any]:
    """The devices of a topology.

    Raises:
      UserError: The topology is unknown, or its compiler is not installed.
    """
    name, _, shape = topology.partition(":")
    # the two cores of a v4 chip act as one device
    extra = {"chip_config_name": "megacore"} if name == "v4" else {}
    try:
        return list(
            topologies.get_topology_desc(platform="tpu", topology_name=topology, **extra).devices
        )
    except Exception as error:  # whatever the TPU's plugin raises
        raise UserError(
            f"--topology={topology} cannot be compiled for ({files.reason(error)});"
            " `pip install -r requirements-tpu.txt`, and write a topology as"
            f" {name or 'v5e'}:{shape or '2x4'}"
        ) from error


def compile_all(
    config: Config, run: Experiment, params: Any, gpus: bool = False, only: Sequence[str] = ()
) -> dict[str, Any]:
    """Compiles every program; prints and returns what each needs, and whether all fit a device.

    Args:
      gpus: Lower each program for CUDA, and estimate its temporaries with the CPU's compiler.
      only: The names of the programs to compile; empty: all.

    Raises:
      UserError: The config has no such program.
    """
    found = programs(config, run, params)
    for name in only:
        if name not in found:
            raise UserError(f"--programs: {name!r:.30} is not one of {', '.join(found)}")
    say(f"{'program':<9} {'GiB held':>9} {'+ GiB':>7} {'GFLOP':>9} {'GB moved':>9}  collectives")
    costs = {}
    for name, trace in found.items():
        if only and name not in only:
            continue
        if gpus:
            trace().lower(lowering_platforms=("cuda",))
        costs[name] = one = cost(trace)
        listed = (
            ", ".join(f"{count} {kind}" for kind, count in sorted(one.collectives.items()))
            or "none"
        )
        figures = (
            f"{one.held / GIB:>9.2f} {one.new / GIB:>7.2f} {one.flops / 1e9:>9.0f}"
            f" {one.moved / 1e9:>9.1f}"
        )
        say(f"{name:<9} {figures}  {listed} (compiled in {one.seconds:.0f} s)", flush=True)
    need = needed(costs)
    kind = "GPU" if gpus else run.mesh.devices.flat[0].device_kind
    room = next((size for size in GPUS if need * GIB <= 0.9e9 * size), 0) if gpus else MEMORY[kind]
    return {
        "device": kind,
        "mesh": dict(run.mesh.shape),
        "gib": need,
        "room": room,
        "fits": need <= room,
        "programs": {name: one._asdict() for name, one in costs.items()},
    }


def needed(costs: dict[str, Cost]) -> float:
    """GiB that a device needs when these programs take turns, the largest arguments staying on
    it."""
    return (
        max(found.held for found in costs.values()) + max(found.new for found in costs.values())
    ) / GIB


def verdict(found: dict[str, Any]) -> str:
    """One line for what `compile_all` found."""
    need, room = found["gib"], found["room"]
    if found["device"] != "GPU":
        return f"{'fits' if found['fits'] else 'DOES NOT FIT'}: {need:.1f} GiB of {room} GiB a chip"
    return (
        f"about {need:.1f} GiB a GPU:"
        f" {f'fits one of {room} GB' if room else 'DOES NOT FIT, split the models over more'}"
    )


def weights(params: Any) -> float:
    """The number of weights, in millions."""
    return sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(params)) / 1e6
