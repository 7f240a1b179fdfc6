"""The parts of MEND among the unit cases."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from serac_jax.editors import interventions
from serac_jax.editors.mend import mend_editor as mend
from serac_jax.editors.mend.mend_networks import Network, blank
from serac_jax.models import convert
from tests.parity import golden
from tests.parity.compare import Comparison
from tests.parity.mend_names import LEAVES, NETWORKS, moment
from tests.parity.recorded import turned


def run(comparison: Comparison, case: golden.Case) -> None:
    """The networks alone, with gradients, and networks behind their normaliser over three calls."""
    for name in sorted({key.split("/")[1] for key in case if key.startswith("nn/IDMLP")}):
        run_network(comparison, case, f"nn/{name}", identity="xavier" not in name)
    comparison.depart(
        "networks that MEND cannot use are not built: MLP, LatentIDMLP, LightIDMLP, layers alone"
    )
    shown = {
        "combine": {},
        "nocombine": {"combine": False},
        "nonorm": {"norm": False},
        "one_sided_wide": {"combine": False, "one_sided": True},
    }
    for name, changes in shown.items():
        run_transform(
            comparison, case, f"gt/{name}", mend.Options(**{"n_hidden": 1, "rank": 5} | changes)
        )
    comparison.depart("before two rows were seen MEND's networks read them as they are, not NaN")


def network_of(case: golden.Case, prefix: str) -> tuple[int, Any]:
    """The number of layers and the parameters of a recorded network."""
    leaves = {}
    for key in [key for key in case if key.startswith(f"{prefix}layers.")]:
        number, leaf = key.removeprefix(f"{prefix}layers.").split(".", 1)
        path = f"layer_{number}/{LEAVES[leaf]}"
        leaves[path] = jnp.asarray(turned(path, case[key]))
    return len({path.split("/")[0] for path in leaves}), convert.unflatten(leaves)


def run_network(comparison: Comparison, case: golden.Case, prefix: str, identity: bool) -> None:
    """Output, and gradients of Σ w·output; recorded for one of the kernels that share the network,
    the one whose shift has a gradient."""
    layers, params = network_of(case, f"{prefix}/param/")
    x, w = jnp.asarray(case[f"{prefix}/x"]), jnp.asarray(case[f"{prefix}/w"])
    weights = params["layer_0"]["shift"].shape[0] if "shift" in params["layer_0"] else None
    used = (
        int(np.abs(case[f"{prefix}/grad/layers.0.mode_shift.weight"]).sum(1).argmax())
        if weights
        else 0
    )
    network = Network(layers - 1, params["layer_0"]["down"].shape[1], identity, weights)

    def summed(params: Any, x: Any) -> Any:
        y = network.apply({"params": params}, x, jnp.full(len(x), used))
        return (y * w).sum(), y

    (_, y), (gradient, gradient_x) = jax.value_and_grad(summed, argnums=(0, 1), has_aux=True)(
        params, x
    )
    comparison.check(f"{prefix}/y", y, case[f"{prefix}/y"])
    comparison.check(f"{prefix}/grad_x", gradient_x, case[f"{prefix}/grad_x"])
    leaves = convert.flatten(gradient)
    for key in [key for key in case if key.startswith(f"{prefix}/grad/")]:
        number, leaf = key.removeprefix(f"{prefix}/grad/layers.").split(".", 1)
        path = f"layer_{number}/{LEAVES[leaf]}"
        comparison.check(key, turned(path, leaves[path]), case[key])


def run_transform(
    comparison: Comparison, case: golden.Case, prefix: str, options: mend.Options
) -> None:
    """Transformed inputs and output gradients, and the moments, of calls for kernels 0 and 1 in
    training, then in evaluation."""
    networks = {
        ours: network_of(case, f"{prefix}/param/{name}.")[1]
        for name, ours in NETWORKS.items()
        if f"{prefix}/param/{name}.layers.0.u" in case
    }
    calls = sorted(
        {int(key.split("/call")[1][0]) for key in case if key.startswith(f"{prefix}/call")}
    )
    width = case[f"{prefix}/call0/u"].shape[-1]
    moments = blank(width + case[f"{prefix}/call0/v"].shape[-1]) if options.norm else None
    for call in calls:
        rows = [
            jnp.asarray(case[f"{prefix}/call{call}/{side}"]).reshape(
                -1, case[f"{prefix}/call{call}/{side}"].shape[-1]
            )
            for side in "uv"
        ]
        renew = float(case[f"{prefix}/call{call}/buffer/k"][0]) != (
            float(moments["count"]) if moments else -1.0
        )
        # As in a model, kernel 1 comes after kernel 0: here each has a call of its own.
        alone = {side: one_kernel(network, call % 2) for side, network in networks.items()}
        (ours,), moments = mend.transform(
            options, alone, moments, [interventions.Factor(*rows)], renew
        )
        live = np.asarray((rows[0] != 0).any(-1) & (rows[1] != 0).any(-1))
        comparison.check(
            f"{prefix}/call{call}/out_u",
            np.asarray(ours.input)[live],
            case[f"{prefix}/call{call}/out_u"],
        )
        comparison.check(
            f"{prefix}/call{call}/out_v",
            np.asarray(ours.delta)[live],
            case[f"{prefix}/call{call}/out_v"],
        )
        for key in [
            key for key in case if moments and key.startswith(f"{prefix}/call{call}/buffer/")
        ]:
            comparison.check(key, moment(moments, key.rsplit("/", 1)[1], width), case[key])


def one_kernel(network: Any, kernel: int) -> Any:
    """A shared network with the scale and shift of one of its kernels only."""
    leaves = convert.flatten(network)
    return convert.unflatten(
        {
            path: leaf[kernel : kernel + 1] if path.endswith(("scale", "shift")) else leaf
            for path, leaf in leaves.items()
        }
    )
