"""What a step edits and asks about facts: each edit with a question in its scope and one outside.

Each kind of negative that is left out of training is a blind spot of the router. So the questions
out of scope are about the edit's subject with another relation, about its relation with another
subject, about its answer, or about anything; where a row brings none, they are made from other
rows.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from serac_jax.core.batch import EditBatch
from serac_jax.edits.same_prompt import normal
from serac_jax.tasks.facts.fact_rows import Ask, Fact
from serac_jax.tasks.facts.fact_sources import differ, likeness
from serac_jax.tasks.facts.held_facts import words
from serac_jax.tasks.sampling import choose
from serac_jax.text.queries import Encode, Query, TextBatch

# How often a kind of question is drawn, among the kinds that a fact has.
INSIDE = {
    "prompt": 1.0,
    "rephrase": 5.0,
    "alias": 2.0,
    "yes_no": 2.5,
    "reversed": 1.2,
    "implied": 1.2,
    "hop2": 0.8,
}
# How often the facts of a source are edited.
SOURCES = {"world": 3.0, "zsre": 1.5, "counterfact": 2.0, "knowedit": 1.0, "hallueditbench": 3.0}
SAMPLE = 128  # facts of which the one most like an edit is asked about
RELATIONS = 4  # facts of which the one with the likest relation is asked about an edit's subject
SAME_RELATION = 0.6  # relations whose words are more alike may be one
TYPED = 0.2  # the share of questions that are written as people type
ASKED = re.compile(r"(what|who) (is|was|are|were) (the )?", re.IGNORECASE)
TRIES = 8


class Pool:
    """The facts of a split, and what is looked up in them.

    Args:
        facts: by source.
        unrelated: questions about anything.
    """

    def __init__(self, facts: dict[str, list[Fact]], unrelated: Sequence[str]):
        self.rows = [fact for rows in facts.values() for fact in rows]
        self.source = [name for name, rows in facts.items() for _ in rows]
        self.unrelated = unrelated
        starts = itertools.accumulate((len(rows) for rows in facts.values()), initial=0)
        self.ranges = {
            name: (start, start + len(rows))
            for (name, rows), start in zip(facts.items(), starts, strict=False)
        }
        self.words = [frozenset(words(fact.prompt)) for fact in self.rows]
        self.of_subject: dict[str, list[int]] = defaultdict(list)
        for number, fact in enumerate(self.rows):
            if fact.subject:
                self.of_subject[normal(fact.subject)].append(number)

    def __len__(self) -> int:
        return len(self.rows)

    def order(self, size: int, rng: np.random.Generator) -> np.ndarray:
        """The rows of an epoch's steps, sources as often as SOURCES says."""
        names = list(self.ranges)
        share = np.array([SOURCES.get(name, 1.0) for name in names])
        steps = len(self) // size
        drawn = rng.choice(len(names), (steps, size), p=share / share.sum())
        low, high = np.array([self.ranges[name] for name in names]).T
        return low[drawn] + (rng.random(drawn.shape) * (high - low)[drawn]).astype(int)

    def same_source(self, number: int, rng: np.random.Generator) -> Fact:
        """Any fact of the source of another."""
        return self.rows[int(rng.integers(*self.ranges[self.source[number]]))]

    def nearest(self, number: int, rng: np.random.Generator) -> Fact | None:
        """Of some facts of the same source, but another subject, the one that shares most words
        with a fact."""
        low, high = self.ranges[self.source[number]]
        own, fact = self.words[number], self.rows[number]
        drawn = rng.integers(low, high, SAMPLE).tolist()
        other = [at for at in drawn if differ(self.rows[at], fact)]
        best = max(other, key=lambda at: likeness(own, self.words[at]), default=None)
        return None if best is None else self.rows[best]


class Drawn(NamedTuple):
    """A question, and the kind that it is of."""

    question: str
    kind: str


class Draw:
    """Draws a batch from row numbers; see `sampling.Draw`.

    Args:
        train: whether questions are also written as people type, and drawn anew in every epoch.
        held_out: kinds of questions that are not asked.
    """

    def __init__(self, pool: Pool, encode: Encode, train: bool, held_out: Collection[str] = ()):
        self.pool, self.encode, self.train, self.held_out = pool, encode, train, held_out

    def __call__(self, index: np.ndarray, rng: np.random.Generator) -> EditBatch:
        return self.encode(self.texts(index, rng))

    def texts(self, index: np.ndarray, rng: np.random.Generator) -> TextBatch:
        edits: list[Query | None] = []
        inside: list[Query | None] = []
        outside: list[Query | None] = []
        for number in index.tolist():
            rows = (None, None, None) if number < 0 else self.row(number, rng)
            for queries, query in zip((edits, inside, outside), rows, strict=True):
                queries.append(query)
        order = list(range(len(edits)))
        return TextBatch(edits, inside, order, outside, order)

    def row(self, number: int, rng: np.random.Generator) -> tuple[Query, Query, Query]:
        """An edit, a question in its scope and one outside."""
        fact = self.pool.rows[number]
        fact, ask = self.swapped(fact, self.inside(fact, rng), rng)
        found = self.outside(number, rng)
        asked, left = self.typed(ask.question, rng), self.typed(found.question, rng)
        return (
            Query(fact.prompt, fact.answer, "prompt", fact.source),
            Query(asked, ask.answers[0], ask.kind, fact.source),
            Query(left, "", found.kind, fact.source),
        )

    def inside(self, fact: Fact, rng: np.random.Generator) -> Ask:
        """A question in the scope of a fact."""
        by_kind: dict[str, list[Ask]] = defaultdict(list)
        for ask in fact.questions:
            if ask.kind in INSIDE and ask.kind not in self.held_out:
                by_kind[ask.kind].append(ask)
        if not by_kind:
            return fact.questions[0]
        names = list(by_kind)
        share = np.array([INSIDE[name] for name in names])
        return choose(by_kind[names[int(rng.choice(len(names), p=share / share.sum()))]], rng)

    def swapped(self, fact: Fact, ask: Ask, rng: np.random.Generator) -> tuple[Fact, Ask]:
        """Half of the facts that are asked yes or no, with the other answer: that of the question
        to which the answer was no. Otherwise a true answer would always mean yes."""
        asked = {one.answers[0]: one.question for one in fact.asks if one.kind == "yes_no"}
        if ask.kind != "yes_no" or len(asked) != 2 or rng.random() < 0.5:
            return fact, ask
        own, other = replaced(asked["Yes"], asked["No"])
        if not own or not other or normal(own) != normal(fact.answer):
            return fact, ask
        turned = {"Yes": "No", "No": "Yes"}[ask.answers[0]]
        return fact._replace(answer=other), ask._replace(answers=(turned,))

    def outside(self, number: int, rng: np.random.Generator) -> Drawn:
        """A question that a fact says nothing of."""
        fact = self.pool.rows[number]
        given: dict[str, list[Ask]] = defaultdict(list)
        for ask in fact.asks:
            if not ask.inside:
                given[ask.kind].append(ask)
        ways: list[tuple[float, Callable[[], Drawn | None]]] = [
            (4.5 * bool(given["same_subject"]), lambda: given_one(given["same_subject"], rng)),
            (2.0 * bool(given["same_relation"]), lambda: given_one(given["same_relation"], rng)),
            (2.0 * bool(fact.subject), lambda: self.about(fact.subject, number, rng)),
            (0.5, lambda: self.about_answer(number, rng)),
            (2.0, lambda: self.near(number, rng)),
            (0.4, lambda: self.anything(number, rng)),
        ]
        share = np.array([weight for weight, _ in ways])
        for _ in range(TRIES):
            found = ways[int(rng.choice(len(ways), p=share / share.sum()))][1]()
            if found and found.kind in self.held_out:
                continue
            if found and normal(found.question) != normal(fact.prompt):
                return found
        return self.anything(number, rng)

    def about(self, subject: str | None, number: int, rng: np.random.Generator) -> Drawn | None:
        """The question of another fact, asked about a subject.

        Of a few, the one most like the fact's own, which is the hardest to tell from it. Not of
        unfinished sentences, which are so short that the likest often says the same.
        """
        if not subject:
            return None
        count = RELATIONS if self.pool.rows[number].prompt.endswith("?") else 1
        others = [self.pool.same_source(number, rng) for _ in range(count)]
        likely = {other: self.relation_likeness(number, other) for other in others}
        best = max(others, key=likely.__getitem__)
        if likely[best] < 0:
            return None
        assert best.subject
        return Drawn(best.prompt.replace(best.subject, subject), "same_subject")

    def relation_likeness(self, number: int, other: Fact) -> float:
        """How like the relation of a fact is to that of another one, by the words besides their
        subjects; -1 where it may be the same, or cannot be asked about another subject."""
        fact = self.pool.rows[number]
        said = {normal(fact.answer), normal(fact.true_answer or "")}
        if not other.subject or other.subject not in other.prompt or not differ(fact, other):
            return -1
        if normal(other.true_answer or other.answer) in said:
            return -1
        rest = frozenset(words(other.prompt)) - frozenset(words(other.subject))
        own = frozenset(words(fact.prompt)) - frozenset(words(fact.subject or ""))
        alike = likeness(rest, own)
        return -1 if alike > SAME_RELATION else alike

    def about_answer(self, number: int, rng: np.random.Generator) -> Drawn | None:
        """A question about the answer of a fact."""
        fact = self.pool.rows[number]
        known = self.pool.of_subject.get(normal(fact.answer), [])
        if known:
            return Drawn(self.pool.rows[choose(known, rng)].prompt, "unrelated")
        found = self.about(fact.answer, number, rng)
        return found and found._replace(kind="unrelated")

    def near(self, number: int, rng: np.random.Generator) -> Drawn | None:
        """A question of the same relation, as far as words tell, about another subject."""
        other = self.pool.nearest(number, rng)
        return other and Drawn(one_form(other, rng), "same_relation")

    def anything(self, number: int, rng: np.random.Generator) -> Drawn:
        """A question about something else."""
        if self.pool.unrelated and rng.random() < 0.7:
            return Drawn(choose(self.pool.unrelated, rng), "unrelated")
        at = int(rng.integers(len(self.pool)))
        at = at if differ(self.pool.rows[at], self.pool.rows[number]) else (at + 1) % len(self.pool)
        return Drawn(one_form(self.pool.rows[at], rng), "unrelated")

    def typed(self, question: str, rng: np.random.Generator) -> str:
        """In training, some questions in lower case, without a question mark, or as what is asked
        for alone ("capital of france")."""
        if not self.train or rng.random() > TYPED:
            return question
        bare = question.rstrip("?")
        asked_for = ASKED.sub("", bare) if ASKED.match(bare) else bare
        if len(asked_for.split()) < 2:
            asked_for = bare
        return choose((bare, bare.lower(), question.lower(), asked_for.lower()), rng)


def one_form(fact: Fact, rng: np.random.Generator) -> str:
    """The prompt of a fact or a rephrasing."""
    forms = [fact.prompt, *(ask.question for ask in fact.asks if ask.kind == "rephrase")]
    return choose(forms, rng)


def given_one(asks: Sequence[Ask], rng: np.random.Generator) -> Drawn:
    """One of a row's own questions."""
    ask = choose(asks, rng)
    return Drawn(ask.question, ask.kind)


def replaced(one: str, other: str) -> tuple[str, str]:
    """The words in which two sentences differ, between what they begin and end with."""
    first, second = one.rstrip("?.").split(), other.rstrip("?.").split()
    before = common(first, second)
    after = common(first[before:][::-1], second[before:][::-1])
    return (
        " ".join(first[before : len(first) - after]),
        " ".join(second[before : len(second) - after]),
    )


def common(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many members two sequences begin with alike."""
    pairs: Iterator[tuple[Any, Any]] = zip(one, other, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
