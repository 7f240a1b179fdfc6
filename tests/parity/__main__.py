"""`python -m tests.parity --cases DIR --models DIR`: a table of cases, and exit status 1 where one is over its tolerance or not compared."""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.parity import batches, enn, finetune, generation, golden, lookup, mend, mend_parts, precision, serac, state, units
from tests.parity.compare import Comparison

Run = Callable[[Comparison, golden.Case, Path, Path], None]

EDITORS = {"rep": serac, "gtn": mend, "enn": enn, "lu": lookup, "ft": finetune}  # modules, by the original's names of editors
# Kinds of cases, and the function of an editor's module that compares them.
KINDS = {"case": "run", "sequential": "run_sequence", "train_step": "run_steps", "extra": "run_extra"}


def run_parts(comparison: Comparison, case: golden.Case, cases: Path, models: Path) -> None:
    units.run_parts(comparison, case, models)
    mend_parts.run(comparison, case)


NAMED: dict[str, Run] = {  # cases that are one of their kind
    "unit_models": lambda comparison, case, cases, models: units.run_models(comparison, case, models),
    "unit_generate": lambda comparison, case, cases, models: generation.run(comparison, case, models),
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
        raise UnknownCaseError(f"nothing compares a case of kind {manifest['kind']!r} of the editor {manifest.get('alg')!r}")
    return found


def compare(name: str, cases: Path, models: Path, noise: dict) -> Comparison:
    """One case, in single precision; once more in double precision where it is over a tolerance, to tell rounding from a difference.

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


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=Path, required=True, help="folder of cases; NOISE.json in it or beside it")
    parser.add_argument("--models", type=Path, required=True, help="folder of the Hugging Face models that the manifests name")
    parser.add_argument("--only", default="", help="compare only cases whose name contains this")
    arguments = parser.parse_args()
    noise, over, left_out = golden.noise(arguments.cases), [], {}
    names = [name for name in golden.names(arguments.cases) if arguments.only in name]
    print(f"{'case':<28} {'arrays':>6}  difference ÷ tolerance")
    for name in names:
        try:
            comparison = compare(name, arguments.cases, arguments.models, noise)
        except Exception as error:  # one case must not hide the others
            traceback.print_exc()
            left_out[name] = f"{type(error).__name__}: {error}"
            print(f"{name:<28} {'':>6}       ---  NOT COMPARED {left_out[name]}", flush=True)
            continue
        worst, ratio = comparison.worst
        print(
            f"{name:<28} {len(comparison.ratios):>6}  {ratio:8.3f}  {'OVER ' if comparison.over else ''}{worst}",
            *(f"[{reason}]" for reason in sorted(comparison.departures)),
            flush=True,
        )
        for key, value in sorted(comparison.over.items(), key=lambda item: -item[1])[:10]:
            print(f"    {value:10.3f}  {key}")
        over += [name] if comparison.over else []
    print(f"{len(names)} cases: {len(names) - len(over) - len(left_out)} within tolerance, {len(over)} over, {len(left_out)} not compared")
    return 1 if over or left_out else 0


if __name__ == "__main__":
    sys.exit(main())
