"""A training run that is killed again and again, whose checkpoints are damaged, whose disk is full.

More kills than the usual few: SERAC_JAX_KILLS=100 pytest -m slow tests/slow/test_kills.py -n0
"""

import os
import resource
import shutil
import signal
import time
from functools import partial

import numpy as np
import pytest

from tests import damage
from tests.programs import STEPS, arguments, finish, losses, read_until, same, start

KILLS = int(os.environ.get("SERAC_JAX_KILLS", "5"))
OFTEN = {"train.save_every": 2}  # most moments are during a save
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Compiled programs as well: a process that is killed may leave half of one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("JAX_COMPILATION_CACHE_DIR")
        yield tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def finished(cache, tmp_path_factory):
    """A run that nothing interrupted."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    finish(start("train.py", *arguments(cache, workdir)))
    return workdir


def kill(workdir, cache, rng):
    """Starts a run, and kills it a moment after it has got one step further, or while it starts."""
    process = start("train.py", *arguments(cache, workdir, **OFTEN))
    if rng.random() < 0.1:
        time.sleep(rng.uniform(0, 10))
    else:
        for line in process.stdout:
            if line.startswith("step "):
                break
        time.sleep(rng.uniform(0, 0.5))
    process.send_signal(signal.SIGKILL)
    _, said = process.communicate()
    assert "Traceback" not in said, said


def test_a_run_killed_at_random_moments_ends_bit_identical(finished, cache, tmp_path):
    seed = int(time.time())
    print(f"seed {seed}, {KILLS} kills")
    rng, workdir = np.random.default_rng(seed), tmp_path / "killed"
    for _ in range(KILLS):
        kill(workdir, cache, rng)
    process = start("train.py", *arguments(cache, workdir, **OFTEN))
    _, said = process.communicate(timeout=900)
    assert (process.returncode, said) == (0, "")
    same(finished, workdir)


@pytest.fixture(scope="module")
def stopped(cache, tmp_path_factory):
    """A run that was stopped, with two checkpoints."""
    workdir = tmp_path_factory.mktemp("runs") / "stopped"
    process = start("train.py", *arguments(cache, workdir))
    read_until(process, f"step {STEPS - 12}/")
    process.send_signal(signal.SIGTERM)
    finish(process)
    return workdir


@pytest.mark.parametrize("way", damage.WAYS)
def test_a_damaged_checkpoint_makes_no_difference(finished, stopped, cache, tmp_path, way):
    workdir = shutil.copytree(stopped, tmp_path / "run")
    *_, older, newest = sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())
    way(workdir / "checkpoints" / str(newest))
    process = start("train.py", *arguments(cache, workdir))
    _, said = process.communicate(timeout=900)
    assert process.returncode == 0, said
    assert said.startswith(f"note: the checkpoint of step {newest} in ")
    assert said.endswith(f"; that of step {older} is used instead\n")
    assert said.count("\n") == 1
    same(finished, workdir)


def test_files_that_cannot_grow_cost_a_line_each(cache, tmp_path, monkeypatch):
    """As on a full disk, in the middle of a save: no file may have more than 60 kB."""
    workdir = tmp_path / "run"
    fields = {"train.steps": 10, "train.save_every": 5, "train.val_batches": 1}
    limited = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (60_000, 60_000))
    cached = arguments(cache, workdir, **fields)
    finish(start("train.py", *arguments(cache, tmp_path / "first", **fields)))  # compiles
    process = start("train.py", *cached, before=limited)
    _, said = process.communicate(timeout=900)
    lines = said.splitlines()
    assert process.returncode == 1
    assert len(lines) == 2, said
    assert lines[0].startswith("note: the checkpoint of step 5 could not be written to ")
    assert lines[1].startswith("error: the checkpoint of step 10 could not be written to ")
    assert all("(File too large); there is none yet" in line for line in lines)
    finish(start("train.py", *cached))
    assert losses(workdir) == losses(tmp_path / "first")


def test_a_lock_ends_with_its_holder(cache, tmp_path):
    """Also where it was killed, and has worker processes."""
    workdir = tmp_path / "run"
    first = start("train.py", *arguments(cache, workdir, **{"data.workers": 2}))
    read_until(first, "step 16/")
    second = start("train.py", *arguments(cache, workdir))
    out, said = second.communicate(timeout=900)
    assert (second.returncode, out) == (1, "")
    assert said == f"error: another program trains in {workdir}; wait for it, or give another" + (
        " --workdir\n"
    )
    first.kill()
    first.communicate(timeout=60)  # until nobody holds its output: its workers have ended, too
    finish(start("train.py", *arguments(cache, workdir, **{"train.steps": 20})))
