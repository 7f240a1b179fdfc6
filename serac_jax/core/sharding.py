"""Where every array lives: one strict table from parameter path to PartitionSpec.

Parameters, optimizer state and edit memory go through the same table, by path. There is no
catch-all: a leaf that no rule matches is an error that names it, and so is a dimension that does
not divide evenly: nothing stays whole unseen.

Kernels are split over the mesh axis "model" as in Megatron (Shoeybi et al. 2019), columns going in,
rows coming out, and over "fsdp" along the other dimension: a part of a kernel a device, put
together where it is used, and so are its moments and its gradient (ZeRO, Rajbhandari et al. 2020).
Embeddings are split over both axes along their width, which, unlike a vocabulary, divides evenly.
What has one dimension is small and is not split over "fsdp". Rows of a batch are split over "data"
and "fsdp"."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from serac_jax.core.errors import UserError

RULES = (
    (r"(shared|words|positions|types)/embedding$", P(None, ("model", "fsdp"))),
    (r"relative_bias/embedding$", P()),
    (r"output_bias$", P()),
    (r"(q|k|v|qkv|wi|wi_0|wi_1)/kernel$", P("fsdp", "model")),
    (r"(q|k|v|qkv|wi|wi_0|wi_1)/bias$", P("model")),
    (r"(o|wo|lm_head)/kernel$", P("model", "fsdp")),
    (r"(pooler|pre_head)/kernel$", P("fsdp", "model")),
    (r"head/kernel$", P(("model", "fsdp"), None)),  # a column a class
    (r"(pooler|pre_head)/bias$", P("model")),
    (r"(o|wo|head)/bias$", P()),
    (r"[a-z_]*norm/(scale|bias)$", P()),
    (r"layer_\d+/down$", P("fsdp", "model")),  # MEND's networks, its rates and moments
    (r"layer_\d+/up$", P("model", "fsdp")),
    (r"layer_\d+/(bias|scale|shift)$", P()),
    (r"/(down|up)$", P()),  # low-rank adapters are small
    (r"moments/[^/]+/(mean|square)$|rates$", P()),
    (r"table/(keys|live|count|edits/.*)$", P()),
    (r"index/(keys|scales|squares|tags)$", P("data")),
)
ROWS = ("data", "fsdp")  # the axes over which a batch is split


def make_mesh(
    *, data: int, fsdp: int = 1, model: int = 1, devices: Sequence[Any] | None = None
) -> Mesh:
    """A mesh of `data` × `fsdp` × `model` devices, by default of all that there are; `data=-1`
    takes all that are left."""
    devices = cast(Sequence[Any], jax.devices() if devices is None else devices)
    if data == -1:
        data = max(len(devices) // (fsdp * model), 1)
    shape = {"data": data, "fsdp": fsdp, "model": model}
    count = math.prod(shape.values())
    for axis, size in shape.items():
        if size < 1:
            raise UserError(f"mesh.{axis}={size} is no number of devices; give 1 or more")
    if count > len(devices):
        asked = " × ".join(f"mesh.{axis}={size}" for axis, size in shape.items())
        raise UserError(f"{asked} needs {count} devices, but there are {len(devices)}")
    return jax.make_mesh(
        tuple(shape.values()),
        tuple(shape),
        devices=devices[:count],
        axis_types=(AxisType.Auto,) * len(shape),
    )


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
    raise ValueError(
        f"no sharding rule matches {name!r} of shape {shape}; add one to RULES in"
        " serac_jax/core/sharding.py"
    )


def checked_spec(name: str, shape: tuple[int, ...], mesh: Mesh) -> P:
    """The PartitionSpec of a leaf. Raises UserError where the mesh cannot split it evenly."""
    found = spec(name, shape)
    for size, axes in zip(shape, found, strict=False):
        over = {axis: mesh.shape[axis] for axis in split_over(axes) if mesh.shape[axis] > 1}
        if size % math.prod(over.values()):
            asked = " × ".join(f"mesh.{axis}={parts}" for axis, parts in over.items())
            raise UserError(
                f"{name} of shape {shape} cannot be split over {asked}; choose a divisor of {size}"
            )
    return found


def split_over(axes: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """The mesh axes of one entry of a PartitionSpec."""
    return () if axes is None else (axes,) if isinstance(axes, str) else axes


def shardings(tree: Any, mesh: Mesh) -> Any:
    """The sharding of every leaf of a tree of arrays or shapes."""

    def of_leaf(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        return NamedSharding(mesh, checked_spec(path_name(path), np.shape(leaf), mesh))

    return jax.tree_util.tree_map_with_path(of_leaf, tree)


def gather_fsdp(tree: Any) -> Any:
    """The tree, inside a compiled program, with every leaf put together over "fsdp": it is stored
    in parts and computed with as a whole.

    Said, and not left to the compiler: XLA's partitioner would split activations over their width
        instead, and gave wrong gradients then.
    """

    def together(path: tuple[Any, ...], leaf: Any) -> Any:
        mesh = jax.typeof(leaf).sharding.mesh
        if mesh.empty or mesh.shape.get("fsdp", 1) == 1:
            return leaf
        kept = [
            tuple(axis for axis in split_over(axes) if axis != "fsdp") or None
            for axes in spec(path_name(path), leaf.shape)
        ]
        return jax.lax.with_sharding_constraint(leaf, NamedSharding(mesh, P(*kept)))

    return jax.tree_util.tree_map_with_path(together, tree)


def place(tree: Any, where: Any) -> Any:
    """Puts a tree where a sharding, or a tree of shardings, says. Of several processes each has all
    of it, and sends to its own devices what they keep."""
    if jax.process_count() == 1:
        return jax.device_put(tree, where)

    def part(leaf: Any, sharding: NamedSharding) -> jax.Array:
        if (
            isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
        ):  # on the devices of all already
            return jax.device_put(leaf, sharding)
        array = np.asarray(leaf)
        places = cast(Mapping[Any, Any], sharding.addressable_devices_indices_map(array.shape))
        parts = [jax.device_put(array[index], device) for device, index in places.items()]
        return jax.make_array_from_single_device_arrays(array.shape, sharding, parts)

    def everywhere(leaf: Any) -> Any:
        return where

    one = isinstance(where, NamedSharding)
    return jax.tree.map(part, tree, jax.tree.map(everywhere, tree) if one else where)


def fetch(tree: Any) -> Any:
    """A tree of arrays on the host, whole, in every process. Waits for the devices."""
    return (
        jax.device_get(tree)
        if jax.process_count() == 1
        else multihost_utils.process_allgather(tree, tiled=True)
    )


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows over the data axes."""
    return NamedSharding(mesh, P(ROWS))


def row_parts(mesh: Mesh) -> int:
    """Into how many parts the rows of a batch are split."""
    return math.prod(mesh.shape[axis] for axis in ROWS)


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, P())


def whole_width(x: Any) -> Any:
    """An activation, inside a compiled program, that is split over no axis but the first, its rows,
    wherever those are."""
    mesh = jax.typeof(x).sharding.mesh
    return (
        x
        if mesh.empty
        else jax.lax.with_sharding_constraint(
            x, NamedSharding(mesh, P(P.UNCONSTRAINED, *(None,) * (x.ndim - 1)))
        )
    )


def placer(mesh: Mesh) -> Callable[[str, np.ndarray], Array]:
    """Puts a leaf where the sharding table says."""
    return lambda path, array: place(
        array, NamedSharding(mesh, checked_spec(path, array.shape, mesh))
    )
