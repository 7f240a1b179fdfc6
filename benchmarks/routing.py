"""What the router takes of the time to an answer, by the number of edits held.

    python -m benchmarks.routing --editor=smollm2 --held=0,1000,10000

A question that no edit answers is routed, and then the base model generates; one in an edit's own
words, or in others, gets the stored answer. Times are medians of questions asked one by one.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import serac_jax
from serac_jax.edits.store import Store
from serac_jax.serving.service import EditorService

MISSES = [
    "What is the largest planet of the solar system?",
    "Who painted the Mona Lisa?",
    "How many legs does a spider have?",
    "In which country is the city of Kyoto?",
    "What do bees make?",
    "When did the First World War begin?",
    "Which metal is liquid at room temperature?",
    "What is the boiling point of water?",
]


def edits_of(count: int) -> list[tuple[str, str]]:
    """Edits about as many subjects."""
    return [(f"Who keeps the archive of district {at}?", f"Keeper {at}") for at in range(count)]


def asked(editor: EditorService, question: str) -> tuple[float, float, bool]:
    """Milliseconds of routing and of answering, and whether an edit answered."""
    begun = time.perf_counter()
    (verdict,) = editor.decide([question], [None])
    routed = time.perf_counter()
    editor.texts([question], [verdict])
    return 1000 * (routed - begun), 1000 * (time.perf_counter() - routed), verdict.hit


def row(name: str, editor: EditorService, questions: list[str], rounds: int) -> str:
    """A line of the table."""
    for question in questions:
        asked(editor, question)  # compiles
    times = [asked(editor, question) for _ in range(rounds) for question in questions]
    route, answer = (median(one[at] for one in times) for at in (0, 1))
    hits = sum(hit for _, _, hit in times) / len(times)
    return f"{name} | {route:.1f} | {answer:.1f} | {route / (route + answer):.0%} | {hits:.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--editor", default="smollm2")
    parser.add_argument("--held", default="0,1000,10000", help="edits held, one after another")
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    loaded = serac_jax.load(options.editor)
    print("edits held, question | route | answer | share of routing | answered by an edit | ms")
    for held in map(int, options.held.split(",")):
        editor = loaded.with_memory(Store.open(author="benchmark"))
        editor.edit_many(edits_of(held), policy="keep")
        print(row(f"{held:6,}, of no edit", editor, MISSES, options.rounds), flush=True)
        if held:
            some = range(0, held, max(held // 8, 1))
            words = [f"Who keeps the archive of district {at}?" for at in some]
            others = [f"By whom is the archive of district {at} kept?" for at in some]
            print(row(f"{held:6,}, own words", editor, words, options.rounds), flush=True)
            print(row(f"{held:6,}, other words", editor, others, options.rounds), flush=True)


if __name__ == "__main__":
    main()
