"""What many edits held at once do to each other: edit success and drawdown of a loaded editor in
the small world, by the number of edits in its memory.

    python -m benchmarks.many_edits      the shipped editor; 1, 10, 100, 1,000 and 5,000 edits
    python -m benchmarks.many_edits --editor=runs/mine --json=table.json

The facts of the test split, whose subjects no part of the editor has seen, are divided into two
halves, which take turns: one half is edited, N facts at a time, and each fact is asked back, by its
own question or in a form that training never shows; the other half, true facts, is out of scope. So
every fact is asked once in scope and once out of scope, whatever N. Where N exceeds a half, facts
about other subjects are edited as well. From 100 edits on, nearly every out-of-scope question is a
near miss: its subject is edited in another relation, and its relation for other subjects."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp

import serac_jax
from serac_jax.core.metrics import Score
from serac_jax.edits.store import Store
from serac_jax.evaluation.estimates import estimate
from serac_jax.runtime import program
from serac_jax.serving.service import EditorService
from serac_jax.serving.trials import Trial
from serac_jax.training.run_folder import versions
from tools.world.build import of_split
from tools.world.world import Fact, alternatives, fraction, questions, shuffled, splits, tables

SIZES = 1, 10, 100, 1_000, 5_000
RESAMPLES = 1_000  # of the bootstrap behind every 95% interval
MEANING = {
    "edit success": "in scope: the editor says exactly the new answer",
    "drawdown": "out of scope: the editor says something else than the base model; lower is better",
    "right edit": "in scope: answered by the right edit",
    "routed": "out of scope: answered by an edit",
}


def edit_of(fact: Fact) -> tuple[str, str]:
    """The fact's own question with another answer of its relation."""
    return questions(fact, "test")[0], alternatives(fact)[0]


def asked(fact: Fact) -> str:
    """The fact's own question or, as often, one of its rephrasings in forms that are kept for
    evaluation; by a chance that is the fact's own."""
    own, *rephrased = questions(fact, "test")
    chance = fraction("asked", fact.subject, fact.relation)
    return own if chance < 0.5 else rephrased[int((2 * chance - 1) * len(rephrased))]


def trials(size: int, limit: int | None = None) -> Iterator[Trial]:
    """Memories of `size` edits. The first edits of each are asked back, in their order; `limit`:
    facts of each half that are used at most."""
    facts = [fact for fact in of_split("test") if alternatives(fact)]
    others = shuffled(
        (fact for fact in tables() if splits().get(fact.subject) != "test" and alternatives(fact)),
        "other edits",
    )
    halves = facts[::2][:limit], facts[1::2][:limit]
    for edited, kept in (halves, halves[::-1]):
        for start in range(0, len(edited), size):
            chosen, outside = edited[start : start + size], kept[start : start + size]
            held = [*chosen, *others[: size - len(chosen)]]
            yield Trial(
                tuple(map(edit_of, held)), tuple(map(asked, chosen)), tuple(map(asked, outside))
            )


def measured(editor: EditorService, size: int, found: list[Trial]) -> dict[str, Any]:
    """A row of the table: scores with their 95% intervals, and seconds of inserting and of finding
    edits."""
    asked, verdicts, right, seconds = [], [], [], {"insert": 0.0, "find": 0.0}
    for trial in found:
        questions = [*trial.inside, *trial.outside]
        begun = time.perf_counter()
        alone = editor.with_memory(Store.open())
        edits = alone.edit_many(trial.edits, policy="keep").edits
        alone.follow()
        inserted = time.perf_counter()
        verdicts += alone.decide(questions, [None] * len(questions))
        seconds["insert"] += inserted - begun
        seconds["find"] += time.perf_counter() - inserted
        asked += questions
        right += [*edits[: len(trial.inside)], *[None] * len(trial.outside)]
    said, before = editor.texts(asked, verdicts), editor.base(asked)
    values = {name: [] for name in MEANING}
    for edit, verdict, text, unedited in zip(right, verdicts, said, before, strict=True):
        if edit:
            values["edit success"].append(text == edit.answer)
            values["right edit"].append(verdict.hit and verdict.first.edit.id == edit.id)
        else:
            values["drawdown"].append(text != unedited)
            values["routed"].append(verdict.hit)
    scores = {
        name: estimate([Score(jnp.array(each, jnp.float32), jnp.ones(len(each)))], RESAMPLES, 0)
        for name, each in values.items()
    }
    return {
        "edits": size,
        "memories": len(found),
        "seconds": seconds,
        "scores": {name: score._asdict() for name, score in scores.items() if score},
    }


def printed(rows: list[dict[str, Any]]) -> str:
    """The table; each edit success also as a share of that at the size next to 10."""
    few = min(rows, key=lambda row: abs(math.log(row["edits"] / 10)))
    heads = ("edits", *MEANING, f"edit success ÷ that at {few['edits']}")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        scores = row["scores"]
        cells = ["{mean:.3f} [{low:.3f}, {high:.3f}]".format(**scores[name]) for name in MEANING]
        ratio = scores["edit success"]["mean"] / few["scores"]["edit success"]["mean"]
        lines.append("| " + " | ".join([f"{row['edits']:,}", *cells, f"{ratio:.3f}"]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--editor", default="mini", metavar="NAME", help="as for serac_jax.load (mini)"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="a file for the rows")
    args = parser.parse_args()
    program.use_compilation_cache(program.default_cache())
    editor = serac_jax.load(args.editor)
    print(f"{args.editor}, threshold {editor.parts.spec.decision.threshold:.3f}", flush=True)
    begun, rows = time.perf_counter(), []
    for size in args.sizes:
        rows.append(measured(editor, size, list(trials(size))))
        seconds = rows[-1]["seconds"]
        print(
            f"{size:,} edits in {rows[-1]['memories']} memories: {seconds['insert']:.1f} s to"
            f" insert, {seconds['find']:.1f} s to find",
            flush=True,
        )
    print(
        f"\n{printed(rows)}\n\nn = {rows[0]['scores']['edit success']['n']} in scope, as many out"
        f" of scope; {time.perf_counter() - begun:.0f} s"
    )
    print("\n".join(f"{name}: {said}" for name, said in MEANING.items()))
    if args.json:
        args.json.write_text(
            json.dumps({"editor": args.editor, "versions": versions(), "rows": rows}, indent=1)
            + "\n"
        )


if __name__ == "__main__":
    main()
