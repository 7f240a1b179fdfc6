"""A training step of every editor at real size: seconds, FLOPs, share of a bare matrix product's
rate, memory; beside PyTorch.

    python -m benchmarks.train_step                                    every editor × experiment
    python -m benchmarks.train_step --only=fnli_rep,zsre_gtn --json=FILE

Beside ours are timed, by turns and on the same texts (`real_size`), where torch is installed: the
same needed computation written with the modules of `transformers`, and the work that a step of the
PyTorch original does (`torch_steps`), each in a process of its own, all of which keep the memory
that they free (`serac_jax.runtime.allocator`). A step is the loss, its gradient, and adding that to
the mean of an optimizer step; the optimizer's own step, once every ten batches, is timed apart.
T5-large is the base of SERAC only, whose step does not run it."""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax

from benchmarks import counting, real_size
from benchmarks.real_size import DISTILBERT, EXPERIMENTS, NAMED, Experiment
from benchmarks.timing import by_turns
from serac_jax.core.batch import EditBatch
from serac_jax.core.sharding import make_mesh
from serac_jax.core.types import Config
from serac_jax.editors.enn import enn_editor as enn
from serac_jax.editors.mend import mend_editor as mend
from serac_jax.editors.protocol import Editor
from serac_jax.editors.serac import scope as scopes
from serac_jax.editors.serac.loss import Options
from serac_jax.editors.serac.reader import Reader
from serac_jax.editors.serac.router import Router
from serac_jax.editors.serac.serac_editor import serac
from serac_jax.runtime import allocator
from serac_jax.training import steps

CASES = [
    "zsre_rep",
    "zsre_large_rep",
    "fnli_rep",
    "sent_rep",
    "zsre_gtn",
    "fnli_gtn",
    "sent_gtn",
    "zsre_enn",
]
GOALS = {
    "zsre_rep": 3.0,
    "zsre_large_rep": 5.0,
    "fnli_rep": 8.0,
    "sent_rep": 3.0,
    "zsre_gtn": 1.5,
    "fnli_gtn": 1.5,
    "sent_gtn": 1.5,
}
ACCUMULATE = 10


class Case(NamedTuple):
    experiment: Experiment
    editor: str
    config: Config
    batch: EditBatch


class Ours(NamedTuple):
    """needed: FLOPs by hand; None where nobody has counted them. start: makes the state before the
    first step."""

    editor: Editor
    base_params: Any
    needed: int | None
    start: Callable[[], steps.TrainState]
    optimizer: Any


def case(name: str) -> Case:
    key, _, editor = name.rpartition("_")
    experiment = EXPERIMENTS[key]
    config = real_size.config_of(f"{experiment.run}_{editor}")
    config.serac.cross_attention = experiment.cross_attention
    if key == "zsre":  # the last two blocks of T5-small, which has six
        config.inner = (r"(encoder|decoder)/block_[45]/mlp/(wi|wo)/kernel",)
    return Case(
        experiment,
        editor,
        config,
        real_size.encoder(experiment, config)(real_size.drawn(experiment)),
    )


def ours(case: Case) -> Ours:
    experiment, config = case.experiment, case.config
    output, labels = ("head", 1) if experiment.base == "bert" else ("", 0)
    train, needed = config.train, None
    weights = {"cedit": train.cedit, "cloc": train.cloc, "unlikelihood": train.unlikelihood}
    if case.editor == "rep":
        base, base_params = (
            real_size.network(NAMED[experiment.base], output, labels),
            {},
        )  # not part of the step
        counterfactual, counterfactual_params = real_size.random_model(
            NAMED[experiment.counterfactual], output, labels, 1
        )
        classifier, scope_params = real_size.random_model(
            DISTILBERT, "head" if experiment.cross_attention else "cls", 0, 2
        )
        scope = (
            scopes.cross_attention(classifier, 1)
            if experiment.cross_attention
            else scopes.embedding(classifier)
        )
        lead = 1 if output else 0
        editor = serac(
            Router(scope),
            scope_params,
            Reader(base, lead),
            Reader(counterfactual, lead),
            counterfactual_params,
            Options(),
        )
        needed = counting.needed(case.batch, classifier, counterfactual, experiment.cross_attention)
    else:
        base, base_params = real_size.random_model(NAMED[experiment.base], output, labels)
        if case.editor == "gtn":
            editor = mend.mend(base, tuple(config.inner), mend.Options(**config.mend, **weights))
        else:
            editor = enn.enn(base, tuple(config.inner), enn.Options(**config.enn, **weights))
    optimizer = steps.make_optimizer(train, editor)
    return Ours(
        editor,
        base_params,
        needed,
        lambda: steps.init_state(editor, optimizer, base_params, 0, make_mesh(data=1)),
        optimizer,
    )


def held(step: Callable[..., Any], state: Any, *args: Any) -> Callable[[], None]:
    """The step as a function without arguments that waits for its result; it donates its state, and
    so keeps the new one."""

    def run() -> None:
        nonlocal state
        out = jax.block_until_ready(step(state, *args))
        state = out if isinstance(out, steps.TrainState) else out[0]

    return run


def torch_side(case: Case, original: bool) -> Callable[[], None]:
    from benchmarks.torch_batches import Batch
    from benchmarks.torch_steps import STEPS

    return STEPS[case.editor](case.experiment, Batch(case.batch), original)[0]


@contextmanager
def apart(name: str, side: str) -> Iterator[Callable[[], None]]:
    """PyTorch's step in a process of its own: threads and memory of the two libraries in one made
    ours a fourth slower."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    other = context.Process(target=serve, args=(name, side, theirs), daemon=True)
    other.start()

    def step() -> None:
        ours.send(True)
        ours.recv()

    yield step
    ours.send(False)
    other.join()


def serve(name: str, side: str, pipe: Any) -> None:
    """Takes a step whenever it is told to."""
    allocator.prepare()
    step = torch_side(case(name), side == "original")
    while pipe.recv():
        step()
        pipe.send(None)


def measure(name: str, repeats: int, sides: list[str]) -> dict[str, Any]:
    """Everything about one case, as a dictionary for --json."""
    found = case(name)
    mine = ours(found)
    state = mine.start()
    step = (
        steps.make_train_step(mine.editor, state, ACCUMULATE, 0)
        .lower(state, mine.base_params, found.batch)
        .compile()
    )
    memory = step.memory_analysis()
    functions = {"ours": held(step, state, mine.base_params, found.batch)}
    with ExitStack() as processes:
        functions |= {side: processes.enter_context(apart(name, side)) for side in sides}
        timed = by_turns(functions, repeats)
    flops = dict(step.cost_analysis() or {})["flops"]
    result = {
        "case": name,
        "seconds": {side: one.seconds for side, one in timed.items()},
        "ratios": {side: timed[side].of_product / timed["ours"].of_product for side in sides},
        "flops": flops,
        "needed_flops": mine.needed,
        "share": (mine.needed or flops) / timed["ours"].of_product,
        "gib": (
            (
                memory.argument_size_in_bytes
                + memory.output_size_in_bytes
                - memory.alias_size_in_bytes
                + memory.temp_size_in_bytes
            )
            / 2**30
        ),
        "goal": GOALS.get(name),
    }
    state = mine.start()
    result["seconds"]["update"] = by_turns(
        {"update": held(steps.make_update_step(mine.optimizer, state), state)}, 3
    )["update"].seconds
    return result


def peak(name: str, side: str) -> float:
    """GiB that a process of its own needs at most for one side of a case, interpreter and libraries
    included."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.train_step", f"--only={name}", f"--alone={side}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout.split()[-1])


def alone(name: str, side: str) -> None:
    """Two steps of one side; prints the most memory that this process had, in GiB."""
    found = case(name)
    if side == "ours":
        mine = ours(found)
        state = mine.start()
        step = held(
            steps.make_train_step(mine.editor, state, ACCUMULATE, 0),
            state,
            mine.base_params,
            found.batch,
        )
    else:
        step = torch_side(found, side == "original")
    step()
    step()
    # Not from getrusage, which begins with the memory of the process that started this one.
    (line,) = (
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    )
    print(int(line.split()[1]) / 2**20)


def line(result: dict[str, Any]) -> str:
    def shown(value: float | None, form: str) -> str:
        return "–" if value is None else format(value, form)

    seconds, ratios = result["seconds"], result["ratios"]
    times = " ".join(
        f"{shown(seconds.get(side), '.2f'):>8}" for side in ("ours", "needed", "original", "update")
    )
    against = " ".join(f"{shown(ratios.get(side), '.2f'):>8}" for side in ("needed", "original"))
    needed = result["needed_flops"] and result["needed_flops"] / 1e9
    return (
        f"{result['case']:<15} {times}  {against} {shown(result['goal'], '.1f'):>5} "
        f" {result['flops'] / 1e9:>7.0f} {shown(needed, '.0f'):>7} {result['share']:>6.2f}"
        f" {result['gib']:>6.2f}"
        f" {' / '.join(format(value, '.1f') for value in result.get('peak', {}).values())}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", default=",".join(CASES), help="cases, with commas between them (default: all)"
    )
    parser.add_argument(
        "--repeats", type=int, default=5, help="timed steps of each side (default 5)"
    )
    parser.add_argument(
        "--memory",
        action="store_true",
        help="also start a process for each side and tell the most memory that it had (Linux)",
    )
    parser.add_argument("--json", type=Path, help="where to write all figures")
    parser.add_argument("--alone", choices=("ours", "needed", "original"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    allocator.prepare()
    if arguments.alone:
        alone(names[0], arguments.alone)
        return
    sides = ["needed", "original"] if importlib.util.find_spec("torch") else []
    print(
        f"{'':<15} {'seconds a batch':<35}  {'ratio to ours':<17} goal    GFLOP  needed  share   "
        " GiB peak GiB"
    )
    print(
        f"{'':<15} {'ours':>8} {'needed':>8} {'original':>8} {'update':>8}  {'needed':>8}"
        f" {'original':>8}"
    )
    results = []
    for name in names:
        result = measure(name, arguments.repeats, sides)
        if arguments.memory:
            result["peak"] = {side: peak(name, side) for side in ["ours", *sides]}
        results.append(result)
        print(line(result), flush=True)
        jax.clear_caches()
    if arguments.json:
        arguments.json.write_text(
            json.dumps(
                {"machine": platform.platform(), "jax": jax.__version__, "cases": results}, indent=2
            )
            + "\n"
        )


if __name__ == "__main__":
    main()
