"""train.py and eval.py as processes of a test's own, on shipped data with tiny models."""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp

from tests.conftest import ROOT
from tests.tiny import tiny

STEPS = 60
FIELDS = {
    "train.steps": STEPS,
    "train.val_every": 20,
    "train.save_every": 10,
    "train.log_every": 1,
    "train.val_batches": 2,
    "train.accumulate": 2,
    "train.dropout": 0.1,
    "train.edits": 4,
    "data.question_tokens": "40",
    "data.answer_tokens": "24",
    "eval.split": "dev",
    "eval.batches": 3,
    "eval.resamples": 100,
}


def arguments(cache, workdir, **fields):
    listed = tiny() | FIELDS | {"data.cache": str(cache)} | fields
    return [
        "--config=configs/zsre_rep.py:mini",
        f"--workdir={workdir}",
        *(f"--config.{name}={value}" for name, value in listed.items()),
    ]


def start(program, *args, devices=1, folder=ROOT, before=None):
    environment = os.environ | {
        "JAX_NUM_CPU_DEVICES": str(devices),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
    }
    return subprocess.Popen(
        [sys.executable, str(ROOT / program), *args],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )


def finish(process):
    out, err = process.communicate(timeout=900)
    assert process.returncode == 0, err
    return out


def losses(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}, {
        line["step"]: line["val_loss"] for line in lines if "val_loss" in line
    }


def final(workdir):
    """The last checkpoint's leaves, bit for bit."""
    with ocp.CheckpointManager(workdir / "checkpoints") as manager:
        step = manager.latest_step()
        items = ocp.args.Composite(
            params=ocp.args.StandardRestore(), opt_state=ocp.args.StandardRestore()
        )
        restored = manager.restore(step, args=items)
        return step, [
            np.asarray(leaf)
            for leaf in jax.tree.leaves((restored["params"], restored["opt_state"]))
        ]


def same(one, other, last=STEPS):
    """Two runs ended with the same parameters and went through the same losses, to the bit."""
    assert losses(one) == losses(other)
    (step, leaves), (end, others) = final(one), final(other)
    assert step == end == last
    assert all(np.array_equal(a, b) for a, b in zip(leaves, others, strict=True))


def read_until(process, text):
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(process.stderr.read())
