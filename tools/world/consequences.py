"""Goes on with the scope classifier of question answering: it learns which questions follow from an
edit, and from which of thousands.

It was trained on rephrasings (`questions`). Here yes/no questions, about the edit's answer or
another one, and questions about the answer, whose answer is the subject, are in scope too; all of
training subjects and made-up ones, and of others with names like theirs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from serac_jax.core.batch import Tokens
from serac_jax.core.losses import balanced_bce
from serac_jax.models import Model, load
from tools.world.corpus import followed_text, training_facts
from tools.world.fitting import encode, fit, set_border, squared_distances, told_apart, write
from tools.world.lookalikes import Lookalikes
from tools.world.wording import Wording, any_of
from tools.world.world import Fact

# share of these pairs inside the border, chosen by the dev split: real questions are easier
BORDER = 0.7


class Answers:
    """New answers of facts: of the same relation, of any, or made up."""

    def __init__(self, wording: Wording):
        self.wording, self.everything = wording, [fact.answer for fact in training_facts()]
        self.alike = defaultdict(list)
        for fact in training_facts():
            self.alike[fact.category, fact.relation].append(fact.answer)

    def several(self, fact: Fact, count: int) -> list[str]:
        """So many that differ."""
        rng, alike, found = self.wording.rng, self.alike[fact.category, fact.relation], {}
        while len(found) < count:
            answer = (
                any_of(alike, rng)
                if rng.random() < 0.6
                else self.wording.name(any_of(self.everything, rng))
            )
            found.setdefault(answer.lower(), answer)
        return list(found.values())


def in_scope(model: Model, size: int, rng: np.random.Generator) -> Iterator[tuple[Tokens, Tokens]]:
    """Edits, and a question in the scope of each: rephrased, yes/no, or about the answer.

    A batch is made of blocks of four names × two relations, so that it is full of near misses: two
    of a block's names look like the other two, and one often like a name of the block before, which
    is asked about something else. Yes/no questions ask for each other's answers."""
    by_subject: dict[tuple[str, str], dict[str, Fact]] = defaultdict(dict)
    for fact in training_facts():
        by_subject[fact.category, fact.subject][fact.relation] = fact
    subjects, wording = list(by_subject), Wording(rng, model.tokenizer)
    answers, names = Answers(wording), Lookalikes(wording)

    def query(fact: Fact, name: str, answer: str, other: str) -> str:
        kind = rng.random()
        if kind < 0.25:
            return wording.yes_no(fact, name, answer if rng.random() < 0.5 else other)
        return (wording.implied(fact, answer) if kind < 0.5 else None) or wording.question(
            fact, name
        )

    def block(before: str) -> tuple[list[tuple[str, str]], str]:
        start = int(rng.integers(len(subjects) - 1))
        first, second = subjects[start : start + 2]
        one, two = (
            names.like(before) if rng.random() < 0.5 else names.name(first[1]),
            names.name(second[1]),
        )
        asked = {name.lower(): name for name in (one, two, names.like(one), names.like(two))}
        found = []
        for relation in rng.permutation(list(by_subject[first]))[:2]:
            fact = by_subject[first][relation]
            given = answers.several(fact, len(asked))
            for name, answer, other in zip(
                asked.values(), given, [*given[1:], given[0]], strict=True
            ):
                found.append(
                    (
                        f"{wording.question(fact, name)}[SEP]{answer}[SEP]",
                        query(fact, name, answer, other),
                    )
                )
        return found, one

    before = any_of(subjects, rng)[1]
    while True:
        pairs: list[tuple[str, str]] = []
        while len(pairs) < size:
            more, before = block(before)
            pairs += more
        yield (
            encode(model.tokenizer, [edit for edit, _ in pairs[:size]], 40),
            encode(model.tokenizer, [asked for _, asked in pairs[:size]], 32),
        )


def scope_loss(model: Model) -> Callable[..., Any]:
    """The contrastive loss, and that of the border: a pair is on its inner side, and each side's
    nearest other on the outer one."""
    distances = squared_distances(model)

    def loss(params: Any, batch: tuple[Tokens, Tokens]) -> Any:
        similar = -distances(params, batch)
        others = jnp.where(jnp.eye(len(similar), dtype=bool), -jnp.inf, similar)
        nearest = jnp.concatenate([others.max(0), others.max(1)])
        inside = jnp.diag(similar)
        return told_apart(similar) + balanced_bce(
            inside, jnp.ones_like(inside), nearest, jnp.ones_like(nearest)
        )

    return loss


def routed(model: Model, batch: tuple[Tokens, Tokens]) -> Callable[[Any], str]:
    """Shares of a batch's pairs that are recognised, and of the nearest other pairs that are
    not."""
    similar = jax.jit(lambda params, batch: jnp.exp(-squared_distances(model)(params, batch)) > 0.5)

    def told(params: Any) -> str:
        found, own = np.asarray(similar(params, batch)), np.eye(len(batch[0].ids), dtype=bool)
        return f"inside {found[own].mean():.3f} outside {1 - (found & ~own).any(0).mean():.3f}"

    return told


def train_scope(steps: int = 1000, size: int = 128) -> None:
    """The shipped weights have been through 1,000 steps of an earlier form of this, whose batches
    held 64 pairs and no lookalikes, and then 700 of these."""
    model, params = load("mini/scope", output="mean")
    held = routed(model, next(in_scope(model, 2 * size, np.random.default_rng(2))))
    params = fit(
        params,
        scope_loss(model),
        in_scope(model, size, np.random.default_rng(3)),
        steps,
        1e-3,
        held,
    )
    params = set_border(model, params, in_scope(model, size, np.random.default_rng(4)), BORDER)
    write(model, params, followed_text())
