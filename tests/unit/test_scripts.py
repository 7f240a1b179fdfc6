"""Shell scripts: every command that they print exists and parses, and a stopped job of a cluster is
put back into its queue."""

import os
import re
import shlex
import signal
import subprocess
import time

import pytest

from serac_jax.cli import options
from tests.conftest import ROOT

RUN_FILES = sorted(file.name for file in (ROOT / "configs").glob("*_*.py"))


def printed(*command, **environment):
    """The commands that a script prints, as lists of arguments."""
    process = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"DRY": "1"} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return [shlex.split(line) for line in process.stdout.splitlines()]


def parsed(arguments):
    """The config of a command of train.py."""
    parser = options.parser("train", "")
    parser.add_argument("--workdir")
    return options.configured(options.parse(parser, arguments))


def checked(commands):
    """The trained configs of a script's commands: a command of train.py, then one of eval.py for
    the same folder, and so on."""
    for train, evaluate in zip(commands[::2], commands[1::2], strict=True):
        assert train[:2] == ["python", "train.py"]
        assert evaluate[:2] == ["python", "eval.py"]
        assert evaluate[2:] == [argument for argument in train if argument.startswith("--workdir=")]
    folders = [evaluate[2] for evaluate in commands[1::2]]
    assert len(set(folders)) == len(folders)
    return [parsed(train[2:]) for train in commands[::2]]


@pytest.mark.parametrize("size", ["", ":mini"])
def test_the_main_runs_are_every_run_file(size):
    commands = printed(
        "scripts/main.sh", "--config.train.steps=3", "--config.data.question_tokens=16", SIZE=size
    )
    assert [command[2] for command in commands[::2]] == [
        f"--config=configs/{name}{size}" for name in RUN_FILES
    ]
    for config in checked(commands):
        assert config.train.steps == 3
        assert config.data.question_tokens == 16


def test_the_ablations_are_a_grid():
    configs = checked(printed("scripts/ablations.sh"))
    assert (
        len(
            {
                (config.task, config.data.yes_no, config.serac.scope, config.serac.cross_attention)
                for config in configs
            }
        )
        == len(configs)
        == 8
    )


@pytest.mark.parametrize(
    "tasks",
    [
        [{}],
        [
            {
                "SLURM_ARRAY_TASK_ID": str(i),
                "SLURM_ARRAY_TASK_MIN": "1",
                "SLURM_ARRAY_TASK_COUNT": "3",
            }
            for i in (1, 2, 3)
        ],
        [{"LLSUB_RANK": str(i), "LLSUB_SIZE": "2"} for i in (0, 1)],
    ],
)
def test_the_tasks_of_a_job_divide_the_runs(tasks):
    grid = printed("scripts/ablations.sh", "--config.seed=1")
    shares = [
        printed("scripts/slurm.sh", "scripts/ablations.sh", "--config.seed=1", **task)
        for task in tasks
    ]
    assert sorted(command for share in shares for command in share) == sorted(grid)


STOPPED = """#!/usr/bin/env bash
trap 'sleep 0.2; echo saved >> "$LOG"; exit' TERM
echo "$* offline=$HF_HUB_OFFLINE" >> "$LOG"
for _ in {1..600}; do sleep 0.1; done
"""


SRUN = """#!/usr/bin/env bash
echo $$ > "$LOG.task"
shift
exec "$@"
"""
SCANCEL = """#!/usr/bin/env bash
echo "scancel $*" >> "$LOG"
kill -TERM "$(cat "$LOG.task")"
"""
SCONTROL = """#!/usr/bin/env bash
echo "$*" >> "$LOG"
"""


@pytest.mark.parametrize("tasks", [1, 2])
@pytest.mark.slow
def test_a_job_that_is_stopped_saves_and_goes_back_into_the_queue(tmp_path, tasks):
    """A run as several processes is told through Slurm, which reaches all of them."""
    for name, text in {
        "python": STOPPED,
        "scontrol": SCONTROL,
        "srun": SRUN,
        "scancel": SCANCEL,
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    log = tmp_path / "log"
    environment = os.environ | {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "LOG": str(log),
        "SLURM_JOB_ID": "17",
        "SLURM_NTASKS": str(tasks),
    }
    job = subprocess.Popen(["scripts/slurm.sh"], cwd=ROOT, env=environment)
    while not log.exists():
        time.sleep(0.05)
    job.send_signal(signal.SIGTERM)
    job.wait(timeout=60)
    started, *after = log.read_text().splitlines()
    assert started.startswith("train.py --config=configs/")
    assert started.endswith("offline=1")
    assert after == [*(["scancel --signal=TERM 17"] if tasks > 1 else []), "saved", "requeue 17"]


DOCUMENTED = re.findall(r"--config\.[^`\s]+", (ROOT / "docs" / "original.md").read_text())


def test_every_option_of_the_page_about_the_original_parses():
    for option in DOCUMENTED:
        parsed(["--config=configs/zsre_rep.py", *shlex.split(option.replace(r"\|", "|"))])
    assert len(DOCUMENTED) > 50
