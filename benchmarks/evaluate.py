"""Edits and queries a second of SERAC by the number of edits that it holds, on the networks of
question answering at real size.

    python -m benchmarks.evaluate [--held=10,100,1000,10000] [--json=FILE]

T5-small as base and counterfactual, DistilBERT as scope classifier, random weights, ten edits or
queries at a time. A query runs both models, teacher-forced. The last column is what finding the
nearest edit takes of that."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import real_size
from benchmarks.real_size import DISTILBERT, EXPERIMENTS, SMALL_T5
from benchmarks.timing import by_turns
from serac_jax.core.batch import take
from serac_jax.editors import edit_table
from serac_jax.editors.serac import scope as scopes
from serac_jax.editors.serac.loss import Options
from serac_jax.editors.serac.reader import Reader
from serac_jax.editors.serac.router import Router
from serac_jax.editors.serac.serac_editor import Edited, serac
from serac_jax.runtime import allocator


def measure(held: int, repeats: int) -> dict[str, Any]:
    experiment = EXPERIMENTS["zsre"]
    batch = jax.tree.map(
        jnp.asarray,
        real_size.encoder(experiment, real_size.config_of("zsre_rep"))(real_size.drawn(experiment)),
    )
    base, base_params = real_size.random_model(SMALL_T5)
    classifier, scope_params = real_size.random_model(DISTILBERT, "cls", seed=2)
    router, reader = Router(scopes.embedding(classifier)), Reader(base, 0)
    editor = serac(router, scope_params, reader, reader, base_params, Options())
    params, rows = (
        {"scope": scope_params, "counterfactual": base_params},
        jnp.arange(held) % len(batch.edits.labels),
    )
    keys = jax.random.normal(jax.random.key(0), (held, classifier.module.config.width))
    room = take(batch.edits, jnp.arange(held + len(batch.edits.labels)) % len(batch.edits.labels))
    edited = Edited(
        base_params,
        edit_table.write(
            edit_table.empty(len(room.labels), keys, room), keys, take(batch.edits, rows)
        ),
    )
    vectors = router.scope.queries(scope_params, batch.inside)
    edit, apply = jax.jit(editor.edit), jax.jit(editor.apply)
    find = jax.jit(
        lambda table, asked: edit_table.route(
            table,
            batch.inside,
            router.scope.table(scope_params, table, asked, batch.inside),
            router.thresholds,
            router.exact_match,
        )
    )
    timed = by_turns(
        {
            "edit": lambda: jax.block_until_ready(edit(params, edited, batch.edits)),
            "query": lambda: jax.block_until_ready(apply(params, edited, batch.inside)),
            "find": lambda: jax.block_until_ready(find(edited.table, vectors)),
        },
        repeats,
    )
    seconds, count = {name: one.seconds for name, one in timed.items()}, len(batch.edits.labels)
    return {
        "held": held,
        "edits_per_second": count / seconds["edit"],
        "queries_per_second": count / seconds["query"],
        "finding": seconds["find"] / seconds["query"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--held", default="10,100,1000,10000", help="numbers of edits, with commas between them"
    )
    parser.add_argument("--repeats", type=int, default=5, help="timed calls (default 5)")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    arguments = parser.parse_args()
    allocator.prepare()
    print(f"{'edits held':>10} {'edits/s':>9} {'queries/s':>10} {'finding the edit':>17}")
    results = []
    for held in map(int, arguments.held.split(",")):
        found = measure(held, arguments.repeats)
        results.append(found)
        print(
            f"{held:>10} {found['edits_per_second']:>9.1f} {found['queries_per_second']:>10.1f}"
            f" {found['finding']:>17.1%}",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
