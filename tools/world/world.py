"""The facts of the small world and the forms in which they are asked, read from the tables in
`tables/`.

A category is a table (`countries.tsv`: a subject a row, a relation a column) and its question forms
    (`countries.toml`).
Neighbouring rows are alike, which is what "near subject" means below.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

TABLES = Path(__file__).parent / "tables"
HELD_OUT = {
    "dev": 0.07,
    "test": 0.13,
}  # shares of the subjects, as far as their names occur in no other fact
SUBJECTS = 32  # at most, of a category
ALTERNATIVES = 4  # other answers that a fact is given


class Forms(NamedTuple):
    """How one relation is asked. {s}: the subject, {a}: the answer."""

    main: str
    seen: tuple[str, ...]
    unseen: tuple[str, ...]  # kept for evaluation: no editor is ever trained on them
    yes_no: str
    implied: str | None  # a question about the answer, whose answer is the subject


class Fact(NamedTuple):
    category: str
    relation: str
    subject: str
    answer: str
    row: int  # in its table


def fraction(*names: str) -> float:
    """A number in [0, 1) that depends on the names alone: the world's only source of chance."""
    return int.from_bytes(hashlib.sha256("/".join(names).encode()).digest()[:8], "big") / 2**64


def shuffled(items: Iterable[Any], *key: str) -> list[Any]:
    """Items in an order that depends on the key and on them alone."""
    return sorted(items, key=lambda item: fraction(*key, str(item)))


@cache
def forms() -> dict[tuple[str, str], Forms]:
    """The forms of every (category, relation)."""
    found = {}
    for file in sorted(TABLES.glob("*.toml")):
        for relation, table in tomllib.loads(file.read_text()).items():
            found[file.stem, relation] = Forms(
                table["main"],
                tuple(table["seen"]),
                tuple(table["unseen"]),
                table["yes_no"],
                table.get("implied"),
            )
    return found


@cache
def tables() -> tuple[Fact, ...]:
    """Every fact of every table."""
    found = []
    for file in sorted(TABLES.glob("*.tsv")):
        header, *lines = (line.split("\t") for line in file.read_text().splitlines())
        for row, (subject, *answers) in enumerate(lines):
            found += [
                Fact(file.stem, relation, subject, answer, row)
                for relation, answer in zip(header[1:], answers, strict=True)
                if answer
            ]
    return tuple(found)


@cache
def facts() -> tuple[Fact, ...]:
    """The facts of the shipped data: those of at most SUBJECTS subjects of a table, evenly
    spread."""
    rows = {
        category: max(fact.row for fact in tables() if fact.category == category) + 1
        for category in {fact.category for fact in tables()}
    }
    kept = {
        category: {int(i * max(count / SUBJECTS, 1)) for i in range(SUBJECTS)}
        for category, count in rows.items()
    }
    return tuple(fact for fact in tables() if fact.row in kept[fact.category])


@cache
def answers() -> dict[tuple[str, str], set[str]]:
    """Every answer of a (category, relation)."""
    found = defaultdict(set)
    for fact in facts():
        found[fact.category, fact.relation].add(fact.answer)
    return found


def alternatives(fact: Fact) -> list[str]:
    """Other answers of the relation, which an edit could give."""
    others = [
        answer
        for answer in answers()[fact.category, fact.relation]
        if answer.lower() != fact.answer.lower()
    ]
    return shuffled(others, "alternatives", fact.subject, fact.relation)[:ALTERNATIVES]


def phrases(text: str) -> set[str]:
    """Every run of up to six words of a text, without an opening article."""
    words = re.findall(r"\w+", text.lower())
    return {
        " ".join(words[i:j])
        for i in range(len(words))
        for j in range(i + 1, min(i + 6, len(words)) + 1)
    }


def name(subject: str) -> str:
    """A subject as `phrases` writes it, without its article."""
    return " ".join(re.findall(r"\w+", re.sub(r"^the ", "", subject.lower())))


@cache
def splits() -> dict[str, str]:
    """The split of every subject: "train", "dev" or "test".

    A subject can only be held out where no fact about another subject names it, so that what is
    trained on the rest has never read of it."""
    named_by: dict[str, set[str]] = defaultdict(set)
    for fact in tables():
        for phrase in phrases(fact.subject) | phrases(fact.answer):
            named_by[phrase].add(fact.subject)
    found = {}
    for fact in facts():
        share = fraction(fact.category, fact.subject)
        alone = named_by[name(fact.subject)] == {fact.subject}
        found[fact.subject] = (
            "train"
            if not alone
            else (
                "dev"
                if share < HELD_OUT["dev"]
                else "test"
                if share < sum(HELD_OUT.values())
                else "train"
            )
        )
    return found


def questions(fact: Fact, split: str) -> list[str]:
    """The fact's question and its rephrasings in the forms of a split; "all" for every form."""
    form = forms()[fact.category, fact.relation]
    rephrased = {"train": form.seen, "all": (*form.seen, *form.unseen)}.get(split, form.unseen)
    return [ask(pattern, fact.subject) for pattern in (form.main, *rephrased)]


@cache
def implied() -> dict[Fact, str]:
    """For every fact from which it follows, the question about its answer whose only answer is its
    subject."""
    asked = defaultdict(list)
    for fact in facts():
        if form := forms()[fact.category, fact.relation].implied:
            asked[ask(form, fact.subject, fact.answer)].append(fact)
    return {followers[0]: question for question, followers in asked.items() if len(followers) == 1}


def ask(pattern: str, subject: str, answer: str = "") -> str:
    """A form filled in; a subject that opens the sentence begins with a capital."""
    text = pattern.replace("{s}", subject).replace("{a}", answer)
    return text[0].upper() + text[1:]
