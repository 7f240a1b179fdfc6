"""Several processes do what one does, and start, stop and end together.

`SERAC_LONG=1 pytest tests/slow/test_hosts.py -m slow` tries every editor on every number of
processes and every mesh; by default a part of it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from serac_jax.core.errors import UserError
from serac_jax.runtime import distributed
from tests.conftest import ROOT
from tests.hosts_worker import EDITORS, train
from tests.programs import arguments, losses

LONG = bool(os.environ.get("SERAC_LONG"))
MESHES, SHARES = (
    [(8, 1, 1), (2, 2, 2), (1, 1, 8)],
    [
        (1, 8),
        (2, 4),
        (4, 2),
    ],
)  # (data, fsdp, model); (processes, devices of each)
GRID = (
    [(*share, mesh, list(EDITORS)) for share in SHARES for mesh in MESHES]
    if LONG
    else [(4, 2, (8, 1, 1), ["serac"])]
)
MOST = 1200 if LONG else 300  # seconds after which a process is killed


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(processes, devices, command):
    """One program as several processes on this machine, each with so many fake devices. They are
    killed if they hang."""
    port, running = free_port(), []
    common = os.environ | {
        "JAX_NUM_CPU_DEVICES": str(devices),
        "HF_HUB_OFFLINE": "1",
        "PYTHONUNBUFFERED": "1",
        "JAX_PLATFORMS": "cpu",
    }
    for number in range(processes):
        joined = (
            [f"--coordinator=127.0.0.1:{port}", f"--processes={processes}", f"--process={number}"]
            if processes > 1
            else []
        )
        process = subprocess.Popen(
            [sys.executable, *command, *joined],
            cwd=ROOT,
            env=common,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        last = threading.Timer(MOST, process.kill)
        last.daemon = True
        last.start()
        running.append(process)
    return running


def finish(running):
    """What every process printed; all have ended well."""
    told = [process.communicate() for process in running]
    assert all(process.returncode == 0 for process in running), "\n".join(err for _, err in told)
    return [out for out, _ in told]


def worker(out, processes, devices, cases, resume=None):
    """What editors have learned on meshes over several processes, by editor."""
    out.mkdir(exist_ok=True)
    listed = ";".join(f"{editor}:{','.join(map(str, mesh))}" for editor, mesh in cases)
    more = [f"--resume={resume}"] if resume else []
    told = finish(
        start(
            processes,
            devices,
            ["-m", "tests.hosts_worker", f"--out={out}", f"--cases={listed}", *more],
        )
    )
    assert f"{processes} processes, {processes * devices} devices" in told[0]
    return {editor: dict(np.load(out / f"{editor}.npz")) for editor, _ in cases}


def check_same(one, many):
    """Parameters are those of one device, but for rounding."""
    assert one.keys() == many.keys()
    for path, leaf in one.items():
        assert np.abs(many[path] - leaf).max() <= 1e-5 * max(np.abs(leaf).max(), 1.0), path


def check_equal(one, other):
    """Parameters are the same to the bit."""
    assert one.keys() == other.keys()
    assert all(np.array_equal(leaf, other[path]) for path, leaf in one.items())


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What every editor learns on one device."""
    return {editor: train(editor, (1, 1, 1), tmp_path_factory.mktemp(editor)) for editor in EDITORS}


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """The folder of two processes of four devices each, and what editors have learned there."""
    folder = tmp_path_factory.mktemp("split")
    return folder, worker(folder, 2, 4, [(editor, (2, 2, 2)) for editor in EDITORS])


def test_two_processes_on_a_mesh_of_three_axes_end_where_one_device_does(alone, split):
    for editor, learned in split[1].items():
        check_same(alone[editor], learned)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_one_process_goes_on_with_another_mesh_and_does_it_again(alone, split, tmp_path):
    once, again = (
        train("mend", (1, 1, 8), tmp_path / name, resume=split[0]) for name in ("once", "again")
    )
    check_same(alone["mend"], once)
    check_equal(once, again)


@pytest.mark.parametrize(("processes", "devices", "mesh", "editors"), GRID)
def test_any_number_of_processes_on_any_mesh_ends_where_one_device_does(
    alone, tmp_path, processes, devices, mesh, editors
):
    cases = [(editor, mesh) for editor in editors]
    learned = worker(tmp_path / "once", processes, devices, cases)
    for editor in editors:
        check_same(alone[editor], learned[editor])
    if LONG:
        again = worker(tmp_path / "again", processes, devices, cases)
        resumed = worker(
            tmp_path / "resumed",
            2,
            1,
            [(editor, (1, 2, 1)) for editor in editors],
            resume=tmp_path / "once",
        )
        for editor in editors:
            check_equal(learned[editor], again[editor])
            check_same(alone[editor], resumed[editor])


def read_until(process, text):
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(process.stderr.read())


FIELDS = {
    "train.val_every": 4,
    "train.val_batches": 1,
    "train.dropout": 0.0,
    "train.save_every": 1000,
    "train.steps": 1000,
    "train.lr": 1e-3,
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def stopped(cache, tmp_path_factory):
    """A run of two processes, of which the second was told to stop."""
    workdir = tmp_path_factory.mktemp("runs") / "stopped"
    running = start(2, 1, ["train.py", *arguments(cache, workdir, **FIELDS)])
    read_until(running[0], "step 6/")
    running[1].send_signal(signal.SIGTERM)
    told = finish(running)
    assert "stopped by a signal" in told[0]
    assert "step" not in told[1]  # the first process alone prints
    return workdir


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_sigterm_on_one_host_saves_on_all_and_one_process_goes_on(stopped, cache, tmp_path):
    last = max(
        int(folder.name)
        for folder in (stopped / "checkpoints").iterdir()
        if (folder / "opt_state").exists()
    )
    assert last >= 6
    steps = {"train.steps": last + 3}
    runs = [
        start(1, 1, ["train.py", *arguments(cache, workdir, **FIELDS | steps)])
        for workdir in (stopped, tmp_path / "whole")
    ]
    for run in runs:
        finish(run)
    (ours, ours_val), (whole, whole_val) = losses(stopped), losses(tmp_path / "whole")
    assert ours.keys() == whole.keys() == set(range(1, last + 4))
    assert ours_val.keys() == whole_val.keys()
    assert np.allclose(list(ours.values()), list(whole.values()), rtol=1e-4)
    assert np.allclose(list(ours_val.values()), list(whole_val.values()), rtol=1e-4)


def test_an_evaluation_by_two_processes_writes_the_same_results(stopped, cache):
    found = []
    for processes in (1, 2):
        finish(
            start(processes, 1, ["eval.py", f"--workdir={stopped}", f"--config.data.cache={cache}"])
        )
        found.append(json.loads((stopped / "results.json").read_text()))
    one, two = found
    assert one["counts"] == two["counts"]
    for mine, theirs in zip(one["examples"], two["examples"], strict=True):
        assert theirs.pop("score") == pytest.approx(mine.pop("score"), rel=1e-4)
        assert mine == theirs
    for name, kinds in one["scores"].items():
        for kind, score in kinds.items():
            assert two["scores"][name][kind] == pytest.approx(score, rel=1e-4), (name, kind)


def test_a_process_that_dies_ends_the_others_with_a_message(cache, tmp_path):
    running = start(
        2,
        1,
        ["train.py", *arguments(cache, tmp_path / "killed", **FIELDS | {"train.val_every": 1000})],
    )
    read_until(running[0], "step 2/")
    running[1].kill()
    since = time.monotonic()
    err = running[0].communicate()[1]
    assert running[0].returncode not in (0, -signal.SIGKILL)
    assert time.monotonic() - since < distributed.SILENCE + 30
    assert "perhaps because another one ended" in err or "another task died" in err
    running[1].communicate()


def test_a_mistake_that_one_process_sees_ends_all(cache, tmp_path):
    """The folder is another run's, which the first process finds out."""
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "config.json").write_text('{"seed": 1}')
    running = start(2, 1, ["train.py", *arguments(cache, tmp_path / "taken")])
    errors = [process.communicate()[1] for process in running]
    assert all(process.returncode != 0 for process in running)
    assert "error: process 0 of 2: " in errors[0]
    assert "holds a run of another config" in errors[0]


def test_how_processes_find_one_another():
    assert distributed.asked(None, None, None, {}) is None
    assert (
        distributed.asked(None, None, None, {"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1"})
        is None
    )  # a job of several runs
    for found in ({"SLURM_STEP_NUM_TASKS": "2"}, {"TPU_WORKER_HOSTNAMES": "a,b"}):
        assert distributed.asked(None, None, None, found) == {}
    assert distributed.asked("auto", None, None, {}) == {}
    assert distributed.asked("node1:1234", 2, 0, {})["process_id"] == 0
    for wrong, message in {
        ("node1:1234", 2, None): "--process is not given",
        (None, 2, 0): "--coordinator is not given",
        ("node1:1234", 2, 2): "a process below their number",
        ("node1", 2, 1): "expected HOST:PORT",
    }.items():
        with pytest.raises(UserError, match=message):
            distributed.asked(*wrong, {})


def test_the_tasks_of_a_slurm_step_join():
    """By what Slurm tells each of them."""
    program = (
        "import jax; from argparse import Namespace; from serac_jax.cli.options import launch;"
        " launch(lambda: print(jax.process_count(), jax.device_count()),"
        " Namespace(coordinator=None, processes=None, process=None))"
    )
    step = {
        "SLURM_JOB_ID": str(free_port()),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NUM_NODES": "2",
    }
    environments = [
        os.environ
        | step
        | {
            "SLURM_PROCID": str(number),
            "SLURM_LOCALID": "0",
            "JAX_NUM_CPU_DEVICES": "2",
        }
        for number in range(2)
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    running = [
        subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=environment, **pipes)
        for environment in environments
    ]
    assert finish(running) == ["2 4\n", ""]
