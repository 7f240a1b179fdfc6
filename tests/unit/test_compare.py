"""The table of all runs: found from the run files, written, and resumed after a kill."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from serac_jax import presets
from serac_jax.core.errors import UserError
from serac_jax.evaluation import compare
from tests.conftest import ROOT
from tests.tiny import tiny

RUN = '''"""A small run: --config={name}"""

from serac_jax import presets


def get_config(size):
    config = presets.preset(f"zsre_rep:{{size}}")
    config.update_from_flattened_dict({fields!r})
    return config
'''


def fields(cache, editor):
    return tiny() | {
        "editor": editor,
        "data.cache": str(cache),
        "data.question_tokens": 40,
        "data.answer_tokens": 24,
        "finetune.steps": 3,
        "eval.batches": 2,
        "eval.edits": 4,
        "eval.resamples": 50,
        "log.tensorboard": False,
    }


@pytest.fixture
def configs(tmp_path):
    folder = tmp_path / "configs"
    folder.mkdir()
    for name, editor in (("zsre_lu", "lookup"), ("zsre_ft", "finetune")):
        (folder / f"{name}.py").write_text(
            RUN.format(name=name, fields=fields(tmp_path / "cache", editor))
        )
    return folder


def found(configs, patterns, out):
    sources = {file.stem: str(file) for file in configs.glob("*.py")}
    return compare.find(sources, patterns, "mini", out, presets.load)


def start(configs, out):
    command = [
        sys.executable,
        "-m",
        "serac_jax",
        "table",
        "--mini",
        f"--configs={configs}",
        f"--out={out}",
    ]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_a_killed_table_goes_on_and_is_whole(configs, tmp_path):
    out = tmp_path / "out"
    process = start(configs, out)
    deadline = time.monotonic() + 600
    while not (out / "zsre_ft" / "seconds.json").exists():  # the first run, by name
        assert time.monotonic() < deadline
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    first = (out / "zsre_ft" / "results.json").stat().st_mtime_ns

    again = start(configs, out)
    printed = again.communicate(timeout=600)[0]
    assert again.returncode == 0
    assert "2 runs, 1 of them finished before" in printed
    assert (out / "zsre_ft" / "results.json").stat().st_mtime_ns == first
    entries = json.loads((out / "table.json").read_text())
    assert [(found["experiment"], found["editor"]) for found in entries] == [
        ("zsre", "ft"),
        ("zsre", "lu"),
    ]
    for found in entries:
        row = next(
            line
            for line in (out / "table.md").read_text().splitlines()
            if f"| {found['editor']} |" in line
        )
        assert f"{found['pooled']['edit_success']['mean']:.3f}" in row
        assert (
            f"--config={configs / 'zsre'}_{found['editor']}.py:mini" in found["commands"]["train"]
        )
    assert (out / "table.png").stat().st_size > 5000
    assert "<svg" in (out / "table.svg").read_text()
    assert (out / "table.pdf").read_bytes().startswith(b"%PDF")
    assert (
        "| success: prompt | success: rephrase | success, pooled |"
        in (out / "table.md").read_text()
    )


@pytest.mark.slow
def test_another_config_is_another_run(configs, tmp_path):
    """Results of a run file that has changed since are not reported."""
    (run,) = found(configs, ["zsre_lu"], tmp_path)
    run.folder.mkdir()
    (run.folder / "seconds.json").write_text("{}")
    for threshold, same in ((1.0, True), (2.0, False)):
        saved = json.loads(run.config.to_json())
        saved["lookup"]["threshold"] = threshold
        (run.folder / "results.json").write_text(json.dumps({"config": saved}))
        assert (run.results() is not None) is same


def test_a_pattern_without_a_run_is_named(configs, tmp_path):
    with pytest.raises(UserError, match=r"'fnli_\*' matches no run; there are zsre_ft, zsre_lu"):
        found(configs, ["zsre_*", "fnli_*"], tmp_path)
