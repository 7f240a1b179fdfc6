"""Which questions out of scope may be scored when several edits are held at once.

A question is out of scope only if no held edit speaks to it: real files are full of questions that
name the subject of another of their rows.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from serac_jax.edits.same_prompt import normal
from serac_jax.tasks.facts.fact_rows import Ask, Fact

WORD = re.compile(r"\w+")
ARTICLES = ("a", "an", "the")
Words = tuple[str, ...]


class HeldSubjects:
    """The subjects of the edits that are held."""

    def __init__(self, facts: Iterable[Fact] = ()):
        self.edits = Counter[Words]()
        self.lengths = set[int]()
        self.prompts = set[str]()
        for fact in facts:
            self.hold(fact)

    def hold(self, fact: Fact) -> None:
        """Holds another edit."""
        self.prompts.add(normal(fact.prompt))
        if subject := subject_of(fact):
            self.edits[subject] += 1
            self.lengths.add(len(subject))

    def named_in(self, text: str) -> set[Words]:
        """The subjects that a text names, as whole words and ignoring case."""
        return set(self.edits.keys() & set(runs(words(text), self.lengths)))

    def speaks_to(self, fact: Fact, ask: Ask) -> bool:
        """Whether a held edit may rightly answer a question that is out of its own edit's scope:
        the question is in the words of an edit, names the subject of another one, or is about a
        subject that has several."""
        if normal(ask.question) in self.prompts:
            return True
        own, named = subject_of(fact), self.named_in(ask.question)
        about_own = ask.kind == "same_subject" or own in named
        return bool(named - {own}) or (about_own and self.edits[own] > 1)


def subject_of(fact: Fact) -> Words:
    """The words of a fact's subject, without an article before them; none where it has none."""
    found = words(fact.subject or "")
    return found[1:] if len(found) > 1 and found[0] in ARTICLES else found


def words(text: str) -> Words:
    """The words of a text without case and punctuation."""
    return tuple(WORD.findall(text.casefold()))


def runs(found: Words, lengths: Iterable[int]) -> Iterator[Words]:
    """All runs of successive words of some lengths."""
    for length in lengths:
        for start in range(len(found) - length + 1):
            yield found[start : start + length]


def scored(fact: Fact, ask: Ask, held: HeldSubjects) -> bool:
    """Whether a question counts: all in scope, and those out of scope that no edit speaks to."""
    return ask.inside or not held.speaks_to(fact, ask)
