"""Finding the edit that a question falls under: our index, faiss, and embedding every edit again.

    python -m benchmarks.memory                            10², 10⁴ and 10⁶ edits
    python -m benchmarks.memory --sizes 100 10000 --hnsw 10000 --json=table.json

The sides take turns in one process, on the same keys and queries, each right after an untimed
search of its own. Keys are 128 numbers, the width of the shipped router, drawn from a normal
distribution; a query is the key of a random edit plus half as much noise, so the true edit is
known. All sides return the 8 nearest, as the editor needs.

    ours                `index.blocked.BlockedIndex`: exact; counts keys, squared lengths and tags
    ours, bfloat16      rounded keys on the device; exact ones on the host score what they propose
    ours, int8          the same with 8 bits
    faiss flat          IndexFlatL2: exact
    faiss HNSW          IndexHNSWFlat with 32 links, efConstruction 40, efSearch 64: approximate;
                        up to --hnsw edits, since it takes long to build
    embedding again     every edit is embedded for every batch of queries by the shipped router,
                        from tokens; measured up to 10⁴ edits, and extrapolated beyond

Then a search among 10⁴ edits next to a forward pass of T5-small (random weights; 13 tokens of
question, 4 of answer); 100,000 inserts one at a time, and how often programs are compiled; and a
memory file of the largest size, with kept keys, opened up to its first answer. faiss is optional:
pip install faiss-cpu."""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import real_size
from benchmarks.nearest_edits import EMBEDDED, WIDTH, Again, Side, faiss, ours, sides
from serac_jax.core.batch import Examples, Tokens
from serac_jax.edits import records
from serac_jax.edits.store import Store
from serac_jax.index.blocked import BlockedIndex
from serac_jax.index.distance import SQUARED
from serac_jax.serving import loading

BATCHES = 1, 32
NOISE = 0.5
ROUNDS = 300  # of turns at most


def compare(
    keys: np.ndarray, found: list[Side], seconds: float, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """A row for each side and batch: seconds of a search, and the share of queries whose true edit
    is the first that is found."""
    rows = []
    for batch in BATCHES:
        times, right, spent = [[] for _ in found], [[] for _ in found], [0.0 for _ in found]
        for side in found:
            if not side.slow:
                side.search(queries_of(keys, rng, batch)[0])  # compiles
        while (
            len(times[0]) < ROUNDS
            and sum(own for own, side in zip(spent, found, strict=True) if not side.slow) < seconds
        ):
            queries, true = queries_of(keys, rng, batch)
            for number, side in enumerate(found):
                if not side.slow or spent[number] < seconds:
                    if not side.slow:
                        side.search(queries)  # untimed: the others left caches and threads cold
                    begun = time.perf_counter()
                    slots = side.search(queries)
                    took = time.perf_counter() - begun
                    spent[number] += took
                    times[number].append(took * side.scale)
                    right[number].append(float((slots[:, 0] == true).mean()))
        for side, took, hits in zip(found, times, right, strict=True):
            rows.append(
                {
                    "edits": len(keys),
                    "batch": batch,
                    "side": side.name,
                    "build": side.build,
                    "median": float(np.median(took)),
                    "p99": float(np.quantile(took, 0.99)),
                    "ratio": float(np.median(took) / np.median(times[0])),
                    "recall": float(np.mean(hits)) if side.name != "embedding again" else None,
                    "bytes": side.size,
                    "searches": len(took),
                    "extrapolated": side.scale != 1,
                }
            )
    return rows


def queries_of(
    keys: np.ndarray, rng: np.random.Generator, count: int
) -> tuple[np.ndarray, np.ndarray]:
    true = rng.integers(len(keys), size=count)
    return keys[true] + NOISE * rng.standard_normal((count, WIDTH), np.float32), true


def forward_passes(rng: np.random.Generator, seconds: float) -> list[dict[str, Any]]:
    """Seconds of a search among EMBEDDED edits and of a forward pass of T5-small for as many
    questions, in turns."""
    keys = rng.standard_normal((EMBEDDED, WIDTH), np.float32)
    search, (model, params) = ours(keys, "float32")[0], real_size.random_model(real_size.SMALL_T5)
    forward, found = jax.jit(model.logits), []
    for batch in BATCHES:
        widths = real_size.QUESTIONS.query[1], real_size.QUESTIONS.label[1]
        read, labels = (
            jnp.asarray(rng.integers(5, 32_000, (batch, width)), jnp.int32) for width in widths
        )
        question = Tokens(read, jnp.ones(read.shape, bool))
        examples = Examples(question, question, question, labels, jnp.ones(labels.shape))
        queries, times = queries_of(keys, rng, batch)[0], []
        while len(times) < 3 or sum(map(sum, times)) < seconds:
            begun = time.perf_counter()
            search(queries)
            between = time.perf_counter()
            jax.block_until_ready(forward(params, examples))
            times.append((between - begun, time.perf_counter() - between))
        ours_took, theirs = (
            float(np.median(took)) for took in zip(*times[1:], strict=True)
        )  # the first round compiles
        found.append(
            {
                "edits": EMBEDDED,
                "batch": batch,
                "search": ours_took,
                "forward": theirs,
                "share": ours_took / theirs,
            }
        )
    return found


def streaming(count: int) -> dict[str, Any]:
    """Inserts one at a time, and counts what is compiled."""
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, duration_secs, **kwargs: compiled.append(event)
    )
    index, key, tags = (
        BlockedIndex(WIDTH, SQUARED),
        jnp.ones((1, WIDTH), jnp.float32),
        np.ones((1, 1), np.uint32),
    )
    jax.clear_caches()
    compiled.clear()
    capacities, begun = {index.capacity}, time.perf_counter()
    for slot in range(count):
        index.put(np.array([slot]), key, tags)
        capacities.add(index.capacity)
    jax.block_until_ready(index.stored)
    return {
        "inserts": count,
        "seconds": time.perf_counter() - begun,
        "growths": len(capacities) - 1,
        "log2": math.log2(count),
        "compiled": compiled.count("/jax/core/compile/backend_compile_duration"),
    }


def opening(count: int, rng: np.random.Generator) -> dict[str, Any]:
    """Seconds until a memory file has been read, and until it has answered its first question."""
    editor = loading.load("mini", base=str)
    assert editor.matcher.embedder
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "edits.jsonl"
        edits = Store.open(file).add(
            records.make(f"Who wrote the book with the number {number}?", f"Author {number}")
            for number in range(count)
        )
        editor.matcher.embedder.cache(file).append(
            [edit.id for edit in edits], rng.standard_normal((count, WIDTH), np.float32)
        )
        del edits
        begun = time.perf_counter()
        store = Store.open(file)
        read = time.perf_counter() - begun
        editor.with_memory(store).ask("Who is the author of the book with the number 7?")
        return {"edits": count, "read": read, "answered": time.perf_counter() - begun}


def printed(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| edits | queries | | median | p99 | × ours | recall | build | bytes an edit |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        recall = "" if row["recall"] is None else f"{row['recall']:.3f}"
        name = row["side"] + " (in proportion)" * row["extrapolated"]
        cells = (
            f"{row['edits']:,}",
            row["batch"],
            name,
            shown(row["median"]),
            shown(row["p99"]),
            f"{row['ratio']:.2f}",
            recall,
        )
        lines.append(
            "| "
            + " | ".join(
                map(
                    str,
                    (*cells, shown(row["build"]) if row["build"] else "", f"{row['bytes']:.0f}"),
                )
            )
            + " |"
        )
    return "\n".join(lines)


def shown(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1e3:.2f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=[100, 10_000, 1_000_000])
    parser.add_argument(
        "--hnsw", type=int, default=10_000, help="the largest size for which HNSW is built"
    )
    parser.add_argument(
        "--seconds", type=float, default=30.0, help="for the searches of one size and batch"
    )
    parser.add_argument("--inserts", type=int, default=100_000)
    parser.add_argument("--json", type=Path, help="a file for the rows")
    args = parser.parse_args()
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    if faiss:
        faiss.omp_set_num_threads(cores)
    theirs = (
        f"faiss {faiss.__version__}" if faiss else "faiss is not installed: pip install faiss-cpu"
    )
    versions = f"JAX {jax.__version__} on {jax.devices()[0].platform}, {cores} cores; {theirs}"
    print(f"{versions}; load {os.getloadavg()[0]:.1f}", flush=True)
    rng = np.random.default_rng(0)
    rows, again = [], None
    for size in args.sizes:
        keys = rng.standard_normal((size, WIDTH), np.float32)
        again = (
            again if again and again.count == min(size, EMBEDDED) else Again(min(size, EMBEDDED))
        )
        rows += compare(keys, sides(keys, again, args.hnsw), args.seconds, rng)
        print(printed([row for row in rows if row["edits"] == size]), flush=True)
    passes = forward_passes(rng, args.seconds)
    for row in passes:
        took = shown(row["search"]), shown(row["forward"])
        print(
            "a search among {:,} edits, {} queries: {}; a forward pass of T5-small: {}; {:.1%}"
            " of it".format(row["edits"], row["batch"], *took, row["share"])
        )
    inserts = streaming(args.inserts)
    print(
        "{inserts:,} inserts, one at a time: {seconds:.1f} s, {growths} growths (log₂ n ="
        " {log2:.1f}), {compiled} programs compiled".format(**inserts)
    )
    opened = opening(max(args.sizes), rng)
    print(
        "a memory file of {edits:,} edits, with kept keys: read after {read:.1f} s, the first"
        " answer after {answered:.1f} s".format(**opened)
    )
    if args.json:
        args.json.write_text(
            json.dumps(
                {
                    "versions": versions,
                    "searches": rows,
                    "forward_passes": passes,
                    "inserts": inserts,
                    "opening": opened,
                },
                indent=1,
            )
            + "\n"
        )


if __name__ == "__main__":
    main()
