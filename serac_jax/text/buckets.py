"""Shapes that repeat: rows in powers of two, texts in a few widths, so that a steady stream of
requests compiles nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import jax
import numpy as np

from serac_jax.core.batch import Tokens
from serac_jax.core.sharding import batch_sharding, row_parts
from serac_jax.core.types import Params
from serac_jax.text.tokens import pad, smallest

MOST = 256  # rows that a program reads at a time
Item = TypeVar("Item")


def bucket(count: int) -> int:
    """The least power of two that holds so many rows."""
    return 1 << max(count - 1, 0).bit_length()


def chunks(items: Sequence[Item], most: int = MOST) -> Iterator[Sequence[Item]]:
    """Items in groups that a program can read."""
    for start in range(0, len(items), most):
        yield items[start : start + most]


def spread_widths(limit: int, count: int) -> tuple[int, ...]:
    """At most `count` widths of texts up to a limit, evenly spread over the multiples of 8."""
    steps = (-(-limit * step // (8 * count)) * 8 for step in range(1, count + 1))
    return tuple(sorted({min(width, limit) for width in steps}))


def tokens(rows: Sequence[Sequence[int]], widths: tuple[int, ...]) -> Tokens:
    """Ids as arrays of the smallest width that fits, cut at the last; up to a power of two of rows,
    of which the last ones repeat the first."""
    kept = [row[: widths[-1]] for row in rows]
    kept += [kept[0]] * (bucket(len(rows)) - len(rows))
    return pad(kept, smallest(widths, max(map(len, kept))))


def shard_rows(params: Params, read: Tokens) -> Tokens:
    """Tokens for a program with these parameters: where a mesh holds them, its rows are split over
    its axis "data", up to a multiple of whose size the last row is repeated."""
    placed = jax.tree.leaves(params)[0].sharding
    if placed.num_devices == 1:
        return read
    missing = -read.ids.shape[0] % row_parts(placed.mesh)
    return jax.device_put(
        jax.tree.map(lambda leaf: np.pad(leaf, ((0, missing), (0, 0)), mode="edge"), read),
        batch_sharding(placed.mesh),
    )
