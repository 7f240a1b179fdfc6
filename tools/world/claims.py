"""The fact checking experiment in the format of VitaminC (Schuster et al. 2021): evidence that may
change a fact, and claims about its page."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tools.world.world import Fact, alternatives, ask, facts, fraction, shuffled, splits

TOML = Path(__file__).parent / "sentences" / "claims.toml"
SEEN = ("The {n} of {s} is {a}.", "It is said that {a} is the {n} of {s}.", "{s} has {a} as {n}.")
UNSEEN = (
    "The {n} given for {s} is {a}.",
    "As {n}, {s} has {a}.",
)  # kept for evaluation: no editor is ever trained on claims in these forms
KIND = "{s} is listed among the {c}."
CLOSING = (
    "This passage was revised by an editor last week.",
    "Two newer sources agree with the revision.",
    "Readers asked for the entry to be updated.",
    "The older text has been withdrawn.",
)
SUBJECTS = 3  # of a category and a split that have a page
REVISIONS = {"train": 3, "dev": 1, "test": 1}  # passages about a fact
CHANGED = 0.75  # how much of the evidence says what is not true of the world


class Claim(NamedTuple):
    """A relation's statements. {s}: the subject, {a}: the answer."""

    seen: tuple[str, ...]
    unseen: tuple[str, ...]


@cache
def claims() -> dict[tuple[str, str], Claim]:
    """The statements of every (category, relation)."""
    found = {}
    for category, relations in tomllib.loads(TOML.read_text()).items():
        for relation, (noun, own) in relations.items():
            seen, unseen = (
                tuple(form.replace("{n}", noun) for form in forms) for forms in (SEEN, UNSEEN)
            )
            found[category, relation] = Claim((own, *seen), unseen)
    return found


@cache
def pages() -> dict[str, list[Fact]]:
    """The facts of every subject that has a page."""
    found: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts():
        found[fact.subject].append(fact)
    kept = defaultdict(list)
    for subject in shuffled(found, "pages"):
        kept[found[subject][0].category, splits()[subject]].append(subject)
    return {
        subject: found[subject] for subjects in kept.values() for subject in subjects[:SUBJECTS]
    }


class Passage(NamedTuple):
    """Evidence. told: the answer that it gives for its fact; stated: the relations that it
    states."""

    text: str
    told: str
    stated: frozenset[str]


def draw(items: tuple[str, ...], *key: str) -> str:
    """An item that depends on the key alone."""
    return items[int(fraction(*key) * len(items))]


def passage(fact: Fact, told: str, revision: int = 0) -> Passage:
    """Two or three sentences of a page: first the fact, with any answer, then another fact, or the
    kind of thing and a remark."""
    key = (fact.subject, fact.relation, str(revision))
    sentences = [
        ask(draw(claims()[fact.category, fact.relation].seen, "evidence", *key), fact.subject, told)
    ]
    stated, others = (
        {fact.relation},
        [other for other in pages()[fact.subject] if other.relation != fact.relation],
    )
    if len(others) > 1 and fraction("second", *key) < 0.5:
        second = shuffled(others, "second", *key)[0]
        stated.add(second.relation)
        sentences.append(
            ask(
                draw(claims()[fact.category, second.relation].seen, "second form", *key),
                fact.subject,
                second.answer,
            )
        )
    else:
        sentences += [kind(fact.category, fact.subject), draw(CLOSING, "closing", *key)]
    return Passage(" ".join(sentences), told, frozenset(stated))


def kind(category: str, subject: str) -> str:
    return ask(KIND.replace("{c}", category.replace("_", " ")), subject)


def rows_of(fact: Fact, split: str, revision: int) -> Iterator[dict[str, str]]:
    """A claim that a passage supports or refutes, and for every other passage a claim about what it
    does not state: labels are balanced.

    What a changed passage refutes is mostly the truth.
    """
    key = (fact.subject, fact.relation, str(revision))
    told = (
        alternatives(fact)[revision % len(alternatives(fact))]
        if fraction("changed", *key) < CHANGED
        else fact.answer
    )
    evidence = passage(fact, told, revision)
    if len(evidence.text.split()) <= 10:  # the experiment leaves it out
        return
    if fraction("supported", *key) < 0.5:
        yield row(fact, split, evidence, revision, fact, told, "SUPPORTS")
    else:
        wrong = [
            answer
            for answer in (fact.answer, *alternatives(fact))
            if answer != told and answer not in evidence.text
        ]
        yield row(
            fact, split, evidence, revision, fact, wrong[fraction("wrong", *key) < 0.25], "REFUTES"
        )
    unstated = [other for other in pages()[fact.subject] if other.relation not in evidence.stated]
    if unstated and fraction("neutral", *key) < 0.5:
        about = shuffled(unstated, "unstated", *key)[0]
        answer = draw((about.answer, alternatives(about)[0]), "truth", *key)
        yield row(fact, split, evidence, revision, about, answer, "NOT ENOUGH INFO")


def row(
    fact: Fact, split: str, evidence: Passage, revision: int, about: Fact, answer: str, label: str
) -> dict[str, str]:
    """A line of the data: evidence on `fact`, a claim about the same page; held-out claims are
    worded as training never words them."""
    claim, identity = (
        claims()[about.category, about.relation],
        f"{fact.subject}_{fact.relation}_{revision}_{label}",
    )
    return {
        "unique_id": identity,
        "page": fact.subject,
        "revision_type": "real",
        "label": label,
        "claim": ask(
            draw(claim.seen if split == "train" else claim.unseen, "claim", identity),
            about.subject,
            answer,
        ),
        "evidence": evidence.text,
        "relation": f"{fact.category}.{fact.relation}",
    }


def rows(split: str) -> list[dict[str, str]]:
    """The rows of a split, mixed."""
    chosen = [
        fact for subject, found in pages().items() if splits()[subject] == split for fact in found
    ]
    return shuffled(
        [
            line
            for fact in chosen
            for revision in range(REVISIONS[split])
            for line in rows_of(fact, split, revision)
        ],
        "fact checking",
        split,
    )
