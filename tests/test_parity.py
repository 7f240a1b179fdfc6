"""Equal to the PyTorch original, number by number, on recorded cases; `python -m tests.parity` runs any folder of such cases."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import MODELS, ROOT
from tests.parity import golden
from tests.parity.__main__ import compare
from tests.parity.compare import Comparison

CASES = Path(__file__).parent / "data" / "golden" / "cases"
NOISE = golden.noise(CASES)
LEAST = {"sent_rep_nouter4": 20, "unit_generate": 8}  # arrays that are compared, where they are few


@pytest.mark.parametrize("name", golden.names(CASES))
def test_a_recorded_case_is_reproduced(name):
    comparison = compare(name, CASES, MODELS, NOISE)
    assert len(comparison.ratios) >= (10 if name.startswith("batch_") else LEAST.get(name, 30))
    assert not comparison.over


def test_double_precision_tells_rounding_from_a_difference():
    single, double = Comparison("case", {}), Comparison("case", {})
    for comparison, rounded, other in ((single, 1.001, 1.001), (double, 1.0, 1.001)):
        comparison.check("rounded", np.array([rounded]), np.array([1.0]))
        comparison.check("other", np.array([other]), np.array([1.0]))
    single.settle(double)
    assert list(single.over) == ["other"]
    assert len(single.departures) == 1


def test_a_scalar_is_settled_only_by_rounding_as_large_as_its_difference():
    single, double = Comparison("case", {}), Comparison("case", {})
    for comparison, near, far in ((single, 1.001, 1.001), (double, 1.003, 1.0015)):
        comparison.check("near", np.float32(near), np.float32(1))
        comparison.check("far", np.float32(far), np.float32(1))
    single.settle(double)
    assert list(single.over) == ["far"]


def test_the_command_fails_where_a_number_is_off_or_a_case_is_unknown(tmp_path):
    case = golden.load(CASES, "unit_parts")
    folder = tmp_path / "cases" / "unit_parts"
    folder.mkdir(parents=True)
    (folder / "unit_parts.json").write_bytes((CASES / "unit_parts" / "unit_parts.json").read_bytes())
    name = "balanced_bce/mixed/loss"
    np.savez_compressed(folder / "unit_parts.npz", **{key: value + 0.01 if key == name else value for key, value in case.items()})
    riddle = tmp_path / "cases" / "riddle"
    riddle.mkdir()
    (riddle / "riddle.json").write_text('{"kind": "riddle", "aliases": {}}')
    np.savez(riddle / "riddle.npz")
    environment = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    process = subprocess.run(
        [sys.executable, "-m", "tests.parity", f"--cases={tmp_path / 'cases'}", f"--models={MODELS}"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert f"OVER {name}" in process.stdout
    assert "NOT COMPARED UnknownCaseError: nothing compares a case of kind 'riddle'" in process.stdout
    assert "2 cases: 0 within tolerance, 1 over, 1 not compared" in process.stdout
