"""The programs, end to end: training, killing, resuming, evaluating, and what they say when
something is wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from serac_jax import models
from serac_jax.evaluation import report
from serac_jax.training import experiment, loop, steps
from serac_jax.training.checkpoints import Checkpoints
from tests.conftest import MODELS, ROOT
from tests.programs import STEPS, arguments, finish, losses, read_until, same, start
from tests.tiny import config_of, tiny


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def finished(cache, tmp_path_factory):
    """A run that nothing interrupted."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    out = finish(start("train.py", *arguments(cache, workdir)))
    assert f"step {STEPS}/{STEPS}" in out
    assert "left" in out
    assert f"python eval.py --workdir={workdir}" in out
    return workdir


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.slow
def test_sigterm_saves_and_ends_cleanly(finished, cache, tmp_path):
    workdir = tmp_path / "stopped"
    process = start("train.py", *arguments(cache, workdir))
    read_until(process, "step 22/")
    process.send_signal(signal.SIGTERM)
    out = finish(process)
    assert "stopped by a signal" in out
    with ocp.CheckpointManager(workdir / "checkpoints") as manager:
        assert 22 <= manager.latest_step() < STEPS
    finish(start("train.py", *arguments(cache, workdir)))
    same(finished, workdir)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.slow
def test_sigterm_is_obeyed_during_a_validation_which_is_made_up_for(cache, tmp_path):
    """Of 37 batches; the step before it is saved."""
    fields = {"train.val_batches": 0, "train.steps": 60, "train.val_every": 40}
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    finish(start("train.py", *arguments(cache, whole, **fields)))
    process = start("train.py", *arguments(cache, stopped, **fields))
    read_until(process, "step 40/")
    process.send_signal(signal.SIGTERM)
    since = time.monotonic()
    out = finish(process)
    # a second where nothing else runs: the program of a batch may have to be compiled first
    assert time.monotonic() - since < 60
    assert out.count("next: ") == 1
    assert "stopped by a signal" in out
    assert "all steps done" not in out
    assert losses(stopped)[1] == {}
    with ocp.CheckpointManager(stopped / "checkpoints") as manager:
        assert manager.latest_step() == 40
    finish(start("train.py", *arguments(cache, stopped, **fields)))
    same(whole, stopped, last=60)


def restarted(fields, cache, folder):
    """Five steps, with a restart after the third that must not make a difference: what ran, its
    step, the state in the end, and its data."""
    config = config_of(
        **tiny() | fields | {"train.lr": 1e-3, "train.lr_lr": 1e-3, "train.accumulate": 2}
    )
    run = experiment.build(config, cache)
    optimizer = steps.make_optimizer(config.train, run.editor)

    def begin():
        return steps.init_state(run.editor, optimizer, run.base_params, 0, run.mesh), iter(
            run.task.batches("train", 2, True)
        )

    state, data = begin()
    step, update = (
        steps.make_train_step(run.editor, state, 2, 0),
        steps.make_update_step(optimizer, state),
    )

    def go_on(state, data, count):
        for _ in range(count):
            state, _ = step(state, run.base_params, steps.shard_batch(next(data), run.mesh))
            state = update(state) if state.step % 2 == 0 else state
        return state

    whole = go_on(*begin(), 5)
    checkpoints = Checkpoints(folder)
    checkpoints.save(go_on(state, data, 3), data, {})
    checkpoints.close()
    state, data = begin()
    state, _ = Checkpoints(folder).restore_or_start(state, data, "")
    assert int(state.step) == 3
    again = go_on(state, data, 2)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), whole, again))
    return run, step, again, data


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_running_moments_survive_a_restart(cache, tmp_path):
    """MEND's moments are no part of the gradient, but of the checkpoint; and a batch that is
    dropped leaves no trace in them."""
    run, step, state, data = restarted({"editor": "mend", "mend.rank": 8}, cache, tmp_path)
    moments = jax.device_get(state.params["moments"])
    assert all(found["count"] > 20 for found in moments.values())
    broken = jax.tree.map(lambda leaf: leaf * np.float32(np.nan), run.base_params)
    after, _ = step(state, broken, steps.shard_batch(next(data), run.mesh))
    assert jax.tree.all(
        jax.tree.map(lambda a, b: bool((a == b).all()), moments, after.params["moments"])
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_trained_base_model_survives_a_restart(cache, tmp_path):
    """ENN trains a copy: the model that is edited stays as it was loaded, though the training step
    gives its arrays away."""
    run, _, state, _ = restarted({"editor": "enn"}, cache, tmp_path)
    loaded, learned = (
        run.base_params["shared"]["embedding"],
        state.params["base"]["shared"]["embedding"],
    )
    assert np.array_equal(
        loaded, experiment.build(config_of(**tiny()), cache).base_params["shared"]["embedding"]
    )
    assert not np.array_equal(loaded, learned)
    assert all(rate != np.float32(1e-2) for rate in jax.tree.leaves(state.params["rates"]))


@pytest.mark.slow
def test_8_devices_end_where_1_does(cache, tmp_path):
    fields = {"train.dropout": 0.0, "train.steps": 40, "train.lr": 1e-4}
    ends = []
    for devices, mesh in ((1, {}), (8, {"mesh.data": 4, "mesh.model": 2})):
        finish(
            start(
                "train.py",
                *arguments(cache, tmp_path / str(devices), **fields, **mesh),
                devices=devices,
            )
        )
        ends.append(losses(tmp_path / str(devices)))
    assert ends[0][0].keys() == ends[1][0].keys()
    for one, eight in zip(ends[0], ends[1], strict=True):
        assert np.allclose(list(one.values()), list(eight.values()), rtol=1e-3)


@pytest.mark.slow
def test_evaluation_writes_what_it_documents(finished, cache):
    runs = finished.parent / "runs"
    runs.mkdir(exist_ok=True)
    (runs / "newest").symlink_to(finished)
    out = finish(
        start("eval.py", f"--config.data.cache={cache}", folder=finished.parent)
    )  # bare: the newest run under runs/
    results = json.loads((finished / "results.json").read_text())
    near = {"same_subject", "same_relation"}
    for name, kinds in {
        "edit_success": {"prompt", "rephrase"},
        "edit_success_generated": {"prompt", "rephrase"},
        "scope_inside": {"prompt", "rephrase"},
        "drawdown": {"unrelated"} | near,
        "scope_outside": {"unrelated"} | near,
        "base_accuracy": {"unrelated"} | near,
        "loss": {"all"},
    }.items():
        assert set(results["scores"][name]) == kinds
        assert name in out or name == "loss"
        for score in results["scores"][name].values():
            assert set(score) == {"mean", "low", "high", "n"}
            assert score["low"] <= score["mean"] <= score["high"]
    for name in ("edit_success", "drawdown", "drawdown_near"):
        score, near_ones = results["pooled"][name], name.endswith("_near")
        parts = [
            part
            for kind, part in results["scores"][name.removesuffix("_near")].items()
            if (kind in near) == near_ones
        ]
        assert score["n"] == sum(part["n"] for part in parts) == 30
        pooled = sum(part["mean"] * part["n"] for part in parts) / 30
        assert score["mean"] == pytest.approx(pooled)
    assert results["counts"] == {"batches": 3, "edits": 30, "inside": 30, "outside": 60}
    assert results["config"]["train"]["steps"] == STEPS
    assert {"jax", "python", "devices"} <= set(results["versions"])
    assert results["step"] in losses(finished)[1]
    assert results["split"] == "dev"
    assert "eval.py" in results["command"]
    assert report.table(results) in out
    assert max(map(len, report.table(results).splitlines())) <= 100


@pytest.mark.slow
def test_evaluation_writes_a_line_per_question(finished):
    """Its lines say what was asked and answered, and add up to the scores of results.json."""
    results = json.loads((finished / "results.json").read_text())
    lines = [json.loads(line) for line in (finished / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == results["counts"]["inside"] + results["counts"]["outside"]
    assert results["examples"][0] in lines
    for kind, score in results["scores"]["scope_inside"].items():
        hits = [line["hit"] for line in lines if line["kind"] == kind]
        assert len(hits) == score["n"]
        assert sum(hits) / len(hits) == pytest.approx(score["mean"])
    for line in lines:
        inside = line["kind"] in ("prompt", "rephrase")
        assert line["wanted"] == (line["edit"]["answer"] if inside else line["before"])
        assert (line["question"] == line["edit"]["prompt"]) == (line["kind"] == "prompt")
        assert line["right"] or line["after"] != line["wanted"]
        assert line["hit"] == (line["score"] > 0.5)
        assert 0 <= line["edit"]["index"] < results["counts"]["edits"]
        assert line["source"].startswith("structured_zeroshot-dev")
    assert {line["edit"]["index"] for line in lines} == set(range(results["counts"]["edits"]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_run_validates_saves_and_tells_what_was_run(cache, tmp_path, capsys):
    fields = {
        "train.steps": 4,
        "train.edits": 4,
        "train.val_every": 2,
        "train.val_batches": 1,
        "train.save_every": 2,
        "train.log_every": 1,
        "train.dropout": 0.1,
        "data.question_tokens": 40,
        "data.answer_tokens": 24,
        "data.cache": str(cache),
        "mesh.data": 1,
        "data.sizes": 1,
    }
    folder = tmp_path / "run"
    loop.train(config_of(**tiny() | fields), folder, "serac eval")
    assert f"next: serac eval --workdir={folder}" in capsys.readouterr().out
    trained, validated = losses(folder)
    assert (list(trained), list(validated)) == ([1, 2, 3, 4], [2, 4])
    assert Checkpoints(folder).newest_first() == [4, 2]
    assert json.loads((folder / "config.json").read_text())["train"]["dropout"] == 0.1
    assert "jax" in json.loads((folder / "versions.json").read_text())
    assert list(folder.glob("events.out.tfevents*"))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.slow
def test_a_run_starts_from_anothers_parameters(finished, cache, tmp_path):
    finish(
        start(
            "train.py",
            *arguments(
                cache,
                tmp_path / "next",
                **{"train.init_from": finished, "train.steps": 2, "train.val_batches": 1},
            ),
        )
    )
    begun, _ = losses(tmp_path / "next")
    assert begun[1] < losses(finished)[0][1]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.slow
def test_trained_parts_are_exported_as_hugging_face_folders(finished, tmp_path):
    process = subprocess.run(
        [
            sys.executable,
            "-m",
            "serac_jax",
            "export",
            f"--workdir={finished}",
            f"--out={tmp_path}",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    for part, name, output in (
        ("scope", "distilbert-tiny-cased", "cls"),
        ("counterfactual", "t5-tiny", ""),
    ):
        _, params = models.load(str(tmp_path / part), output=output)
        _, before = models.load(tiny()[f"serac.{part}"], output=output)
        assert jax.tree.structure(params) == jax.tree.structure(before), name
        assert not jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), params, before))


@pytest.mark.slow
def test_bad_input_is_one_clear_message(finished, cache, tmp_path):
    """Each with exit status 1, and without a traceback."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text((MODELS / "t5-tiny" / "config.json").read_text())
    (tmp_path / "a-file").touch()
    config = "--config=configs/zsre_rep.py:mini"
    cases = {
        "there is no option --train.lrr; did you mean train.lr": (
            "train.py",
            config,
            "--config.train.lrr=1",
        ),
        "--train.lr='fast': expected a value of type float": (
            "train.py",
            config,
            "--config.train.lr=fast",
        ),
        "there is no variant :huge": ("train.py", "--config=configs/zsre_rep.py:huge"),
        "has no weights: expected one of": (
            "train.py",
            *arguments(cache, tmp_path / "x", **{"base.name": broken}),
        ),
        "cannot write to": ("train.py", *arguments(cache, tmp_path / "a-file" / "run")),
        "holds a run of another config (train.lr: 1e-05 there, 0.1 now)": (
            "train.py",
            *arguments(cache, finished, **{"train.lr": 0.1}),
        ),
        "there is no run under runs/; make one with": ("eval.py",),
        "train.lr is part of the trained run": (
            "eval.py",
            f"--workdir={finished}",
            "--config.train.lr=1",
        ),
        "fewer than the 100000 edits of a batch": (
            "train.py",
            *arguments(cache, tmp_path / "y", **{"train.edits": 100_000}),
        ),
        "more than the limit of 4; raise data.answer_tokens": (
            "train.py",
            *arguments(cache, tmp_path / "z", **{"data.answer_tokens": "4"}),
        ),
        "cannot be split over mesh.model=5": (
            "train.py",
            *arguments(cache, tmp_path / "w", **{"mesh.model": 5}),
        ),
    }

    def run(case):
        process = start(*case, devices=5, folder=tmp_path if case == ("eval.py",) else ROOT)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    with ThreadPoolExecutor(2) as pool:
        for message, (status, out, err) in zip(cases, pool.map(run, cases.values()), strict=True):
            assert message in err, err
            assert status == 1
            assert "Traceback" not in out + err
            assert err.count("error: ") == 1
    assert losses(finished)[0][STEPS]  # nothing on disk was damaged


@pytest.mark.slow
def test_each_size_of_a_batch_is_compiled_once(cache):
    config = config_of(
        **tiny()
        | {
            "train.edits": 4,
            "data.question_tokens": 40,
            "data.answer_tokens": 24,
            "data.sizes": 3,
        }
    )
    run = experiment.build(config, cache)
    optimizer = steps.make_optimizer(config.train, run.editor)
    state = steps.init_state(run.editor, optimizer, run.base_params, 0, run.mesh)
    step = steps.make_train_step(run.editor, state, 1, 0)
    update = steps.make_update_step(optimizer, state)
    seen = set()
    for _, batch in zip(range(60), run.task.batches("train", 4, True), strict=False):
        state, _ = step(state, run.base_params, steps.shard_batch(batch, run.mesh))
        seen.add((batch.layout, tuple(leaf.shape for leaf in jax.tree.leaves(batch))))
        state = update(state)
        assert step._cache_size() == len(seen)
        assert update._cache_size() == 1
    assert 1 < len(seen) <= 3


@pytest.mark.slow
def test_a_steady_loop_compiles_and_transfers_nothing(cache, tmp_path):
    """200 steps of train.py behind its first pass over the widths: it runs them under a guard
    against implicit transfers, and JAX tells what it compiles."""
    fields = {
        "train.val_every": 1000,
        "train.save_every": 1000,
        "train.steps": 1000,
        "data.sizes": "2",
    }
    command = [sys.executable, "train.py", *arguments(cache, tmp_path / "steady", **fields)]
    environment = os.environ | {"JAX_LOG_COMPILES": "1", "PYTHONUNBUFFERED": "1"}
    compiled, step = {True: 0, False: 0}, 0
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout:
            step = int(line.split()[1].split("/")[0]) if line.startswith("step ") else step
            compiled[step > 80] += "Finished XLA compilation of" in line
            if step == 280:
                break
        process.kill()
    assert step == 280
    # Before: at least a step for each of two sizes, and the update.
    assert compiled[True] == 0 < 3 <= compiled[False]


def test_on_a_cpu_a_step_is_compiled_in_an_order_that_holds_little():
    """What is recomputed for a gradient is not held for all layers at once."""

    @jax.checkpoint
    def layer(x, kernel):
        return x + jax.nn.softmax((x @ kernel) @ x.T) @ x

    def loss(kernel, x):
        for _ in range(8):
            x = layer(x, kernel)
        return x.sum()

    def held(options):
        step = jax.jit(jax.grad(loss), compiler_options=options)
        program = step.lower(jnp.zeros((16, 16)), jnp.zeros((400, 16))).compile()
        return program.memory_analysis().temp_size_in_bytes

    assert held(steps.compiler_options(jnp.zeros(1))) < 0.7 * held({})
