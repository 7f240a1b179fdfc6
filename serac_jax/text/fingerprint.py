"""Fingerprints of questions, by which compiled programs tell equal wording."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from jaxtyping import Int

from serac_jax.edits.same_prompt import normal

REMEMBERED = 1 << 16  # questions


@lru_cache(maxsize=REMEMBERED)
def fingerprint(question: str) -> tuple[int, int]:
    """64 bits of a question as two int32; equal where `normal` makes two questions equal."""
    low, high = np.frombuffer(
        hashlib.blake2b(normal(question).encode(), digest_size=8).digest(), "<i4"
    ).tolist()
    return low, high


def fingerprints(questions: Sequence[str | None]) -> Int[np.ndarray, "n 2"]:
    """The fingerprint of each question; zeros for None, a row of padding."""
    rows = [(0, 0) if question is None else fingerprint(question) for question in questions]
    return np.array(rows, np.int32).reshape(-1, 2)
