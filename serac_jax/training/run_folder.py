"""A run's folder: its config and versions, its log, and finding the newest one."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import time
from pathlib import Path
from typing import Any, Protocol

import jax
from ml_collections import ConfigDict

from serac_jax.core.errors import UserError
from serac_jax.core.types import Config
from serac_jax.runtime import distributed
from serac_jax.runtime.program import writable

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


def new_name(config_file: str) -> Path:
    """runs/<config>-<variant>-<date and time>, for a run that was given no folder. Raises UserError
    for one of several processes."""
    if jax.process_count() > 1:
        raise UserError(
            "several processes go on in one folder, which all of them must see; name it with"
            " --workdir=…"
        )
    file, _, variant = config_file.partition(":")
    return RUNS / "-".join(
        part for part in (Path(file).stem, variant, time.strftime("%Y%m%d-%H%M%S")) if part
    )


def newest() -> Path:
    """The run under runs/ that was started last. Raises UserError where there is none."""
    found = sorted(RUNS.glob("*/config.json"), key=lambda file: file.stat().st_mtime)
    if not found:
        raise UserError(
            f"there is no run under {RUNS}/; make one with `python train.py"
            " --config=configs/zsre_rep.py:mini`, or name one with --workdir=…"
        )
    return found[-1].parent


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested config as {"train.lr": …}."""
    fields: dict[str, Any] = {}
    for key, value in tree.items():
        fields |= (
            flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        )
    return fields


def as_json(config: Config) -> dict[str, Any]:
    return json.loads(config.to_json())


def versions() -> dict[str, str]:
    """What computed a result: packages, Python and devices."""
    device = jax.devices()[0]
    return {name: importlib.metadata.version(name) for name in PACKAGES} | {
        "python": platform.python_version(),
        "devices": f"{jax.device_count()} × {device.platform} {device.device_kind}",
    }


def enter(workdir: Path, config: Config) -> Path:
    """Makes the folder, or takes up the run in it. Raises UserError where it is not writable or
    holds a run of another config."""
    writable(workdir, "workdir")
    if distributed.is_primary():
        write_config(workdir, config)
    distributed.wait("workdir")
    return workdir


def write_config(workdir: Path, config: Config) -> None:
    """Writes the config and the versions. Raises UserError where the folder holds a run of another
    config."""
    file = workdir / "config.json"
    new = as_json(config)
    if file.exists():
        old, now = flat(json.loads(file.read_text())), flat(new)
        differing = [
            name
            for name in sorted(old | now)
            if old.get(name) != now.get(name) and not name.startswith(FREE)
        ]
        if differing:
            listed = "; ".join(
                f"{name}: {old.get(name)!r} there, {now.get(name)!r} now" for name in differing[:5]
            )
            raise UserError(
                f"{workdir} holds a run of another config ({listed}); give another --workdir, or"
                " the same fields to go on with it"
            )
    file.write_text(json.dumps(new, indent=2) + "\n")
    (workdir / "versions.json").write_text(json.dumps(versions(), indent=2) + "\n")


def config_of(workdir: Path, overrides: dict[str, Any], template: Config | None = None) -> Config:
    """The config of a run, with some fields given anew; it is whole, so that the files of configs/
    are not needed.

    Raises UserError where the folder holds no run, or, where a `template` tells the fields of this
    version, one of another; and where a field cannot change any more."""
    file = workdir / "config.json"
    if not file.exists():
        raise UserError(
            f"{workdir} holds no run (no config.json); name a folder that train.py has written"
        )
    saved = json.loads(file.read_text())
    if template and (unknown := sorted(set(flat(saved)) ^ set(flat(as_json(template))))):
        raise UserError(
            f"{file} is of another version of this program: the fields {', '.join(unknown)} are not"
            " common to both"
        )
    if fixed := [name for name in overrides if not name.startswith((*FREE, "data."))]:
        raise UserError(
            f"{fixed[0]} is part of the trained run in {workdir} and cannot be changed now; fields"
            " that can begin with eval., data. or mesh."
        )
    config = ConfigDict(tuples(saved))
    config.update_from_flattened_dict(overrides)
    return config.lock()


def tuples(saved: Any) -> Any:
    """What JSON keeps as lists is tuples in a config."""
    if isinstance(saved, dict):
        return {name: tuples(value) for name, value in saved.items()}
    return tuple(map(tuples, saved)) if isinstance(saved, list) else saved


class Writer(Protocol):
    def write(self, step: int, scalars: dict[str, float]) -> None: ...


class JsonLines:
    """One line a step in metrics.jsonl; what a killed run wrote after its last checkpoint is cut
    off."""

    def __init__(self, file: Path, step: int):
        kept = (
            [line for line in file.read_text().splitlines() if json.loads(line)["step"] <= step]
            if file.exists()
            else []
        )
        file.write_text("".join(line + "\n" for line in kept))
        self.file = file

    def write(self, step: int, scalars: dict[str, float]) -> None:
        with self.file.open("a") as lines:
            lines.write(json.dumps({"step": step} | scalars) + "\n")


class TensorBoard:
    def __init__(self, folder: Path):
        from tensorboardX import SummaryWriter

        self.events = SummaryWriter(str(folder))

    def write(self, step: int, scalars: dict[str, float]) -> None:
        for name, value in scalars.items():
            self.events.add_scalar(name, value, step)
        self.events.flush()


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
