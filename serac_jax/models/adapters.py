"""Low-rank adapters (LoRA, Hu et al. 2022): small trained changes of a network that stays frozen.

An adapter is a tree {"block_0": {"attention": {"q": {"down", "up"}}}, …} beside the network's
parameters. It is passed to the network as interventions, or merged into its kernels. Files are in
the format of the `peft` package.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from safetensors.numpy import save

from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.core.model_files import DamagedFile, read_json
from serac_jax.core.types import Params
from serac_jax.models import convert
from serac_jax.models.convert import flatten, unflatten
from serac_jax.models.linear import product
from serac_jax.models.model import Model
from serac_jax.models.network import WeightError

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."  # of every key in a file of `peft`
SIDES = {"lora_A": "down", "lora_B": "up"}
# Fields of adapter_config.json that change what an adapter computes, at the implemented value.
IMPLEMENTED: dict[str, Any] = {
    "peft_type": "LORA",
    "bias": "none",
    "use_dora": False,
    "use_rslora": False,
    "lora_bias": False,
    "modules_to_save": None,
    "rank_pattern": {},
    "alpha_pattern": {},
}


class Dropped(NamedTuple):
    """Dropout of an adapter's input: a key, and the rate."""

    key: Array
    rate: float


class LowRank(NamedTuple):
    """The layer acts as if `down @ up` were added to its kernel.

    Attributes:
        down, up: the factors.
        rows: 1 for the rows of a batch that have the adapter, 0 for the others. None: all have it.
        dropped: dropout of the input. None: there is none.
    """

    down: Float[Array, "d r"]
    up: Float[Array, "r f"]
    rows: Float[Array, " n"] | None = None
    dropped: Dropped | None = None

    def __call__(self, x: Float[Array, "*n d"], y: Float[Array, "*n f"]) -> Float[Array, "*n f"]:
        if self.dropped is not None:
            keep = 1 - self.dropped.rate
            x = x * jax.random.bernoulli(self.dropped.key, keep, x.shape).astype(x.dtype) / keep
        low = product(x, self.down.astype(x.dtype))
        if self.rows is not None:
            low *= self.rows.reshape(-1, *(1,) * (low.ndim - 1)).astype(x.dtype)
        return y + product(low, self.up.astype(x.dtype))


def layers(params: Params, patterns: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    """The layers whose whole path matches a pattern, with the shapes of their kernels.

    Raises:
        UserError: a pattern matches no layer; the message lists the layers.
    """
    kernels = {
        path.removesuffix("/kernel"): leaf.shape
        for path, leaf in flatten(params).items()
        if path.endswith("/kernel")
    }
    chosen: dict[str, tuple[int, int]] = {}
    for pattern in patterns:
        found = {path: shape for path, shape in kernels.items() if re.fullmatch(pattern, path)}
        if not found:
            shown = sorted({re.sub(r"block_\d+", r"block_\\d+", path) for path in kernels})
            raise UserError(
                f"the pattern {pattern!r} matches no layer of the network; its layers are"
                f" {', '.join(shown)}"
            )
        chosen |= found
    return chosen


def init(key: Array, params: Params, patterns: tuple[str, ...], rank: int) -> Params:
    """An adapter that changes nothing yet: `down` is uniform in ±1/√d, `up` is 0.

    Args:
        params: of the network, of which only shapes are read.
        patterns: of the paths of layers that have an adapter.
        rank: of every change.
    """
    found: dict[str, Array] = {}
    for number, (path, (width, features)) in enumerate(sorted(layers(params, patterns).items())):
        scale = width**-0.5
        drawn = jax.random.uniform(
            jax.random.fold_in(key, number), (width, rank), minval=-scale, maxval=scale
        )
        found |= {f"{path}/down": drawn, f"{path}/up": jnp.zeros((rank, features))}
    return unflatten(found)


def interventions(
    adapter: Params,
    rows: Float[Array, " n"] | None = None,
    dropout: Dropped | None = None,
) -> dict[str, LowRank]:
    """An adapter as interventions, by the paths of layers.

    Args:
        rows: which rows of the batch have it, see `LowRank`.
        dropout: a key for all layers, each of which draws by its own.
    """
    leaves = flatten(adapter)
    paths = sorted(path.removesuffix("/down") for path in leaves if path.endswith("/down"))
    return {
        path: LowRank(
            leaves[f"{path}/down"],
            leaves[f"{path}/up"],
            rows,
            dropout and Dropped(jax.random.fold_in(dropout.key, number), dropout.rate),
        )
        for number, path in enumerate(paths)
    }


def merged(params: Params, adapter: Params) -> Params:
    """The network's parameters with the adapter's changes added to its kernels."""
    leaves = flatten(params)
    for path, change in interventions(adapter).items():
        kernel = leaves[f"{path}/kernel"]
        leaves[f"{path}/kernel"] = kernel + (change.down @ change.up).astype(kernel.dtype)
    return unflatten(leaves)


def write(folder: Path, model: Model, adapter: Params, base: str) -> None:
    """Writes an adapter as `peft` does, in bfloat16.

    Args:
        model: the network it belongs to.
        base: the name of the network, for people and for `peft`.
    """
    found = interventions(adapter)
    tensors: dict[str, np.ndarray] = {}
    modules: list[str] = []
    for path, change in found.items():
        module = module_of(path, model)
        modules.append(module)
        for side, factor in (("lora_A", change.down), ("lora_B", change.up)):
            half = np.asarray(jax.device_get(factor.T.astype(jnp.bfloat16)))
            tensors[f"{PREFIX}{module}.{side}.weight"] = np.ascontiguousarray(half)
    rank = next(iter(found.values())).down.shape[1]
    described = IMPLEMENTED | {
        "base_model_name_or_path": base,
        "task_type": "CAUSAL_LM" if model.decodes else "FEATURE_EXTRACTION",
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "target_modules": sorted(modules),
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    files.write(folder / WEIGHTS, save(tensors, metadata={"format": "pt"}))
    files.write(folder / CONFIG, (json.dumps(described, indent=2) + "\n").encode())


def read(folder: Path, model: Model, params: Params) -> Params:
    """The adapter that a folder of `peft` holds, for a network.

    Args:
        params: of the network, of which only shapes are read.

    Raises:
        UserError: the folder holds no adapter, one of another kind, or one for another network.
    """
    config = read_json(folder / CONFIG)
    for name, value in IMPLEMENTED.items():
        if config.get(name, value) not in (value, None):
            raise WeightError(
                f"{folder / CONFIG}: {name}={json.dumps(config[name])[:60]} is not implemented;"
                f" expected {json.dumps(value)}"
            )
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or rank < 1:
        raise DamagedFile(folder / CONFIG, "should give numbers r and lora_alpha")
    shapes = {
        module_of(path, model): (path, shape) for path, shape in layers(params, (r".*",)).items()
    }
    found: dict[str, Array] = {}
    for key, reader in convert.read_safetensors(folder / WEIGHTS).items():
        module, side, *_ = (*key.removeprefix(PREFIX).rsplit(".", 2), "", "")
        if module not in shapes or side not in SIDES:
            raise WeightError(
                f"{folder / WEIGHTS}: {key!r} is not part of an adapter for {model.name}"
            )
        path, (width, features) = shapes[module]
        factor = reader().T
        expected = (width, rank) if side == "lora_A" else (rank, features)
        if factor.shape != expected:
            raise WeightError(
                f"{folder / WEIGHTS}: {key!r} has shape {factor.shape[::-1]}, but"
                f" {model.name} needs {expected[::-1]}; the adapter belongs to another model"
            )
        if not np.isfinite(factor).all():
            raise WeightError(f"{folder / WEIGHTS}: {key!r} has values that are not finite")
        scale = alpha / rank if side == "lora_B" else 1.0
        found[f"{path}/{SIDES[side]}"] = jnp.asarray(factor * np.float32(scale))
    halves = {path.rsplit("/", 1)[0] for path in found}
    if not found or len(found) != 2 * len(halves):
        raise DamagedFile(folder / WEIGHTS, "lacks a half of some layer's adapter")
    return unflatten(found)


def module_of(path: str, model: Model) -> str:
    """The name in PyTorch of a layer, by its path."""
    key = convert.key_of(f"{path}/kernel", model.network.rules).removesuffix(".weight")
    return f"{model.network.architecture.prefix if model.decodes else ''}{key}"
