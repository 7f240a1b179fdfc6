"""Writing figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serac_jax.core import files


def save(figure: Any, out: Path, *endings: str) -> None:
    """Writes a figure of matplotlib as OUT.ENDING for every ending, each whole or not at all."""
    for ending in endings:
        with files.replacing(out.with_suffix(f".{ending}")) as new:
            figure.savefig(new, format=ending, dpi=150)
