"""The original's names of MEND's parameters and running moments, and ours."""

from __future__ import annotations

import re

import numpy as np

from serac_jax.editors.mend.mend_networks import Moments

# The original's names of networks and of their leaves; its matrices multiply from the left.
NETWORKS = {"mlp": "both", "mlp1": "x", "mlp2": "delta"}
LEAVES = {
    "u": "up",
    "v": "down",
    "bias": "bias",
    "mode_scale.weight": "scale",
    "mode_shift.weight": "shift",
}


def locate(name: str, kernels: dict[str, str]) -> str:
    """The parameter path of one of the original's names: edit_lrs or
    gtn.NETWORKS.MLP.layers.N.LEAF."""
    if name == "edit_lrs":
        return "rates"
    found = re.fullmatch(r"gtn\.(.*)\.(mlp\d?)\.layers\.(\d+)\.(.*)", name)
    if not found:
        raise ValueError(f"{name} is none of MEND's parameters")
    network = f"networks/{group(found[1], kernels)}/{NETWORKS[found[2]]}"
    return f"{network}/layer_{found[3]}/{LEAVES[found[4]]}"


def group(name: str, kernels: dict[str, str]) -> str:
    """Our name of networks that the original calls "(32, 64)" or "encoder#block#…#weight"."""
    if name.startswith("("):
        return "x".join(re.findall(r"\d+", name))
    return kernels[name.replace("#", ".")].removesuffix("/kernel").replace("/", ".")


def moment(moments: Moments, part: str, width: int) -> np.ndarray:
    """One of the original's buffers: k, or mean, s or std of u (the first `width` coordinates) or
    v."""
    if part == "k":
        return np.asarray(moments["count"])[None]
    side, kind = part.split("_")
    squares = np.asarray(moments["square"])
    whole = {
        "mean": np.asarray(moments["mean"]),
        "s": squares,
        "std": np.sqrt(squares / (np.asarray(moments["count"]) - 1)),
    }[kind]
    return whole[:width] if side == "u" else whole[width:]


def moments_of(buffers: dict[str, np.ndarray]) -> Moments:
    """Ours, of the original's buffers."""
    mean, square = (
        np.concatenate([buffers[f"u_{kind}"], buffers[f"v_{kind}"]]) for kind in ("mean", "s")
    )
    return {"count": buffers["k"][0], "mean": mean, "square": square}
