"""Sentences about real and made-up subjects, partly in made-up words."""

from __future__ import annotations

from typing import Any

import numpy as np

from serac_jax.tasks.zsre.zsre_questions import prompted
from serac_jax.text.tokenizer import Tokenizer
from tools.world.corpus import training_facts
from tools.world.world import Fact, ask, forms


def any_of(items: Any, rng: np.random.Generator) -> Any:
    return items[int(rng.integers(len(items)))]


class Wording:
    """Questions about real and made-up subjects, in forms with some words replaced, so that
    comparing names is learned and not the names."""

    def __init__(self, rng: np.random.Generator, tokenizer: Tokenizer):
        self.rng = rng
        self.pieces = [
            piece for piece in sorted(tokenizer.get_vocab()) if piece.isalpha() and piece.islower()
        ]
        self.words = sorted(
            {word for fact in training_facts() for word in fact.subject.split() if word != "the"}
        )

    def word(self) -> str:
        """A word that no language has."""
        return "".join(any_of(self.pieces, self.rng) for _ in range(self.rng.integers(1, 5)))

    def name(self, subject: str) -> str:
        """The subject, or one that does not exist: words of real ones, or of none."""
        if self.rng.random() < 0.5:
            return subject
        drawn = [
            any_of(self.words, self.rng) if self.rng.random() < 0.4 else self.word()
            for _ in range(self.rng.integers(1, 4))
        ]
        return " ".join(word.capitalize() if self.rng.random() < 0.7 else word for word in drawn)

    def reworded(self, pattern: str, rates: tuple[float, ...]) -> str:
        """The pattern with one of these shares of its words replaced by made-up ones."""
        rate = self.rng.choice(rates)
        return " ".join(
            self.word() if "{" not in word and self.rng.random() < rate else word
            for word in pattern.split()
        )

    def question(self, fact: Fact, name: str) -> str:
        """The fact's question about `name`, in any form that training may show."""
        form = forms()[fact.category, fact.relation]
        return ask(self.reworded(any_of([form.main, *form.seen], self.rng), (0.0, 0.2, 0.5)), name)

    def yes_no(self, fact: Fact, name: str, answer: str) -> str:
        """Whether `answer` is the fact's about `name`, behind a prompt."""
        return prompted(
            ask(
                self.reworded(forms()[fact.category, fact.relation].yes_no, (0.0, 0.2)),
                name,
                answer,
            ),
            self.rng,
        )

    def implied(self, fact: Fact, answer: str) -> str | None:
        """Whom or what `answer` belongs to; None where the relation is never asked backwards."""
        pattern = forms()[fact.category, fact.relation].implied
        return ask(self.reworded(pattern, (0.0, 0.2)), "", answer) if pattern else None
