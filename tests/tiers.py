"""Which cases are run every time (`pytest`) and which only with all others (`pytest -m slow`)."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def fast(names: Iterable[Any], chosen: Collection[Any]) -> list[Any]:
    """All of `names` as parameters of a test; those that are not chosen are marked slow."""
    return [
        name if name in chosen else pytest.param(name, marks=pytest.mark.slow) for name in names
    ]
