"""Rotary positions (RoFormer, Su et al. 2021), and the ways to scale them for longer texts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from serac_jax.models.network import WeightError

# What `rope_parameters` may hold besides rope_theta and rope_type, by rope_type.
PARAMETERS: dict[str, frozenset[str]] = {
    "default": frozenset(),
    "linear": frozenset(("factor",)),
    "dynamic": frozenset(("factor", "original_max_position_embeddings")),
    "llama3": frozenset(
        (
            "factor",
            "low_freq_factor",
            "high_freq_factor",
            "original_max_position_embeddings",
        )
    ),
    "yarn": frozenset(
        (
            "factor",
            "attention_factor",
            "beta_fast",
            "beta_slow",
            "original_max_position_embeddings",
            "truncate",
        )
    ),
}
COMMON = frozenset(("rope_theta", "rope_type", "type"))
FIXED = {"partial_rotary_factor": 1.0, "mscale": None, "mscale_all_dim": None}


class Rotary(NamedTuple):
    """How the heads of a layer are turned by their position.

    Attributes:
        frequencies: radians per position of each pair of a head's entries; entries behind the last
            pair stay as they are.
        scale: of the turned entries.
    """

    frequencies: tuple[float, ...]
    scale: float = 1.0


class Turn(NamedTuple):
    """Cosines and sines of some positions."""

    cos: Float[Array, "m l 1 d"]
    sin: Float[Array, "m l 1 d"]


def rotary(width: int, rope: Mapping[str, Any], positions: int) -> Rotary:
    """Rotary positions as a configuration asks for them.

    Args:
        width: of a head.
        rope: `rope_parameters` of a Hugging Face configuration.
        positions: how many the network was made for.

    Raises:
        WeightError: a kind of scaling, or a parameter of one, is not implemented or missing.
    """
    kind = rope.get("rope_type") or rope.get("type") or "default"
    check_parameters(kind, rope)
    # In float32, as PyTorch computes them: rounding grows with the position.
    powers = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    found, scale = np.float32(1.0) / np.float32(rope["rope_theta"]) ** powers, 1.0
    try:
        if kind == "linear":
            found = found / np.float32(rope["factor"])
        elif kind == "llama3":
            found = llama3(found, rope)
        elif kind == "yarn":
            found, scale = yarn(found, rope, positions)
    except KeyError as error:
        raise WeightError(
            f"config.json asks for rotary positions of type {kind!r}, but rope_parameters has no"
            f" {error.args[0]!r}"
        ) from error
    # "dynamic" is the default up to `positions`, and no text is longer.
    return Rotary(tuple(float(frequency) for frequency in found), scale)


def check_parameters(kind: str, rope: Mapping[str, Any]) -> None:
    """Raises WeightError where a kind of scaling or a parameter is not implemented."""
    if kind not in PARAMETERS:
        raise WeightError(
            f"config.json asks for rotary positions of type {kind!r}, which is not implemented;"
            f" implemented are {', '.join(PARAMETERS)}"
        )
    for name, value in rope.items():
        known = name in COMMON | PARAMETERS[kind] or value is None
        if not known and FIXED.get(name, ...) != value:
            raise WeightError(
                f"config.json sets {name}={value!r} for rotary positions of type {kind!r}, which is"
                " not implemented"
            )


def llama3(frequencies: np.ndarray, rope: Mapping[str, Any]) -> np.ndarray:
    """Slow turns are slowed down by a factor, fast ones kept (Grattafiori et al. 2024)."""
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    turns = rope["original_max_position_embeddings"] * frequencies / np.float32(2 * np.pi)
    smooth = np.clip((turns - low) / (high - low), 0, 1)
    return ((1 - smooth) / rope["factor"] + smooth) * frequencies


def yarn(
    frequencies: np.ndarray, rope: Mapping[str, Any], positions: int
) -> tuple[np.ndarray, float]:
    """The same with a ramp over the pairs, and warmer attention (YaRN, Peng et al. 2024)."""
    pairs, before = len(frequencies), rope["original_max_position_embeddings"]
    factor = rope.get("factor") or positions / before

    def pair(turns: float) -> float:
        """The pair that turns so often within the original positions."""
        return pairs * math.log(before / (turns * 2 * math.pi)) / math.log(rope["rope_theta"])

    first, last = pair(rope.get("beta_fast") or 32), pair(rope.get("beta_slow") or 1)
    if rope.get("truncate", True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, 2 * pairs - 1)
    ramp = (np.arange(pairs, dtype=np.float32) - first) / max(last - first, 0.001)
    slowed = np.clip(ramp, 0, 1)
    scale = rope.get("attention_factor") or (0.1 * math.log(factor) + 1 if factor > 1 else 1.0)
    return frequencies * (slowed / np.float32(factor) + 1 - slowed), scale


def turn(rotary: Rotary, position: Int[Array, "m l"], dtype: Any) -> Turn:
    """The cosines and sines of some positions."""
    frequencies = jnp.asarray(rotary.frequencies, jnp.float32).reshape(1, 1, 1, -1)
    angle = position[:, :, None, None].astype(jnp.float32) * frequencies
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    if rotary.scale != 1.0:
        cos, sin = cos * rotary.scale, sin * rotary.scale
    return Turn(cos.astype(dtype), sin.astype(dtype))


def turned(
    x: Float[Array, "n l h d"], by: Turn, interleaved: bool = False
) -> Float[Array, "n l h d"]:
    """Heads turned by their positions.

    interleaved: whether entry 2i is paired with 2i + 1; otherwise i with i + half of them.
    """
    width = 2 * by.cos.shape[-1]
    pairs, rest = x[..., :width], x[..., width:]
    if interleaved:
        first, second = pairs[..., ::2], pairs[..., 1::2]
    else:
        first, second = jnp.split(pairs, 2, -1)
    both = [first * by.cos - second * by.sin, second * by.cos + first * by.sin]
    if interleaved:
        pairs = jnp.stack(both, -1).reshape(pairs.shape)
        return jnp.concatenate([pairs, rest], -1) if rest.shape[-1] else pairs
    return jnp.concatenate([*both, rest] if rest.shape[-1] else both, -1)
