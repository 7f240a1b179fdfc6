"""Inner parameters: the kernels of the base model that an editor changes, by their paths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jaxtyping import Array

from serac_jax.errors import UserError
from serac_jax.models.convert import flatten, unflatten
from serac_jax.types import Params


def select(params: Params, patterns: tuple[str, ...]) -> dict[str, Array]:
    """The kernels whose whole path matches a pattern, in the order of the patterns, then of the blocks.

    Raises UserError, with the candidates, where a pattern matches nothing.
    """
    kernels = {path: leaf for path, leaf in sorted(flatten(params).items(), key=lambda item: in_order(item[0])) if path.endswith("/kernel")}
    chosen: dict[str, Array] = {}
    for pattern in patterns:
        found = {path: leaf for path, leaf in kernels.items() if re.fullmatch(pattern, path)}
        if not found:
            shown = sorted({re.sub(r"block_\d+", r"block_\\d+", path) for path in kernels})
            raise UserError(f"inner: the pattern {pattern!r} matches no kernel of the base model; its kernels are {', '.join(shown)}")
        chosen |= found
    return chosen


def in_order(path: str) -> list[Any]:
    """A path as a key of sorting in which block_10 comes after block_9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path)]


def replace(params: Params, leaves: Mapping[str, Array]) -> Params:
    """The parameters with some leaves, by path, in place of the old ones."""
    return unflatten(flatten(params) | dict(leaves))
