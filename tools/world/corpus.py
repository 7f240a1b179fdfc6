"""The texts that the shipped models and vocabularies are trained on."""

from __future__ import annotations

import hashlib

from serac_jax.tasks.zsre.zsre_questions import PROMPTS
from tools.world.world import (
    Fact,
    alternatives,
    ask,
    facts,
    forms,
    fraction,
    implied,
    questions,
    splits,
    tables,
)


def training_facts() -> list[Fact]:
    """The facts that counterfactual models and scope classifiers may learn from, in the order of
    the tables: neighbours are alike.

    All of the tables but the subjects that are held out, which no other fact names.
    """
    return [fact for fact in tables() if splits().get(fact.subject, "train") == "train"]


def training_text() -> list[str]:
    """Every question and answer that vocabularies may be made of."""
    return sorted(
        {text for fact in training_facts() for text in (*questions(fact, "train"), fact.answer)}
    )


def followed_text() -> list[str]:
    """The same, and the yes/no and implied questions of each fact: what counterfactual model and
    scope classifier of question answering may learn from."""
    found = set(training_text())
    for fact in training_facts():
        form = forms()[fact.category, fact.relation]
        found |= {
            ask(pattern, fact.subject, fact.answer)
            for pattern in (form.yes_no, form.implied)
            if pattern
        }
    return sorted(found)


def all_text() -> list[str]:
    """Every question and answer of the world: what the base model knows."""
    return sorted({text for fact in facts() for text in (*questions(fact, "all"), fact.answer)})


def digest(text: list[str]) -> str:
    """Identifies a text; it stands beside the weights that were trained on it."""
    return hashlib.sha256("\n".join(text).encode()).hexdigest()


def closed_book(chosen: list[Fact], split: str) -> list[tuple[str, str]]:
    """(question, answer) of facts, in the forms of a split."""
    return [(question, fact.answer) for fact in chosen for question in questions(fact, split)]


def statements(chosen: list[Fact]) -> list[tuple[str, str]]:
    """Yes/no questions, true and false, and questions about the answer."""
    pairs = []
    for fact in chosen:
        form = forms()[fact.category, fact.relation]
        others = alternatives(fact)
        for prompt in (*PROMPTS, *map(str.lower, PROMPTS)):
            false = others[int(fraction(prompt, fact.subject) * len(others))]
            pairs += [
                (prompt + ask(form.yes_no, fact.subject, fact.answer), "True"),
                (prompt + ask(form.yes_no, fact.subject, false), "False"),
            ]
        if fact in implied():
            pairs += [(implied()[fact], fact.subject)] * 8
    return pairs
