"""Equal to the PyTorch original, number by number, on recorded cases; `python -m tests.parity` runs
any folder of such cases."""

import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from serac_jax.core.losses import token_kl, weighted_mean
from serac_jax.editors.protocol import Editor
from tests.conftest import MODELS, ROOT
from tests.parity import golden, training
from tests.parity.cases import compare
from tests.parity.compare import Comparison
from tests.parity.golden import CASES
from tests.parity.precision import double
from tests.parity.recorded import kl_rounding
from tests.tiers import fast

NOISE = golden.noise(CASES)
# A case of every kind of batch, and a whole editor.
CHOSEN = """batch_fnli_n1b0 batch_fnli_v0 batch_qa_b0 batch_qa_n1b1 batch_qa_v0 batch_sent_b0
    batch_sent_v0 qa_rep""".split()
LEAST = {"sent_rep_nouter4": 20, "unit_generate": 8}  # arrays that are compared, where they are few


@pytest.mark.parametrize("name", fast(golden.names(CASES), CHOSEN))
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


@pytest.mark.parametrize("drifted", [False, True])
def test_only_after_a_step_of_our_own_may_a_number_be_as_far_off_as_precision_moves_it(drifted):
    single, double = (Comparison("case", {}, drifted=drifted) for _ in range(2))
    for comparison, near, far in ((single, 1.001, 1.001), (double, 1.0016, 1.0014)):
        comparison.check("near", np.float32(near), np.float32(1))
        comparison.check("far", np.float32(far), np.float32(1))
        comparison.check("array", np.full(2, near), np.ones(2))
    single.settle(double)
    assert set(single.over) == ({"far", "array"} if drifted else {"near", "far", "array"})


@pytest.mark.parametrize("slope", [2.0, 2.01])
def test_a_training_step_is_compared_from_where_the_original_stood(slope):
    """Rounding noise in a gradient, which Adam makes a whole step of, is not carried on; another
    gradient is seen at once."""
    lr, noise = 0.1, np.array([1e-9, 1.0], np.float32)
    start, case = np.array([1.0, 1.0], np.float32), golden.Case()
    case |= {
        "grad0/w": noise,
        "step1/w": start - lr * np.array([1e-9 / (1e-9 + 1e-8), 1.0], np.float32),
    }
    case.manifest = {
        "kind": "case",
        "config": {"lr": lr, "lr_lr": lr, "grad_clip": 100.0},
        "values": {"train1/grad_norm": 2.0 * float(np.linalg.norm(case["step1/w"]))},
        "errors": {},
    }
    editor = Editor(*[None] * 6, groups=lambda params: {"w": "weights"}, route=None)
    gradients = iter([-noise * np.array([1, -1], np.float32), None])

    def gradient(params, batch):
        first = next(gradients)
        return {"w": slope * params["w"] if first is None else jnp.asarray(first)}, {}

    comparison = Comparison("case", {"groups": {"grad0": {"max_abs_diff": 1e-9}}})
    learner = training.Learner(
        editor, {"w": jnp.asarray(start)}, gradient, lambda name: name, lambda *arguments: None
    )
    training.run(comparison, case, learner, [None, None])
    assert set(comparison.ratios) == {"grad0/w", "step1/w", "train1/grad_norm"}
    assert list(comparison.over) == ([] if slope == 2.0 else ["train1/grad_norm"])


def test_the_bound_of_the_rounding_of_a_kl_holds_and_is_narrow():
    rng = np.random.default_rng(0)
    before = rng.normal(0, 5, (4, 3, 500)).astype(np.float32)
    after = before + rng.normal(0, 1e-4, before.shape).astype(np.float32)
    weight = np.ones((4, 3), np.float32)
    single = weighted_mean(token_kl(jnp.asarray(before), jnp.asarray(after)), weight)
    with double():
        exact = weighted_mean(
            token_kl(*(jnp.asarray(logits, np.float64) for logits in (before, after))),
            weight.astype(np.float64),
        )
    assert abs(float(single) - float(exact)) <= kl_rounding(before, after, weight) < 1e-5


@pytest.mark.slow
def test_the_command_fails_where_a_number_is_off_or_a_case_is_unknown(tmp_path):
    case, name = golden.load(CASES, "batch_qa_b1"), "edit_inner/labels"
    folder = tmp_path / "cases" / "batch_qa_b1"
    folder.mkdir(parents=True)
    (folder / "batch_qa_b1.json").write_bytes(
        (CASES / "batch_qa_b1" / "batch_qa_b1.json").read_bytes()
    )
    np.savez_compressed(
        folder / "batch_qa_b1.npz",
        **{key: value + 1 if key == name else value for key, value in case.items()},
    )
    riddle = tmp_path / "cases" / "riddle"
    riddle.mkdir()
    (riddle / "riddle.json").write_text('{"kind": "riddle", "aliases": {}}')
    np.savez(riddle / "riddle.npz")
    process = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.parity",
            f"--cases={tmp_path / 'cases'}",
            f"--models={MODELS}",
            "--processes=2",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert f"OVER {name}" in process.stdout
    assert (
        "NOT COMPARED UnknownCaseError: nothing compares a case of kind 'riddle'" in process.stdout
    )
    assert "2 cases: 0 within tolerance, 1 over, 1 not compared" in process.stdout
