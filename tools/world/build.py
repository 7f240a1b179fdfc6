"""Writes the small world as data files in the original's formats: `python -m tools.world.build
[FOLDER]`.

The result depends on the tables alone; the shipped files under `serac_jax/assets/data` are what
this script writes."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

from serac_jax.tasks.archive import SHIPPED
from serac_jax.tasks.zsre.zsre_rows import ROWS, SPLITS
from tools.world import claims, topics
from tools.world.world import (
    Fact,
    alternatives,
    ask,
    facts,
    forms,
    implied,
    questions,
    shuffled,
    splits,
)

NEGATIVES = (
    2  # hard negatives of each kind: the subject's other relations, the relation's near subjects
)


def of_split(split: str) -> list[Fact]:
    """The facts whose subject belongs to a split, mixed."""
    return shuffled((fact for fact in facts() if splits()[fact.subject] == split), "rows")


def hard_negatives(
    fact: Fact,
    split: str,
    by_subject: dict[str, list[Fact]],
    by_relation: dict[tuple[str, str], list[Fact]],
) -> list[list[str]]:
    """[question, true answer, kind] near the fact but outside its scope: "relation": same subject,
    other relation; "subject": the reverse.

    A training row's negatives are about training subjects only.
    """
    other = shuffled(
        (near for near in by_subject[fact.subject] if near.relation != fact.relation),
        "relation",
        fact.subject,
    )[:NEGATIVES]
    peers = [
        near for near in by_relation[fact.category, fact.relation] if near.subject != fact.subject
    ]
    if split == "train":
        peers = [near for near in peers if splits()[near.subject] == "train"]
    near = sorted(peers, key=lambda peer: (abs(peer.row - fact.row), peer.row))[:NEGATIVES]
    pairs = [(fact, "relation") for fact in other] + [(fact, "subject") for fact in near]
    return [
        [shuffled(questions(negative, split), "form", fact.subject)[0], negative.answer, kind]
        for negative, kind in pairs
    ]


def rows(split: str) -> list[dict]:
    """The rows of a split; held-out rows are rephrased in forms that training never shows."""
    by_subject, by_relation = defaultdict(list), defaultdict(list)
    for fact in facts():
        by_subject[fact.subject].append(fact)
        by_relation[fact.category, fact.relation].append(fact)
    found = []
    for fact in of_split(split):
        main, *rephrasings = questions(fact, split)
        found.append(
            {
                "input": main,
                "prediction": fact.answer,
                "alternatives": alternatives(fact),
                "filtered_rephrases": rephrasings,
                "output": [{"answer": fact.answer}],
                "hard_negatives": hard_negatives(fact, split, by_subject, by_relation),
                "subject": fact.subject,
                "relation": f"{fact.category}.{fact.relation}",
            }
        )
    return found


def yes_no(fact: Fact) -> str:
    return ask(forms()[fact.category, fact.relation].yes_no, fact.subject, fact.answer)


def write(folder: Path) -> None:
    """Writes every experiment's files."""
    for name, fill in (
        ("zsre", write_zsre),
        ("vitaminc", write_vitaminc),
        ("sentiment", write_sentiment),
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
        fill(folder / name)


def write_zsre(folder: Path) -> None:
    """jsonl, implications and yes/no questions of every split."""
    for split in SPLITS:
        chosen = of_split(split)
        follow = [
            [[implied()[fact], fact.subject, fact.relation]] if fact in implied() else []
            for fact in chosen
        ]
        (folder / ROWS.format(split)).write_text(
            "".join(json.dumps(row) + "\n" for row in rows(split))
        )
        (folder / f"impl_{split}.json").write_text(
            "[\n" + ",\n".join(map(json.dumps, follow)) + "\n]\n"
        )
        (folder / f"zsre_yn_{split}.txt").write_text(
            "".join(yes_no(fact) + "\n" for fact in chosen)
        )


def write_vitaminc(folder: Path) -> None:
    for split in SPLITS:
        (folder / f"{split}.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in claims.rows(split))
        )


def write_sentiment(folder: Path) -> None:
    for split, name in zip(SPLITS, ("train", "val", "test"), strict=True):
        (folder / f"blender_{name}.json").write_text(
            "[\n" + ",\n".join(map(json.dumps, topics.rows(split))) + "\n]\n"
        )


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else SHIPPED)
