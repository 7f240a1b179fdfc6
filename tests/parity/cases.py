"""One case compared, whatever its kind: what is run is chosen by its manifest."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from tests.parity import (
    batches,
    enn,
    finetune,
    generation,
    golden,
    lookup,
    mend,
    mend_parts,
    precision,
    serac,
    state,
    units,
)
from tests.parity.compare import Comparison

Run = Callable[[Comparison, golden.Case, Path, Path], None]

EDITORS = {
    "rep": serac,
    "gtn": mend,
    "enn": enn,
    "lu": lookup,
    "ft": finetune,
}  # modules, by the original's names of editors
# Kinds of cases, and the function of an editor's module that compares them.
KINDS = {"case": "run", "train_step": "run", "sequential": "run_sequence", "extra": "run_extra"}


def run_parts(comparison: Comparison, case: golden.Case, cases: Path, models: Path) -> None:
    units.run_parts(comparison, case, models)
    mend_parts.run(comparison, case)


NAMED: dict[str, Run] = {  # cases that are one of their kind
    "unit_models": lambda comparison, case, cases, models: units.run_models(
        comparison, case, models
    ),
    "unit_generate": lambda comparison, case, cases, models: generation.run(
        comparison, case, models
    ),
    "unit_parts": run_parts,
    "extra_state": state.run,
}


class UnknownCaseError(Exception):
    """A case of a kind that nothing here compares."""


def comparer(name: str, manifest: dict[str, Any]) -> Run:
    """What compares a case. Raises UnknownCaseError."""
    if name in NAMED:
        return NAMED[name]
    if manifest["kind"] == "batch":
        return batches.run
    found = getattr(EDITORS.get(manifest.get("alg", "")), KINDS.get(manifest["kind"], ""), None)
    if found is None:
        raise UnknownCaseError(
            f"nothing compares a case of kind {manifest['kind']!r} of the editor"
            f" {manifest.get('alg')!r}"
        )
    return found


def compare(name: str, cases: Path, models: Path, noise: dict) -> Comparison:
    """One case, in single precision; once more in double precision where it is over a tolerance, to
    tell rounding from a difference.

    Raises UnknownCaseError.
    """

    def once() -> Comparison:
        case, comparison = golden.load(cases, name), Comparison(name, noise.get(name, {}))
        comparer(name, case.manifest)(comparison, case, cases, models)
        return comparison

    comparison = once()
    if comparison.over:
        with precision.double():
            comparison.settle(once())
    return comparison


@dataclass(frozen=True)
class Result:
    """What is printed of a case. failure: why it was not compared, if so."""

    name: str
    lines: list[str]
    over: bool = False
    failure: str = ""


def result(name: str, cases: Path, models: Path) -> Result:
    """A case's line of the table, and one for each of its ten worst arrays that are over."""
    try:
        comparison = compare(name, cases, models, golden.noise(cases))
    except Exception as error:  # one case must not hide the others
        failure = f"{type(error).__name__}: {error}"
        return Result(
            name,
            [
                f"{name:<28} {'':>6}       ---  NOT COMPARED {failure}",
                *traceback.format_exc().splitlines(),
            ],
            failure=failure,
        )
    finally:
        jax.clear_caches()  # programs of this case, which hold memory
    worst, ratio = comparison.worst
    reasons = "".join(f" [{reason}]" for reason in sorted(comparison.departures))
    first = (
        f"{name:<28} {len(comparison.ratios):>6}  {ratio:8.3f} "
        f" {'OVER ' if comparison.over else ''}{worst}{reasons}"
    )
    over = sorted(comparison.over.items(), key=lambda item: -item[1])[:10]
    return Result(name, [first, *(f"    {value:10.3f}  {key}" for key, value in over)], bool(over))


def prepare(compiled: str) -> None:
    """Settings of a process that compares, before its first use of JAX. compiled: a folder in which
    processes find what another one compiled.

    Tiny models compile longer than they run, so little is optimised: without emitters of fused
    loops, compiling takes less than half as long."""
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false"
        " --xla_cpu_parallel_codegen_split_count=1"
    )
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_disable_most_optimizations", True)
    jax.config.update("jax_compilation_cache_dir", compiled)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
