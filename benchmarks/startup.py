"""How much faster a second start of the same training is, through the compilation cache on disk.

    python -m benchmarks.startup

Starts `train.py --config=configs/zsre_rep.py:mini` for a few steps twice, with a cache that is empty at first, and prints the ratio.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent


def start(cache: str, workdir: Path) -> float:
    begun = time.perf_counter()
    fields = {"train.steps": 2, "train.val_batches": 1, "data.cache": cache}
    args = [f"--config.{name}={value}" for name, value in fields.items()]
    subprocess.run(
        [sys.executable, "train.py", "--config=configs/zsre_rep.py:mini", f"--workdir={workdir}", *args], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - begun


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        seconds = [start(f"{folder}/cache", Path(folder) / f"run{number}") for number in range(2)]
    print(f"first start {seconds[0]:.1f} s, second {seconds[1]:.1f} s: ratio {seconds[1] / seconds[0]:.2f}")


if __name__ == "__main__":
    main()
