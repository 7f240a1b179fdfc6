"""Where every array lives: one strict table from parameter path to PartitionSpec.

Parameters, optimizer state and edit memory go through the same table, by path. There is no catch-all: a leaf that no rule
matches is an error that names it. Kernels are split over the mesh axis "model" as in Megatron (Shoeybi et al. 2019): columns
going in, rows coming out; embeddings over their width, which, unlike a vocabulary, always divides evenly. Rows of a batch are
split over the axis "data".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from serac_jax.errors import UserError

RULES = (
    (r"(shared|words|positions|types)/embedding$", P(None, "model")),
    (r"relative_bias/embedding$", P()),
    (r"output_bias$", P()),
    (r"(q|k|v|wi|wi_0|wi_1)/kernel$", P(None, "model")),
    (r"(q|k|v|wi)/bias$", P("model")),
    (r"(o|wo|lm_head|head)/kernel$", P("model", None)),
    (r"(pooler|pre_head)/kernel$", P(None, "model")),
    (r"(pooler|pre_head)/bias$", P("model")),
    (r"(o|wo|head)/bias$", P()),
    (r"[a-z_]*norm/(scale|bias)$", P()),
    (r"layer_\d+/down$", P(None, "model")),  # MEND's networks, its rates and moments
    (r"layer_\d+/up$", P("model", None)),
    (r"layer_\d+/(bias|scale|shift)$", P()),
    (r"moments/[^/]+/(mean|square)$|rates$", P()),
    (r"memory/(keys|live|count|edits/.*)$", P()),
    (r"index/(keys|squares|tags)$", P("data")),
)


def make_mesh(data: int, model: int, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of `data` × `model` devices, by default of this machine's; `data=-1` takes all that are left."""
    devices = jax.devices() if devices is None else devices
    if data == -1:
        data = max(len(devices) // model, 1)
    if data * model > len(devices):
        raise UserError(f"mesh.data={data} × mesh.model={model} needs {data * model} devices, but there are {len(devices)}")
    return jax.make_mesh((data, model), ("data", "model"), devices=devices[: data * model], axis_types=(AxisType.Auto,) * 2)


def path_name(path: tuple[Any, ...]) -> str:
    """A tree path as "a/b/c"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def spec(name: str, shape: tuple[int, ...]) -> P:
    """The PartitionSpec of the leaf called `name`. Raises ValueError where no rule matches."""
    if not shape:
        return P()  # counters
    for pattern, found in RULES:
        if re.search(pattern, name):
            return found
    raise ValueError(f"no sharding rule matches {name!r} of shape {shape}; add one to RULES in serac_jax/sharding.py")


def checked_spec(name: str, shape: tuple[int, ...], mesh: Mesh) -> P:
    """The PartitionSpec of a leaf. Raises UserError where the mesh cannot split it evenly."""
    found = spec(name, shape)
    for size, axis in zip(shape, found, strict=False):
        if axis and size % mesh.shape[axis]:
            raise UserError(f"{name} of shape {shape} cannot be split over mesh.{axis}={mesh.shape[axis]}; choose a divisor of {size}")
    return found


def shardings(tree: Any, mesh: Mesh) -> Any:
    """The sharding of every leaf of a tree of arrays or shapes."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: NamedSharding(mesh, checked_spec(path_name(path), np.shape(leaf), mesh)), tree)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows over the data axis."""
    return NamedSharding(mesh, P("data"))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, P())


def whole_width(x: Any) -> Any:
    """An activation, inside a compiled program, that is split over no axis but the first, its rows, wherever those are."""
    mesh = jax.typeof(x).sharding.mesh
    return x if mesh.empty else jax.lax.with_sharding_constraint(x, NamedSharding(mesh, P(P.UNCONSTRAINED, *(None,) * (x.ndim - 1))))
