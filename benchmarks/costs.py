"""Where the time of a training step at real size goes: its operations, by the module that they come
from.

    python -m benchmarks.costs                          SERAC on zsRE
    python -m benchmarks.costs --only=fnli_rep,sent_gtn

JAX's profiler tells how long each operation took, and the compiled program from which module it is
and whether there is a product in it (a CPU's trace names neither). Shares are of the time of all
operations; those that run at the same time count as often."""

from __future__ import annotations

import argparse
import collections
import gzip
import json
import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from benchmarks.train_step import ACCUMULATE, CASES, case, held, ours
from serac_jax.runtime import allocator
from serac_jax.training import steps as training_steps


class Operation(NamedTuple):
    """path: of modules, as JAX writes it:
    "jit(train_step)/transpose(jvp(Bert))/Bert.embed/Bert.encode/block_0/wi/dot_general"."""

    path: str
    product: bool

    @property
    def backward(self) -> bool:
        return "transpose(" in self.path

    @property
    def module(self) -> str:
        """The module and its method, as "Bert.embed"."""
        _, network, method, *_ = [*self.path.split("/"), "", "", ""]
        if re.fullmatch(r"(transpose\()?jvp\(\w+\)+", network):
            return method
        return (
            "losses"
            if "jvp(" in network
            else "mean of the gradients"
            if network
            else "without a name"
        )


def operations(program: str) -> dict[str, Operation]:
    """Of a compiled program's text, by name. What a fusion is, the computation says that it
    calls."""
    paths: dict[str, str] = {}
    calls: dict[str, str] = {}
    products: set[str] = set()
    computation = ""
    for line in program.splitlines():
        if begun := re.match(r"(?:ENTRY )?%(\S+) \(", line):
            computation = begun[1]
        elif made := re.match(r"\s+(?:ROOT )?%(\S+) = ", line):
            path, called = (
                re.search(r'op_name="([^"]*)"', line),
                re.search(r"calls=%([\w.-]+)", line),
            )
            paths[made[1]] = path[1] if path else ""
            paths[computation] = paths[made[1]] or paths.get(
                computation, ""
            )  # of the last operation, which the others lead to
            calls[made[1]] = called[1] if called else ""
            if re.search(r" (dot|convolution)\(", line):
                products |= {computation, made[1]}
    return {
        name: Operation(paths[name] or paths.get(call, ""), bool({name, call} & products))
        for name, call in calls.items()
    }


def traced(step: Callable[[], None], steps: int) -> collections.Counter[str]:
    """Microseconds of each operation of the steps, by name."""
    step()
    found: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(steps):
                step()
        (file,) = Path(folder).rglob("*.trace.json.gz")
        for event in json.loads(gzip.decompress(file.read_bytes()))["traceEvents"]:
            if name := event.get("args", {}).get("hlo_op"):
                found[name] += event["dur"]
    return found


def shares(
    times: collections.Counter[str], known: dict[str, Operation]
) -> dict[str, collections.Counter[str]]:
    """The shares of every module's time: "all" of it, that of "products", and of the passes
    "forward" and "backward"; the largest first."""
    found: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    total = times.total()
    for name, time in times.items():
        operation = known.get(name, Operation("", False))
        kinds = [
            "all",
            "backward" if operation.backward else "forward",
            *(["products"] if operation.product else []),
        ]
        found[operation.module].update(dict.fromkeys(kinds, time / total))
    return dict(sorted(found.items(), key=lambda item: -item[1]["all"]))


def lines(name: str, found: dict[str, collections.Counter[str]]) -> Iterable[str]:
    columns = ("all", "forward", "backward", "products")
    yield f"{name:<24}" + "".join(f"{column:>10}" for column in columns)
    for module, share in found.items():
        yield f"{module:<24}" + "".join(f"{share[column]:>10.1%}" for column in columns)
    yield f"{'':<24}" + "".join(
        f"{sum(share[column] for share in found.values()):>10.1%}" for column in columns
    )


def measure(name: str, steps: int) -> dict[str, collections.Counter[str]]:
    """The shares of one case of `benchmarks.train_step`."""
    found = case(name)
    mine = ours(found)
    state: Any = mine.start()
    step = (
        training_steps.make_train_step(mine.editor, state, ACCUMULATE, 0)
        .lower(state, mine.base_params, found.batch)
        .compile()
    )
    return shares(
        traced(held(step, state, mine.base_params, found.batch), steps),
        operations(step.as_text() or ""),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", default="zsre_rep", help=f"cases, with commas between them: {', '.join(CASES)}"
    )
    parser.add_argument("--steps", type=int, default=5, help="steps that are traced (default 5)")
    arguments = parser.parse_args()
    allocator.prepare()
    for name in arguments.only.split(","):
        print(*lines(name, measure(name, arguments.steps)), "", sep="\n", flush=True)
        jax.clear_caches()


if __name__ == "__main__":
    main()
