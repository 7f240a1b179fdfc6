"""A part of the campaign in a process of its own, which is watched: a trial that takes too long is
killed and counts as failed, and the next one begins."""

from __future__ import annotations

import json
import resource
import selectors
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from tools.campaign.parts import PARTS

ROOT = Path(__file__).parents[2]
PATIENCE = 300.0  # seconds of a trial, at most: loading models on a busy machine takes a minute
MOST = 4096  # MiB that a part may need at its peak
KEPT = 20  # failures that are shown of a part
HEAD = f"{'part':<20} {'tried':>10} {'held':>10} {'failed':>7} {'trials':>7} {'MiB':>6} {'s':>6}"


class Failure(NamedTuple):
    """A trial that failed, and the seed with which it does so again."""

    part: str
    seed: int
    error: str


class Result(NamedTuple):
    """What a part did.

    Attributes:
      part: Its name.
      trials: How many trials there were.
      tried: What they tried, such as kills or inputs.
      failures: The trials that failed.
      peak: MiB of memory at most.
      seconds: How long it took.
    """

    part: str
    trials: int
    tried: int
    failures: list[Failure]
    peak: int
    seconds: float

    def __str__(self) -> str:
        failed = len(self.failures)
        return (
            f"{self.part:<20} {self.tried:>10,} {self.tried - failed:>10,} {failed:>7}"
            f" {self.trials:>7,} {self.peak:>6,} {self.seconds:>6.0f}"
        )


def work(name: str, seed: int, trials: int, seconds: float) -> None:
    """Runs trials of a part with ascending seeds, and prints a line of JSON for each."""
    end = time.monotonic() + seconds
    memory = Path("/dev/shm")  # a disk would wait long for each commit
    number = 0
    while number < trials if trials else number == 0 or time.monotonic() < end:
        found: dict[str, Any] = {"seed": seed + number, "tried": 1}
        with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
            try:
                found["tried"] = PARTS[name](Random(f"{name} {seed + number}"), Path(folder))
            except BaseException as error:
                found["error"] = last_words(error)
        found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(json.dumps(found), flush=True)
        number += 1


def last_words(error: BaseException) -> str:
    """What failed, and where, in a line."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    notes = " ".join(getattr(error, "__notes__", []))
    said = " ".join(f"{type(error).__name__}: {error} {notes}".split())
    return f"{said[:600]} ({place.filename}:{place.lineno})"


def supervise(name: str, seed: int, trials: int, seconds: float) -> Result:
    """Runs a part for so many trials, or for so long."""
    begun = time.monotonic()
    done, tried, peak, failures = 0, 0, 0, list[Failure]()
    while True:
        left = max(seconds - (time.monotonic() - begun), 0)
        for line in lines(name, seed + done, trials - done if trials else 0, left):
            lost = {"error": "it hung, or its process died"}
            found: dict[str, Any] = json.loads(line) if line else lost
            done, tried = done + 1, tried + found.get("tried", 1)
            peak = max(peak, found.get("peak", 0))
            if "error" in found:
                failures.append(Failure(name, seed + done - 1, found["error"]))
        over = done >= trials if trials else time.monotonic() - begun >= seconds
        if over or len(failures) >= KEPT:
            break
    if peak > MOST:
        failures.append(Failure(name, seed, f"it needed {peak} MiB of memory"))
    return Result(name, done, tried, failures, peak, time.monotonic() - begun)


def lines(name: str, seed: int, trials: int, seconds: float) -> Iterator[bytes]:
    """What a worker prints, until it ends; an empty line where it hangs or dies."""
    command = [sys.executable, "-m", "tools.campaign", name, "--worker", f"--seed={seed}"]
    command.append(f"--trials={trials}" if trials else f"--minutes={seconds / 60}")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as run:
        assert run.stdout
        with selectors.DefaultSelector() as ready:
            ready.register(run.stdout, selectors.EVENT_READ)
            while ready.select(PATIENCE):
                line = run.stdout.readline()
                if line.endswith(b"\n"):
                    yield line
                    continue
                if run.wait():
                    yield b""
                return
        run.kill()
        yield b""
