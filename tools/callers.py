"""A plugin of pytest: writes which functions of the package each test calls, and what it costs.

    pytest -n0 -p tools.callers --callers FILE

FILE becomes {test: [CPU seconds, ["path:line of the function", …]]}; tools/mutants.py reads it."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from types import CodeType, FrameType

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = str(ROOT / "serac_jax") + "/"

_called: set[CodeType] = set()
_since = 0.0  # CPU seconds when the test began
_tests: dict[str, tuple[float, list[str]]] = {}


def _on_call(frame: FrameType, event: str, argument: object) -> None:
    """Remembers the function that begins; returns nothing, so that its lines are not traced."""
    _called.add(frame.f_code)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--callers", help="file for the functions that each test calls")


def pytest_sessionstart() -> None:
    threading.settrace(_on_call)
    sys.settrace(_on_call)


def pytest_runtest_logstart() -> None:
    global _since
    _since = time.process_time()
    _called.clear()


def pytest_runtest_makereport(item: pytest.Item) -> None:
    """Keeps what a test has called and taken so far: after its setup, its call and its teardown."""
    functions = sorted(
        f"{Path(code.co_filename).relative_to(ROOT)}:{code.co_firstlineno}"
        for code in _called.copy()  # threads go on calling
        if code.co_filename.startswith(PACKAGE)
    )
    _tests[item.nodeid] = round(time.process_time() - _since, 3), functions


def pytest_sessionfinish(session: pytest.Session) -> None:
    sys.settrace(None)
    if file := session.config.getoption("callers"):
        Path(file).write_text(json.dumps(_tests))
