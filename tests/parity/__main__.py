"""`python -m tests.parity --cases DIR --models DIR`: a table of cases, and exit status 1 where one
is over its tolerance or not compared."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tests.parity import golden
from tests.parity.cases import Result, prepare, result


def results(names: list[str], arguments: argparse.Namespace) -> Iterator[Result]:
    """Of every case, in order."""
    run = partial(result, cases=arguments.cases, models=arguments.models)
    with tempfile.TemporaryDirectory(prefix="parity-compiled-") as compiled:
        if arguments.processes == 1:
            prepare(compiled)
            yield from map(run, names)
            return
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(arguments.processes, context, prepare, (compiled,)) as pool:
            yield from pool.map(run, names)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--cases", type=Path, required=True, help="folder of cases; NOISE.json in it or beside it"
    )
    parser.add_argument(
        "--models",
        type=Path,
        required=True,
        help="folder of the Hugging Face models that the manifests name",
    )
    parser.add_argument(
        "--only",
        default="",
        help="compare only cases in whose name this regular expression is found",
    )
    parser.add_argument(
        "--processes", type=int, default=os.cpu_count(), help="how many cases are compared at once"
    )
    arguments = parser.parse_args()
    names = [name for name in golden.names(arguments.cases) if re.search(arguments.only, name)]
    print(f"{'case':<28} {'arrays':>6}  difference ÷ tolerance")
    found, start = [], time.monotonic()
    for done in results(names, arguments):
        found.append(done)
        print(*done.lines, sep="\n", flush=True)
        left = (time.monotonic() - start) / len(found) * (len(names) - len(found)) / 60
        print(
            f"{len(found)} of {len(names)}, about {left:.0f} min left",
            end="\r",
            file=sys.stderr,
            flush=True,
        )
    over, left_out = sum(case.over for case in found), sum(bool(case.failure) for case in found)
    print(
        f"{len(names)} cases: {len(names) - over - left_out} within tolerance, {over} over,"
        f" {left_out} not compared"
    )
    return 1 if over or left_out else 0


if __name__ == "__main__":
    sys.exit(main())
