"""What hypothesis draws edits from, and files that change between two ticks of the clock."""

import os
import time
from pathlib import Path

from hypothesis import strategies as st

from serac_jax.edits import records

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(str.strip)
WORDS = st.sampled_from(["a", "A ", "b", "c?", "ü\u2028", '"\\']) | TEXTS
EDITS = st.builds(
    records.make,
    WORDS,
    WORDS,
    tags=st.lists(st.sampled_from(["x", "y", "z z"]), max_size=2),
    note=st.sampled_from(["", "n", "line\nbreak"]),
    expires=st.sampled_from(["", "", "2020-01-01", "2999-01-01"]),
    time=st.just("2026-01-01"),
    author=st.sampled_from(["Ann", "Bob"]),
)


def overwrite(file: Path, data: bytes) -> None:
    """Writes a file and sets its time to the nanosecond: what changes twice in a tick of the clock
    looks the same, but people are not that fast."""
    file.write_bytes(data)
    os.utime(file, ns=(time.time_ns(),) * 2)
