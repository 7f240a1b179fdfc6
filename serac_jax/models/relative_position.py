"""Relative positions in buckets, as in T5 (Raffel et al. 2020, section 2.1)."""

from __future__ import annotations

import numpy as np


def relative_bucket(
    distance: np.ndarray, bidirectional: bool, buckets: int, max_distance: int
) -> np.ndarray:
    """The bucket of key position − query position: exact for near ones, logarithmic up to
    `max_distance`."""
    if bidirectional:
        buckets //= 2
        offset, distance = np.where(distance > 0, buckets, 0), np.abs(distance)
    else:
        offset, distance = 0, np.maximum(-distance, 0)
    exact = buckets // 2
    ratio = np.log(np.maximum(distance, 1).astype(np.float32) / exact) / np.float32(
        np.log(max_distance / exact)
    )
    far = np.minimum(exact + (ratio * (buckets - exact)).astype(np.int32), buckets - 1)
    return offset + np.where(distance < exact, distance, far)
