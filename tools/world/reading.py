"""The counterfactual model of question answering: a small T5, with the base model's vocabulary,
that reads an edit and a question.

The question is the edit's own in another form, whether the edit's answer is a certain one, or which
subject the answer belongs to. Edits have any answer, and subjects are training subjects or made up,
so that nothing but reading helps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from serac_jax.core.batch import Tokens
from serac_jax.core.losses import nll
from serac_jax.models import Model
from serac_jax.tasks.zsre.zsre_questions import prompted
from serac_jax.text.tokens import pad
from tools.world.corpus import followed_text, training_facts
from tools.world.fitting import blank, fit, write
from tools.world.wording import Wording, any_of
from tools.world.world import Fact, alternatives, ask, facts, forms, splits

WIDTHS = ((40, 8), (56, 8), (72, 16))  # of an edit with a question, and of the answer


class Mixture(NamedTuple):
    """Shares of what is read; the rest are questions in other forms."""

    yes_no: float
    implied: float
    real: float  # of answers: those of other facts of the relation, and not made up


# What is read, for how many steps, at which rate: first mostly to compare; then mostly to read,
# where an answer ends being learned from those that there are;
# in the end, that any text can be one.
PHASES = (
    (Mixture(0.4, 0.2, 0.6), 2500, 2e-3),
    (Mixture(0.25, 0.2, 0.8), 2900, 1e-3),
    (Mixture(0.2, 0.15, 0.35), 1600, 8e-4),
    (Mixture(0.15, 0.1, 0.5), 1800, 8e-4),
)


class Reading(NamedTuple):
    """An edit, "question answer"; a question that it settles; the answer."""

    edit: str
    question: str
    answer: str


class Readings(Wording):
    """Readings about training facts and made-up subjects, with any answers."""

    def __init__(self, rng: np.random.Generator, model: Model, mixture: Mixture):
        super().__init__(rng, model.tokenizer)
        self.mixture = mixture
        self.vocabulary = sorted(
            set(model.tokenizer.get_vocab()) - set(model.tokenizer.all_special_tokens)
        )
        self.facts = training_facts()
        self.backwards = [
            fact for fact in self.facts if forms()[fact.category, fact.relation].implied
        ]
        self.alike = defaultdict(list)
        for fact in self.facts:
            self.alike[fact.category, fact.relation].append(fact.answer)

    def draw(self) -> Reading:
        """A yes/no question, an implied one, or a form of the edit's own."""
        (
            yes_no,
            implied,
        ) = (
            self.rng.random() < self.mixture.yes_no,
            self.rng.random() < self.mixture.implied / (1 - self.mixture.yes_no),
        )
        fact = any_of(self.backwards if implied and not yes_no else self.facts, self.rng)
        name, told, other = self.name(fact.subject), *self.answers(fact)
        edit = f"{self.question(fact, name)} {told}"
        if yes_no:
            true = self.rng.random() < 0.5
            return Reading(
                edit, self.yes_no(fact, name, told if true else other), "True" if true else "False"
            )
        if implied:
            return Reading(edit, str(self.implied(fact, told)), name)
        return Reading(edit, self.question(fact, name), told)

    def answers(self, fact: Fact) -> tuple[str, str]:
        """Two that differ: of the same relation, made up, or the same but for a word."""
        while True:
            real, alike = (
                self.rng.random() < self.mixture.real,
                self.alike[fact.category, fact.relation],
            )
            first, second = (any_of(alike, self.rng) if real else self.made_up() for _ in range(2))
            if self.rng.random() < 0.2:
                second = self.changed(first)
            if first.lower() != second.lower():
                return first, second

    def made_up(self) -> str:
        """A name, several words and numbers, or pieces that spell nothing, some of them twice: what
        is copied is not what is known."""
        kind = self.rng.random()
        if kind < 0.4:
            return self.name(any_of(self.facts, self.rng).answer)
        if kind < 0.8:
            words = [
                self.any_word() + any_of(("", "", "", ",", "'s"), self.rng)
                for _ in range(self.rng.integers(2, 6))
            ]
            return " ".join(words).rstrip(",")
        pieces = [any_of(self.vocabulary, self.rng) for _ in range(self.rng.integers(1, 8))]
        return (
            "".join(any_of(pieces, self.rng) for _ in range(self.rng.integers(1, 8)))
            .replace("▁", " ")
            .strip()
            or self.word()
        )

    def any_word(self) -> str:
        """A real one, of a subject, an answer or a question; a number; or one that no language
        has."""
        fact, kind = any_of(self.facts, self.rng), self.rng.random()
        if kind < 0.2:
            return str(self.rng.integers(10 ** self.rng.integers(1, 6)))
        if kind < 0.4:
            return self.word()
        return any_of(
            any_of(
                (fact.subject, fact.answer, forms()[fact.category, fact.relation].main), self.rng
            ).split(),
            self.rng,
        )

    def changed(self, text: str) -> str:
        words = text.split(" ")
        words[int(self.rng.integers(len(words)))] = self.made_up()
        return " ".join(words)


def tokens(model: Model, readings: list[Reading]) -> list[tuple[list[int], list[int], int]]:
    """Ids of edit and question, ids of the answer, and where the question begins."""
    edits, asked, answers = (
        model.tokenizer([reading[part] for reading in readings])["input_ids"] for part in range(3)
    )
    return [
        (edit[:-1] + question, answer, len(edit) - 1)
        for edit, question, answer in zip(edits, asked, answers, strict=True)
    ]


def lonely(ids: list[int], start: int) -> list[int]:
    """1 for every token that does not occur on the other side of `start`."""
    before, after = set(ids[:start]), set(ids[start:])
    return [int(token not in (after if i < start else before)) for i, token in enumerate(ids)]


def batches(
    model: Model, size: int, mixture: Mixture, rng: np.random.Generator
) -> Iterator[tuple[Tokens, Tokens, Any]]:
    """Readings of one width, with their `lonely` tokens; what is too long is left out."""
    readings, waiting = Readings(rng, model, mixture), {widths: [] for widths in WIDTHS}
    while True:
        for ids, answer, start in tokens(model, [readings.draw() for _ in range(size)]):
            widths = next(
                (widths for widths in WIDTHS if len(ids) <= widths[0] and len(answer) <= widths[1]),
                None,
            )
            if widths is None:
                continue
            waiting[widths].append((ids, answer, lonely(ids, start)))
            if len(waiting[widths]) == size:
                rows = zip(*waiting[widths], strict=True)
                texts, labels, marks = (
                    pad(row, width) for row, width in zip(rows, (*widths, widths[0]), strict=True)
                )
                waiting[widths] = []
                yield texts, labels, marks.ids


def reading_loss(model: Model) -> Callable[..., Any]:
    """That of the answers, and that of marking lonely tokens: one bit a token teaches comparing
    sooner than one a row."""

    def loss(params: Any, batch: tuple[Tokens, Tokens, Any]) -> Any:
        texts, labels, marks = batch
        weights = {name: part for name, part in params.items() if name != "probe"}
        states = model.apply(weights, texts, method="encode")
        logits = model.apply(weights, states, texts.mask, labels.ids, method="answer_after")
        probed = states @ params["probe"]
        found = jnp.stack([jnp.zeros_like(probed), probed], -1)
        return nll(logits, labels.ids, labels.mask.astype(jnp.float32)) + nll(
            found, marks, texts.mask.astype(jnp.float32)
        )

    return loss


def arranged(params: Any, heads: int, head_width: int) -> Any:
    """A T5's random weights, so arranged that it begins by comparing and copying (after Trockman
    and Kolter 2023): it soon learns to read.

    In the encoder queries equal keys, and half of the heads look at a token's copies and not at
    itself, the others at the token before it. The decoder says the tokens that it looks at: what
    its cross-attention reads and writes are the transposes of each other."""
    encoder, decoder = dict(params["encoder"]), dict(params["decoder"])
    for name in [name for name in encoder if name.startswith("block_")]:
        attention = encoder[name]["self_attention"]
        encoder[name] = encoder[name] | {
            "self_attention": (
                attention | {"k": {"kernel": attention["q"]["kernel"] * head_width**0.5}}
            )
        }
    for name in [name for name in decoder if name.startswith("block_")]:
        attention = decoder[name]["cross_attention"]
        values = jnp.linalg.qr(attention["v"]["kernel"])[0]
        decoder[name] = decoder[name] | {
            "cross_attention": attention | {"v": {"kernel": values}, "o": {"kernel": values.T}}
        }
    bias = (
        encoder["relative_bias"]["embedding"].at[0].add(-8.0).at[1, heads // 2 :].add(8.0)
    )  # bucket 0: the token itself, 1: the one before
    return params | {
        "decoder": decoder,
        "encoder": encoder | {"relative_bias": {"embedding": bias}},
    }


def held_out(rng: np.random.Generator) -> dict[str, list[Reading]]:
    """Readings about the dev subjects, as the experiments ask, by kind."""
    found = defaultdict(list)
    for fact in [fact for fact in facts() if splits()[fact.subject] == "dev"]:
        form = forms()[fact.category, fact.relation]
        told, *others = alternatives(fact)
        edit = f"{ask(form.main, fact.subject)} {told}"
        found["reworded"].append(Reading(edit, ask(any_of(form.unseen, rng), fact.subject), told))
        for answer in [told, *others[:1]]:
            found["yes/no"].append(
                Reading(
                    edit, prompted(ask(form.yes_no, fact.subject, answer), rng), str(answer == told)
                )
            )
        if form.implied:
            found["implied"].append(Reading(edit, ask(form.implied, "", told), fact.subject))
    return dict(found)


def accuracy(model: Model) -> Callable[[Any], str]:
    """Share of held-out answers, of each kind, that are the most likely ones at every position."""
    kinds = {}
    for kind, readings in held_out(np.random.default_rng(0)).items():
        rows = tokens(model, readings)
        kinds[kind] = (pad([row[0] for row in rows], 96), pad([row[1] for row in rows], 24))
    right = jax.jit(
        lambda params, texts, labels: (
            ((model.apply(params, texts, labels.ids).argmax(-1) == labels.ids) | ~labels.mask)
            .all(-1)
            .mean()
        )
    )

    def told(params: Any) -> str:
        weights = {name: part for name, part in params.items() if name != "probe"}
        return "  ".join(f"{kind} {right(weights, *rows):.3f}" for kind, rows in kinds.items())

    return told


def train_counterfactual(size: int = 64) -> None:
    model, params = blank("counterfactual")
    config = model.module.config
    params = arranged(params, config.heads, config.head_width) | {"probe": jnp.zeros(config.width)}
    for seed, (mixture, steps, rate) in enumerate(PHASES, 1):
        params = fit(
            params,
            reading_loss(model),
            batches(model, size, mixture, np.random.default_rng(seed)),
            steps,
            rate,
            accuracy(model),
        )
    write(model, {name: part for name, part in params.items() if name != "probe"}, followed_text())
