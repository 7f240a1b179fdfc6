"""Search among few keys by NumPy: on a CPU, below FEW scores, faster than calling a program.

The arrays are views of the index's own. They must be released before a program writes to those,
which would otherwise be copied.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from serac_jax.index.device_search import Stored, rough, visible
from serac_jax.index.distance import Distance, log_similarity

FEW = 1 << 15  # queries × slots (`benchmarks/memory.py`)


def views(stored: Stored) -> Stored:
    """The arrays as NumPy views."""
    return jax.tree.map(
        np.from_dlpack, stored
    )  # np.asarray would keep the view for as long as the array lives


def nearest(
    stored: Stored, queries: Any, seen: Any, *, proposed: int, k: int, distance: Distance
) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """As `device_search.nearest` for float32 keys; all arrays are NumPy's."""
    closeness = np.where(
        visible(stored.tags, seen),
        rough(queries, stored.keys, stored.squares, distance, np),
        -np.inf,
    )
    row, slots = (
        np.arange(len(queries))[:, None],
        np.argpartition(closeness, -proposed)[:, -proposed:],
    )
    scores = np.asarray(log_similarity(stored.keys[slots], queries[:, None], distance, np))
    scores[closeness[row, slots] == -np.inf] = -np.inf
    best = np.argsort(-scores)[:, :k]
    return slots[row, best], scores[row, best]
