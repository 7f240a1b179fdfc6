"""How fast the host makes batches: rows a second of every experiment's shipped data, and the share
of a training step that this takes.

    python -m benchmarks.input [--json=FILE]

A step of the shipped models on this machine is what the share is of; steps at real size are longer
(`benchmarks.train_step`). Rows and texts that were read before are kept, so there are two shares:
of new ones, and of those that are met again, as in a second epoch."""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import jax

from serac_jax import presets
from serac_jax.core.batch import EditBatch
from serac_jax.runtime import allocator
from serac_jax.text import tokens
from serac_jax.training import experiment, steps

RUNS = ("zsre_rep", "zsre_hard_rep", "fnli_rep", "sent_rep")


def measure(run_file: str, cache: Path, batches: int) -> dict[str, Any]:
    config = presets.preset(f"{run_file}:mini")
    run = experiment.build(config, cache)
    source = run.task.batches(config.data.train_split, config.train.edits, True)

    def made() -> tuple[EditBatch, float, float]:
        """The last of some batches; seconds of processor time, and of any, for one."""
        data = iter(source)
        next(data)
        begun = time.process_time(), time.perf_counter()
        batch = list(itertools.islice(data, batches))[-1]
        return (
            batch,
            (time.process_time() - begun[0]) / batches,
            (time.perf_counter() - begun[1]) / batches,
        )

    with mock.patch.object(tokens, "REMEMBERED", 0):
        batch, new, wall = made()
    made()
    _, again, _ = made()
    rows = sum(side.labels.shape[0] for side in (batch.edits, batch.inside, batch.outside))
    state = steps.init_state(
        run.editor, steps.make_optimizer(config.train, run.editor), run.base_params, 0, run.mesh
    )
    step, placed, seconds = (
        steps.make_train_step(run.editor, state, config.train.accumulate, 0),
        steps.shard_batch(batch, run.mesh),
        [],
    )
    for _ in range(6):
        start = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, run.base_params, placed))
        seconds.append(time.perf_counter() - start)
    taken = statistics.median(seconds[1:])
    shares = {
        "ms_new": 1e3 * new,
        "ms_again": 1e3 * again,
        "share_new": new / taken,
        "share_again": again / taken,
    }
    return {
        "run": f"{run_file}:mini",
        "rows_per_second": rows / wall,
        "step_ms": 1e3 * taken,
    } | shares


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--batches", type=int, default=100, help="batches that are made (default 100)"
    )
    parser.add_argument("--json", type=Path, help="where to write all figures")
    arguments = parser.parse_args()
    allocator.prepare()
    print(f"{'':<20} {'':>8} {'ms of CPU a batch':>18} {'':>10} {'share of a step':>18}")
    print(f"{'':<20} {'rows/s':>8} {'new':>9}{'again':>9} {'ms a step':>10} {'new':>9}{'again':>9}")
    results = []
    with tempfile.TemporaryDirectory() as cache:
        for run_file in RUNS:
            found = measure(run_file, Path(cache), arguments.batches)
            results.append(found)
            print(
                f"{found['run']:<20} {found['rows_per_second']:>8.0f}"
                f" {found['ms_new']:>9.2f}{found['ms_again']:>9.2f} {found['step_ms']:>10.1f}"
                f" {found['share_new']:>9.1%}{found['share_again']:>9.1%}",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
