"""How long a training run takes until its first step is done, without and with the programs that an
earlier start left in the compilation cache on disk.

    python -m benchmarks.startup [--json=FILE]

Starts `train.py --config=configs/zsre_rep.py:mini` for two steps twice, with a cache that is empty
at first: then data are prepared, and all is compiled."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent


def start(cache: str, workdir: Path) -> dict[str, float]:
    """Seconds until the first step was told, and until the program ended, its validation and
    checkpoint included."""
    fields = {"train.steps": 2, "train.log_every": 1, "train.val_batches": 1, "data.cache": cache}
    args = [f"--config.{name}={value}" for name, value in fields.items()]
    begun, first = time.perf_counter(), 0.0
    command = [
        sys.executable,
        "train.py",
        "--config=configs/zsre_rep.py:mini",
        f"--workdir={workdir}",
        *args,
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout
        for line in run.stdout:
            first = first or (time.perf_counter() - begun if line.startswith("step 1/") else 0.0)
    if run.returncode:
        sys.exit(f"{' '.join(command)} ended with status {run.returncode}")
    return {"first_step": first, "end": time.perf_counter() - begun}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="where to write all figures")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cold, warm = (start(f"{folder}/cache", Path(folder) / name) for name in ("cold", "warm"))
    print(f"{'':<12} {'cold':>8} {'cached':>8} {'ratio':>7}")
    for name in cold:
        print(
            f"{name.replace('_', ' '):<12} {cold[name]:>6.1f} s {warm[name]:>6.1f} s"
            f" {warm[name] / cold[name]:>7.2f}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps({"cold": cold, "cached": warm}, indent=2) + "\n")


if __name__ == "__main__":
    main()
