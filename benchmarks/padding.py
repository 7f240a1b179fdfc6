"""How much padding training computes with measured sizes, and with the lists of widths and fills
that version 0.2 had in its configs, each with as many programs.

    python -m benchmarks.padding [--dir=FOLDER] [--json=FILE]

Batches are those of a training run of SERAC, of the shipped rows unless --dir names others. Sizes
are measured on the first 512 batches; what is counted are the next 512."""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from serac_jax import models
from serac_jax.core.types import Config
from serac_jax.presets import preset
from serac_jax.tasks import measured_sizes
from serac_jax.text.sizes import Size, Texts, choose, computed, first
from serac_jax.training import registry

# edits' questions, answers, queries, edits' answers, contexts; fills of texts, contexts, answers
LISTS: dict[str, Sequence[Sequence[float]]] = {
    "zsre": (
        (16, 24, 24, 28, 32, 32),
        (4, 8, 12, 16, 16, 64),
        (16, 24, 24, 28, 32, 32),
        (4, 8, 12, 16, 16, 64),
        (24, 40, 44, 48, 64, 96),
        (0.75, 0.62, 0.62, 0.55, 0.5, 0.5),
        (0.95, 0.76, 0.72, 0.67, 0.54, 0.5),
        (0.8, 0.6, 0.45, 0.35, 0.37, 0.3),
    ),
    "sent": (
        (16, 16, 24, 32, 96),
        (24, 32, 32, 64, 96),
        (16, 16, 24, 32, 96),
        (8,),
        (32, 40, 48, 64, 200),
        (0.8, 0.78, 0.6, 0.43, 0.4),
        (0.82, 0.7, 0.6, 0.4, 0.3),
        (0.7, 0.6, 0.6, 0.37, 0.4),
    ),
    "fnli": (
        (32, 48, 64, 80, 96, 120),
        (1,),
        (24, 24, 32, 40, 48, 120),
        (1,),
        (48, 64, 88, 112, 128, 240),
        (0.75, 0.68, 0.66, 0.58, 0.53, 0.5),
        (0.75, 0.73, 0.6, 0.5, 0.46, 0.31),
        (1.0,),
    ),
}


def listed(task: str) -> list[Size]:
    """The sizes of version 0.2."""
    lists, count = LISTS[task], max(map(len, LISTS[task]))
    found = []
    for number in range(count):
        edit, label, query, edit_label, context, *fills = (
            values[min(number, len(values) - 1)] for values in lists
        )
        stated = edit + edit_label
        found.append(Size(*map(int, (edit, stated, edit_label, query, label, context)), *fills))
    return found


def config_of(run: str, folder: str) -> Config:
    """An experiment at full size, with the shipped tokenizers and rows."""
    config, small = preset(f"{run}_rep"), preset(f"{run}_rep:mini")
    config.data.hard_negatives = ""  # so that no embedding model is needed
    config.data.dir = folder
    config.base.name, config.serac.scope = small.base.name, small.serac.scope
    config.serac.cross_attention = run == "fnli"
    return config


def tokenizer(name: str, output: str) -> Any:
    return models.load(name, output=output)[0].tokenizer


def counted(sizes: Sequence[Size], batches: list[list[Texts]], limits: Size) -> dict[str, Any]:
    """What training computes for some batches, a batch, and by how many programs."""
    taken = [first(sizes, read, limits) for read in batches]
    real = sum(texts.tokens for read in batches for texts in read if texts.width != "prefix")
    cost = sum(computed(size, read) for size, read in zip(taken, batches, strict=True))
    return {
        "padding": (cost - real) / len(batches),
        "share": 1 - real / cost,
        "programs": len(set(taken)),
        "beyond": sum(size == limits for size in taken) / len(batches),
    }


def measure(run: str, folder: str, cache: Path) -> dict[str, Any]:
    config = config_of(run, folder)
    part = registry.task(config.task)
    task = part.build(
        config,
        tokenizer(config.base.name, part.OUTPUT),
        tokenizer(config.serac.scope, "mean"),
        cache,
    )
    stream = task.batches(config.data.train_split, config.train.edits, True, task.encode.lengths)
    batches: list[list[Texts]] = list(itertools.islice(stream, 2 * measured_sizes.SAMPLE))
    sample, rest = batches[: measured_sizes.SAMPLE], batches[measured_sizes.SAMPLE :]
    limits, old = task.encode.limits, listed(config.task)
    new = choose(sample, len(old), limits)
    return {
        "run": run,
        "lists": counted(old, rest, limits),
        "measured": counted(new, rest, limits),
        "sizes": [size._asdict() for size in new],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dir", default="mini", help="the rows' folder (default: the shipped)")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    arguments = parser.parse_args()
    print(f"{'':<10} {'padded positions a batch':>30} {'programs':>16} {'beyond all sizes':>20}")
    print(f"{'':<10} {'lists':>15}{'measured':>15}" + f" {'lists':>9}{'meas.':>9}" * 2)
    results = []
    with tempfile.TemporaryDirectory() as cache:
        for run in ("zsre", "zsre_hard", "fnli", "sent"):
            results.append(found := measure(run, arguments.dir, Path(cache)))
            old, new = found["lists"], found["measured"]
            print(
                f"{run:<10} {old['padding']:>8.0f} ({old['share']:.0%}){new['padding']:>9.0f}"
                f" ({new['share']:.0%}) {old['programs']:>9}{new['programs']:>9}"
                f" {old['beyond']:>9.1%}{new['beyond']:>9.1%}",
                flush=True,
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
