"""Recorded cases: numpy and json only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

CASES = Path(__file__).parents[1] / "data" / "golden" / "cases"  # those shipped


class Case(dict):
    """Arrays by name; `manifest` says what was run and holds scalars and strings."""

    manifest: dict[str, Any]


def load(root: Path, name: str) -> Case:
    stem = root / name / name
    with np.load(stem.with_suffix(".npz")) as arrays:
        case = Case({key: arrays[key] for key in arrays.files})
    case.manifest = json.loads(stem.with_suffix(".json").read_text())
    case |= {
        key: case[stored]
        for key, stored in case.manifest.get("aliases", {}).items()
        if stored in case
    }
    return case


def batch(root: Path, name: str) -> dict[str, Any]:
    """One recorded batch, nested: edit_inner, edit_outer, loc, and the raw strings and masks."""
    case = load(root, name)
    nested: dict[str, Any] = {}
    for key, value in [*case.items(), *case.manifest["non_tensor"].items()]:
        *path, leaf = key.split("/")
        node = nested
        for part in path:
            node = node.setdefault(part, {})
        node[leaf] = value
    return nested


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir())


def noise(root: Path) -> dict[str, Any]:
    """NOISE.json of a folder of cases, beside it or in it; empty where there is none."""
    file = next(
        (file for file in (root / "NOISE.json", root.parent / "NOISE.json") if file.exists()), None
    )
    return json.loads(file.read_text()) if file else {}
