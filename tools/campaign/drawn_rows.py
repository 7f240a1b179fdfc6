"""Rows that hypothesis draws, which makes a failure as small as it can be."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from serac_jax.core.errors import UserError
from serac_jax.edits import exchange, records

DRAWN = 400
NAMES = [
    *records.FIELDS, "question", "target_new", "input", "src", "output", "answers", "alt",
    "alternatives", "requested_rewrite", "subject", "",
]  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*NAMES, "str", "prompt"]), inner, max_size=3)
    ),
    max_leaves=6,
)
ROWS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6)


def trial(rng: Random, folder: Path) -> int:
    """A row of any fields is an edit that is written and read back the same, or is refused.

    Returns:
        The number of rows.
    """

    @seed(rng.randrange(1 << 30))
    @settings(
        max_examples=DRAWN,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.lists(ROWS, min_size=1, max_size=3), st.booleans())
    def all_of(rows: list[dict[str, Any]], alternatives: bool) -> None:
        text = "".join(json.dumps(row) + "\n" for row in rows)
        try:
            found = exchange.read(text, "jsonl", "rows", alternatives=alternatives)
        except UserError:
            return
        for kind in ("jsonl", "csv"):
            again = "".join(exchange.write(found.edits, kind))
            assert exchange.read(again, kind, "rows").edits == found.edits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        all_of()
    return DRAWN
