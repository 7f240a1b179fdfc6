"""A run's folder: its config and versions, its log, and finding the newest one."""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import platform
import sys
import time
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax

from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.core.model_files import DamagedFile, read_json
from serac_jax.core.types import Config
from serac_jax.runtime import distributed
from serac_jax.runtime.program import writable
from serac_jax.training import overrides, sections
from serac_jax.training.earlier_configs import upgraded
from serac_jax.training.sections import flat

RUNS = Path("runs")
# Fields that may differ when a run goes on: they do not change what a step computes.
FREE = (
    "train.steps",
    "train.log_every",
    "train.save_every",
    "train.profile",
    "mesh.",
    "eval.",
    "log.",
    "data.cache",
    "data.workers",
)
ONE_DEVICE = {
    "mesh.data": 1,
    "mesh.fsdp": 1,
    "mesh.model": 1,
}  # for what was trained on many devices and is used on this one
PRECISION = ("base.dtype", "base.param_dtype")  # may differ where a trained editor is used
PACKAGES = (
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "tensorflow-datasets",
    "transformers",
    "numpy",
)


def new_name(preset: str) -> Path:
    """The folder of a run that was given none: runs/PRESET-SIZE-DATE-TIME.

    Args:
      preset: A preset or a config file, as `presets.load` takes them.

    Raises:
      UserError: This is one of several processes, which need one folder.
    """
    if jax.process_count() > 1:
        raise UserError("several processes share one run's folder; name it with --workdir=…")
    file, _, variant = preset.partition(":")
    return RUNS / "-".join(
        part for part in (Path(file).stem, variant, time.strftime("%Y%m%d-%H%M%S")) if part
    )


def newest() -> Path:
    """The run under runs/ that was started last. Raises UserError where there is none."""
    found = sorted(RUNS.glob("*/config.json"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise UserError(
            f"there is no run under {RUNS}/; make one with `serac train zsre_rep:mini`, or name one"
            " with --workdir=…"
        )
    return found[-1].parent


def as_json(config: Config) -> dict[str, Any]:
    return json.loads(config.to_json())


def versions() -> dict[str, str]:
    """What computed a result: packages, Python and devices."""
    device = jax.devices()[0]
    return {name: importlib.metadata.version(name) for name in PACKAGES} | {
        "python": platform.python_version(),
        "devices": f"{jax.device_count()} × {device.platform} {device.device_kind}",
    }


@contextmanager
def claimed(workdir: Path) -> Iterator[None]:
    """Makes the folder, and keeps other trainers out of it; of several processes the first does.

    Raises:
      UserError: The folder cannot be written, or another program trains in it.
    """
    writable(workdir, "workdir")
    if not distributed.is_primary():
        yield
        return
    # let go when this process ends, however it ends
    with files.appending(workdir / "lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"another program trains in {workdir}; wait for it, or give another --workdir"
            ) from error
        except OSError as error:
            warnings.warn(
                f"the file system of {workdir} has no locks ({files.reason(error)}); nothing keeps"
                " a second program from training there",
                stacklevel=2,
            )
        yield


def enter(workdir: Path, config: Config) -> Path:
    """Makes the folder, or continues the run in it.

    Raises:
      UserError: The folder cannot be written, or holds a run of another config.
    """
    writable(workdir, "workdir")
    if distributed.is_primary():
        write_config(workdir, config)
    distributed.wait("workdir")
    return workdir


def write_config(workdir: Path, config: Config) -> None:
    """Writes the config and the versions.

    Raises:
      UserError: The folder holds a run of another config.
    """
    file = workdir / "config.json"
    new = as_json(config)
    if file.exists():
        old, now = completed(saved_fields(file), file), flat(new)
        differing = [
            name for name in sorted(now) if old[name] != now[name] and not name.startswith(FREE)
        ]
        if differing:
            listed = "; ".join(
                f"{name}: {old[name]!r} there, {now[name]!r} now" for name in differing[:5]
            )
            raise UserError(
                f"{workdir} holds a run of another config ({listed}); give another --workdir, or"
                " the same fields to continue it"
            )
    files.write_json(file, new)
    files.write_json(workdir / "versions.json", versions())


def saved_fields(file: Path) -> dict[str, Any]:
    """The fields of a run's config.json, by full name, those of version 0.2 renewed.

    Raises:
      UserError: The file is damaged.
    """
    try:
        return flat(upgraded(read_json(file)))
    except (DamagedFile, AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        problem = str(error) if isinstance(error, DamagedFile) else f"{file}: is no config"
        raise UserError(
            f"{problem}; restore it, or delete it and start `serac train` with this --workdir and"
            " the preset and fields of the run"
        ) from error


def completed(saved: dict[str, Any], file: Path) -> dict[str, Any]:
    """The fields of an earlier version's config as this version has them.

    Fields that nothing reads any more are dropped; new ones get their default.

    Raises:
      UserError: It has a field that no version of this program has had.
    """
    if unknown := sorted(saved.keys() - sections.FIELDS.keys() - sections.RETIRED):
        raise UserError(f"{file} has a field {unknown[0]!r}, which this version does not know")
    return flat(as_json(sections.defaults())) | {
        name: value for name, value in saved.items() if name not in sections.RETIRED
    }


def config_of(workdir: Path, changes: dict[str, Any]) -> Config:
    """The config of a run, with some fields changed, checked and locked.

    Raises:
      UserError: The folder holds no run, or a field cannot be changed after training.
    """
    file = workdir / "config.json"
    if not file.exists():
        raise UserError(f"{workdir} holds no run (no config.json); name a folder of a trained run")
    saved = completed(saved_fields(file), file)
    if fixed := [name for name in changes if not name.startswith((*FREE, "data.", *PRECISION))]:
        raise UserError(
            f"{fixed[0]} is part of the trained run in {workdir} and cannot be changed now; fields"
            f" that can begin with eval., data. or mesh., or are {' or '.join(PRECISION)}"
        )
    try:
        config = sections.defaults()
        config.update_from_flattened_dict({name: tuples(value) for name, value in saved.items()})
        return overrides.apply(config, changes)
    except (TypeError, ValueError, OverflowError, UserError) as error:
        raise UserError(f"{file}: {error}") from error


def in_dtype(dtype: str | None) -> dict[str, Any]:
    """The changes of a run's config that hold its base model, and compute, in a dtype; None: in its
    own."""
    return dict.fromkeys(PRECISION, dtype) if dtype else {}


def tuples(saved: Any) -> Any:
    """Tuples for the lists of JSON, which has no tuples."""
    return tuple(map(tuples, saved)) if isinstance(saved, list) else saved


@runtime_checkable
class Writer(Protocol):
    def write(self, step: int, scalars: dict[str, float]) -> None: ...


class JsonLines:
    """One line a step in metrics.jsonl; what a killed run wrote after its last checkpoint is cut
    off."""

    def __init__(self, file: Path, step: int):
        lines = files.read(file).decode(errors="replace").split("\n")
        steps = [step_of(line) for line in lines]
        if damaged := sum(found is None for found in steps):
            warnings.warn(f"{file}: left out {damaged} damaged lines", stacklevel=2)
        kept = [
            line
            for line, found in zip(lines, steps, strict=True)
            if found is not None and 0 <= found <= step
        ]
        files.write(file, "".join(line + "\n" for line in kept).encode())
        self.file = file

    def write(self, step: int, scalars: dict[str, float]) -> None:
        with files.appending(self.file) as lines:
            files.write_all(lines, (json.dumps({"step": step} | scalars) + "\n").encode())


def step_of(line: str) -> int | None:
    """The step of a line of metrics.jsonl; −1 of an empty one, None of one that is damaged."""
    try:
        return int(json.loads(line)["step"]) if line else -1
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


class TensorBoard:
    """An event file, written at once: a thread of its own would die of a full disk unheard."""

    def __init__(self, folder: Path):
        with without_torch():
            from tensorboardX.event_file_writer import EventsWriter

        self.events = EventsWriter(str(folder / "events"))

    def write(self, step: int, scalars: dict[str, float]) -> None:
        from tensorboardX.proto.event_pb2 import Event  # pyright: ignore
        from tensorboardX.summary import scalar

        for name, value in scalars.items():
            self.events.write_event(
                Event(wall_time=time.time(), step=step, summary=scalar(name, value))
            )
        self.events.flush()


@contextmanager
def without_torch() -> Generator[None]:
    """tensorboardX imports PyTorch where it is installed, for seconds, and does without it where it
    is not."""
    absent = "torch" not in sys.modules
    if absent:
        sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if absent:
            del sys.modules["torch"]


class WeightsAndBiases:
    def __init__(self, project: str, workdir: Path, config: Config):
        try:
            import wandb  # type: ignore[import-not-found]
        except ImportError as error:
            raise UserError(
                f"log.wandb={project!r} needs Weights & Biases: pip install wandb, or leave the"
                " field empty"
            ) from error
        self.run = wandb.init(
            project=project,
            name=workdir.name,
            id=workdir.name,
            dir=str(workdir),
            resume="allow",
            config=flat(as_json(config)),
        )

    def write(self, step: int, scalars: dict[str, float]) -> None:
        self.run.log(scalars, step=step)


def writers(workdir: Path, config: Config, step: int) -> list[Writer]:
    """Where a run's numbers go, from `step` on; of several processes the first one writes them."""
    if not distributed.is_primary():
        return []
    found: list[Writer] = [JsonLines(workdir / "metrics.jsonl", step)]
    if config.log.tensorboard:
        found.append(TensorBoard(workdir))
    if config.log.wandb:
        found.append(WeightsAndBiases(config.log.wandb, workdir, config))
    return found
