"""How fast the host makes batches: rows a second of every experiment's shipped data, and the share of a training step that this takes.

    python -m benchmarks.input [--json=FILE]

A step of the shipped models on this machine is what the share is of; steps at real size are longer (`benchmarks.train_step`).
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax

from serac_jax import experiment, training

RUNS = ("zsre_rep", "zsre_hard_rep", "fnli_rep", "sent_rep")


def measure(run_file: str, cache: Path, batches: int) -> dict[str, Any]:
    config = importlib.import_module(f"configs.{run_file}").get_config("mini")
    run = experiment.build(config, cache)
    data = iter(run.task.batches(config.data.train_split, config.train.edits, True))
    next(data)
    begun = time.process_time(), time.perf_counter()
    batch = list(itertools.islice(data, batches))[-1]
    cpu, wall = (time.process_time() - begun[0]) / batches, (time.perf_counter() - begun[1]) / batches
    rows = sum(side.labels.shape[0] for side in (batch.edits, batch.inside, batch.outside))
    state = training.init_state(run.editor, training.make_optimizer(config.train, run.editor), run.base_params, 0, run.mesh)
    step, placed, seconds = training.make_train_step(run.editor, state, config.train.accumulate, 0), training.put(batch, run.mesh), []
    for _ in range(6):
        start = time.perf_counter()
        state, _ = jax.block_until_ready(step(state, run.base_params, placed))
        seconds.append(time.perf_counter() - start)
    taken = statistics.median(seconds[1:])
    return {"run": f"{run_file}:mini", "rows_per_second": rows / wall, "ms_per_batch": 1e3 * cpu, "step_ms": 1e3 * taken, "share": cpu / taken}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=100, help="batches that are made (default 100)")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    arguments = parser.parse_args()
    print(f"{'':<20} {'rows/s':>8} {'ms of CPU a batch':>18} {'ms a step':>10} {'share':>7}")
    results = []
    with tempfile.TemporaryDirectory() as cache:
        for run_file in RUNS:
            found = measure(run_file, Path(cache), arguments.batches)
            results.append(found)
            print(
                f"{found['run']:<20} {found['rows_per_second']:>8.0f} {found['ms_per_batch']:>18.2f} {found['step_ms']:>10.1f} {found['share']:>7.1%}",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
