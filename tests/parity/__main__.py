"""`python -m tests.parity --cases DIR --models DIR`: a table of cases, and exit status 1 where one is over its tolerance."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.parity import batches, enn, finetune, generation, golden, lookup, mend, mend_parts, serac, units
from tests.parity.compare import Comparison

EDITORS = {"rep": serac, "gtn": mend, "enn": enn, "lu": lookup, "ft": finetune}  # modules, by the original's names of editors
# Kinds of cases, and the function of an editor's module that compares them.
KINDS = {"case": "run", "sequential": "run_sequence", "train_step": "run_steps", "extra": "run_extra"}
QUESTION_ANSWERING = ("qa", "qa11")  # with T5 v1.0 and v1.1
TASKS = dict.fromkeys(EDITORS, QUESTION_ANSWERING) | dict.fromkeys(("rep", "lu", "ft"), (*QUESTION_ANSWERING, "fnli", "sent"))
TASKS["enn"] = (*QUESTION_ANSWERING, "fnli")


def compare(name: str, cases: Path, models: Path, noise: dict) -> Comparison | None:
    """One case; None where it is about an editor or a model that is not part of the program."""
    case = golden.load(cases, name)
    manifest, comparison = case.manifest, Comparison(name, noise.get(name, {}))
    kind = manifest["kind"]
    if name == "unit_models":
        units.run_models(comparison, case, models)
    elif name == "unit_parts":
        units.run_parts(comparison, case, models)
        mend_parts.run(comparison, case)
    elif kind == "batch":
        batches.run(comparison, case, cases, models)
    elif name == "unit_generate":
        generation.run(comparison, case, models)
    elif manifest.get("alg") in EDITORS and manifest["task"] in TASKS[manifest["alg"]] and hasattr(EDITORS[manifest["alg"]], KINDS.get(kind, "")):
        getattr(EDITORS[manifest["alg"]], KINDS[kind])(comparison, case, cases, models)
    else:
        return None
    return comparison


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=Path, required=True, help="folder of cases; NOISE.json in it or beside it")
    parser.add_argument("--models", type=Path, required=True, help="folder of the Hugging Face models that the manifests name")
    parser.add_argument("--only", default="", help="compare only cases whose name contains this")
    arguments = parser.parse_args()
    noise, over = golden.noise(arguments.cases), []
    left_out = []
    print(f"{'case':<28} {'arrays':>6}  difference ÷ tolerance")
    for name in golden.names(arguments.cases):
        if arguments.only not in name:
            continue
        comparison = compare(name, arguments.cases, arguments.models, noise)
        if comparison is None:
            left_out.append(name)
            continue
        worst, ratio = comparison.worst
        failed = {key: value for key, value in comparison.ratios.items() if not value <= 1}
        print(
            f"{name:<28} {len(comparison.ratios):>6}  {ratio:8.3f}  {'OVER ' if failed else ''}{worst}",
            *(f"[{reason}]" for reason in sorted(comparison.departures)),
            flush=True,
        )
        for key, value in sorted(failed.items(), key=lambda item: -item[1])[:10]:
            print(f"    {value:10.3f}  {key}")
        over += [name] if failed else []
    if left_out:
        print(f"not compared ({len(left_out)}): {', '.join(left_out)}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
