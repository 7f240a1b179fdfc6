"""Models of fact checking, over the scope classifier's vocabulary: fnli_base, fnli_counterfactual
and fnli_scope.

base: a BERT that says whether a claim, or a passage, is true of the world. counterfactual: a BERT
    that reads a passage and a claim, and says
whether the first supports the second. scope: a DistilBERT for which a passage is near the claims
about the fact that it begins with."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from serac_jax.core.batch import Tokens, take
from serac_jax.core.losses import nll
from serac_jax.models import Model
from serac_jax.models.hub import SHIPPED
from serac_jax.text.tokens import pad, smallest
from tools.world import claims
from tools.world.corpus import training_facts
from tools.world.fitting import (
    blank,
    contrastive,
    encode,
    fit,
    mimetic,
    sample,
    set_border,
    warm,
    write,
)
from tools.world.wording import Wording, any_of
from tools.world.world import Fact, alternatives, ask

BERT = {
    "model_type": "bert",
    "vocab_size": 4096,
    "num_hidden_layers": 2,
    "hidden_size": 96,
    "intermediate_size": 384,
    "num_attention_heads": 3,
    "max_position_embeddings": 128,
    "type_vocab_size": 2,
    "id2label": {"0": "SUPPORTS"},
    "label2id": {"SUPPORTS": 0},
}
CLAIM, PASSAGE, BOTH = 32, 64, (56, 88)  # widths of texts
WIDTHS = (24, PASSAGE)


def make(name: str) -> tuple[Model, Any]:
    """A BERT with the scope classifier's vocabulary and random weights."""
    folder = SHIPPED / name
    folder.mkdir(exist_ok=True)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(SHIPPED / "scope" / file, folder / file)
    (folder / "config.json").write_text(json.dumps(BERT, indent=2) + "\n")
    return blank(name, "head")


def judged(model: Model) -> Callable[..., Any]:
    """The loss of verdicts: (texts, 1 where true)."""

    def loss(params: Any, batch: tuple[Tokens, Any]) -> Any:
        return nll(model.apply(params, batch[0]), batch[1][:, None], jnp.ones((len(batch[1]), 1)))

    return loss


def accuracy(model: Model, texts: list[str], truth: list[bool], width: int) -> Callable[[Any], str]:
    tokens, wanted = encode(model.tokenizer, texts, width), jnp.asarray(np.array(truth, np.int32))
    right = jax.jit(lambda params: (model.apply(params, tokens)[:, 0].argmax(-1) == wanted).mean())
    return lambda params: f"accuracy {right(params):.4f}"


def others(facts: list[Fact]) -> Callable[[Fact], list[str]]:
    """The other answers of a fact's relation, for facts with any."""
    answers = defaultdict(set)
    for fact in facts:
        answers[fact.category, fact.relation].add(fact.answer)
    listed = {relation: sorted(found) for relation, found in answers.items()}
    return lambda fact: [
        answer for answer in listed[fact.category, fact.relation] if answer != fact.answer
    ]


def train_base(steps: int = 1500, size: int = 64) -> None:
    """The same facts stated with true and with false answers, in every form and in passages."""
    model, params = make("fnli_base")
    facts = [fact for found in claims.pages().values() for fact in found]
    pairs = [
        pair
        for fact in facts
        for wrong in alternatives(fact)
        for pair in zip(stated(fact, fact.answer), stated(fact, wrong), strict=True)
    ]
    groups = by_length(model, pairs)
    share = np.array([len(true.ids) for true, _ in groups], float)
    truth = np.repeat(np.array([1, 0], np.int32), size)

    def batches(rng: np.random.Generator) -> Iterator[Any]:
        while True:
            group = groups[rng.choice(len(groups), p=share / share.sum())]
            pick = rng.integers(len(group[0].ids), size=size)
            halves = [take(side, pick) for side in group]
            yield jax.tree.map(lambda *sides: np.concatenate(sides), *halves), truth

    def loss(params: Any, batch: tuple[Tokens, Any]) -> Any:
        """That of the verdicts, and that of saying which of two is true."""
        logits = model.apply(params, batch[0])[:, 0, 1]
        return judged(model)(params, batch) + jax.nn.softplus(logits[size:] - logits[:size]).mean()

    asked = sample(pairs, 500)
    texts, wanted = [text for pair in asked for text in pair], [True, False] * len(asked)
    params = fit(
        params,
        loss,
        batches(np.random.default_rng(1)),
        steps,
        2e-3,
        accuracy(model, texts, wanted, PASSAGE),
    )
    write(model, params, known_text())


def stated(fact: Fact, answer: str) -> list[str]:
    """The fact with an answer, in every form and in a passage."""
    claim = claims.claims()[fact.category, fact.relation]
    return [
        *(ask(form, fact.subject, answer) for form in claim.seen + claim.unseen),
        claims.passage(fact, answer).text,
    ]


def known_text() -> list[str]:
    """What the base model has read of the truth."""
    return sorted(
        {
            text
            for found in claims.pages().values()
            for fact in found
            for text in stated(fact, fact.answer)
        }
    )


def by_length(model: Model, pairs: list[tuple[str, str]]) -> list[tuple[Tokens, Tokens]]:
    """(true texts, false texts), grouped so that little of a batch is padding."""
    groups = defaultdict(list)
    true, false = (model.tokenizer([pair[side] for pair in pairs])["input_ids"] for side in (0, 1))
    for pair in zip(true, false, strict=True):
        groups[smallest(WIDTHS, max(map(len, pair)))].append(pair)

    def side(number: int, group: list, width: int) -> Tokens:
        return pad([pair[number][:width] for pair in group], width)

    return [
        (side(0, group, width), side(1, group, width)) for width, group in sorted(groups.items())
    ]


class Passages(Wording):
    """Passages and claims about training facts and made-up subjects."""

    def __init__(self, rng: np.random.Generator, model: Model):
        super().__init__(rng, model.tokenizer)
        self.facts = training_facts()
        self.relations = defaultdict(list)
        for fact in self.facts:
            self.relations[fact.category, fact.subject].append(fact)

    def claim(self, fact: Fact, name: str, answer: str) -> str:
        return ask(
            self.reworded(
                any_of(claims.claims()[fact.category, fact.relation].seen, self.rng),
                (0.0, 0.0, 0.2),
            ),
            name,
            answer,
        )

    def passage(self, fact: Fact, name: str, told: str) -> str:
        """As `claims.passage` writes them."""
        second = any_of(self.relations[fact.category, fact.subject], self.rng)
        if second != fact and self.rng.random() < 0.6:
            return f"{self.claim(fact, name, told)} {self.claim(second, name, second.answer)}"
        return (
            f"{self.claim(fact, name, told)} {claims.kind(fact.category, name)}"
            f" {any_of(claims.CLOSING, self.rng)}"
        )


def train_counterfactual(steps: int = 1000, size: int = 32) -> None:
    """Passages in which facts have any answer, and claims with the same answer or with another one.

    Besides its verdict the model learns to mark the tokens of the claim that the passage lacks: one
    bit a token teaches comparing sooner than one a row."""
    model, params = make("fnli_counterfactual")
    params = mimetic(params) | {"probe": jnp.zeros(BERT["hidden_size"])}
    wrong = others(training_facts())

    def row(passages: Passages, rng: np.random.Generator) -> tuple[str, str, bool]:
        fact, supported = any_of(passages.facts, rng), bool(rng.random() < 0.5)
        name = passages.name(fact.subject)
        told, other = (
            rng.permutation([fact.answer, any_of(wrong(fact), rng)])
            if rng.random() < 0.7
            else (passages.word(), passages.word())
        )
        text = passages.passage(fact, name, told)
        if not supported and other in text:
            return row(passages, rng)
        return text, passages.claim(fact, name, told if supported else other), supported

    def batches(rng: np.random.Generator) -> Iterator[Any]:
        passages = Passages(rng, model)
        waiting: dict[int, list[Any]] = {width: [] for width in BOTH}
        while True:
            text, claim, supported = row(passages, rng)
            read, asked = model.tokenizer([text, claim])["input_ids"]
            width = smallest(BOTH, len(read) + len(asked) - 2)
            if len(read) + len(asked) - 2 <= width:  # else the claim would be cut
                new = [0] * (len(read) - 1) + [token not in read for token in asked[1:]]
                waiting[width].append((read[:-1] + asked[1:], new, supported))
            if len(waiting[width]) == size:
                ids, new, truth = zip(*waiting[width], strict=True)
                waiting[width] = []
                yield pad(ids, width), pad(new, width).ids, np.array(truth, np.int32)

    def loss(params: Any, batch: tuple[Tokens, Any, Any]) -> Any:
        tokens, new, truth = batch
        states = model.apply(
            {name: part for name, part in params.items() if name != "probe"},
            tokens,
            method="encode",
        )
        marks = jnp.stack([jnp.zeros(new.shape), states @ params["probe"]], -1)
        first = jnp.tanh(states[:, 0] @ params["pooler"]["kernel"] + params["pooler"]["bias"][None])
        verdict = first @ params["head"]["kernel"] + params["head"]["bias"][None]
        verdicts = jnp.concatenate([jnp.zeros_like(verdict), verdict], -1)[:, None]
        return nll(verdicts, truth[:, None], jnp.ones((len(truth), 1))) + nll(
            marks, new, tokens.mask.astype(jnp.float32)
        )

    dev = [row for row in claims.rows("dev") if row["label"] != "NOT ENOUGH INFO"]
    read = accuracy(
        model,
        [f"{row['evidence']} {row['claim']}" for row in dev],
        [row["label"] == "SUPPORTS" for row in dev],
        PASSAGE + CLAIM,
    )
    params = fit(
        params,
        loss,
        batches(np.random.default_rng(1)),
        steps,
        1e-3,
        lambda params: read({k: v for k, v in params.items() if k != "probe"}),
    )
    write(
        model, {name: part for name, part in params.items() if name != "probe"}, training_claims()
    )


def training_claims() -> list[str]:
    """Every claim that counterfactual model and scope classifier may be trained on."""
    return sorted(
        {
            ask(form, fact.subject, fact.answer)
            for fact in training_facts()
            for form in claims.claims()[fact.category, fact.relation].seen
        }
    )


def train_scope(steps: int = 1000, size: int = 48) -> None:
    """Passages and claims about the fact that they begin with; a batch is full of the same
    subjects' other facts and of neighbours."""
    model, params = warm("fnli_scope", "scope", "mean")
    wrong = others(training_facts())

    def block(passages: Passages, rng: np.random.Generator) -> list[tuple[str, str]]:
        """Two neighbours and the same two relations: a passage and a claim each, whose answers need
        not agree."""
        subjects = list(passages.relations)
        start = int(rng.integers(len(subjects) - 1))
        names = [passages.name(subject) for _, subject in subjects[start : start + 2]]
        found = []
        for fact in rng.permutation(len(passages.relations[subjects[start]]))[:2]:
            about = passages.relations[subjects[start]][fact]
            told, claimed = (any_of([about.answer, *wrong(about)[:3]], rng) for _ in range(2))
            found += [
                (
                    passages.passage(about, name, told) + "[SEP][SEP]",
                    passages.claim(about, name, claimed),
                )
                for name in names
            ]
        return found

    def batches(rng: np.random.Generator) -> Iterator[Any]:
        passages = Passages(rng, model)
        while True:
            pairs: list[tuple[str, str]] = []
            while len(pairs) < size:
                pairs += block(passages, rng)
            yield tuple(
                encode(model.tokenizer, [pair[side] for pair in pairs[:size]], width)
                for side, width in ((0, PASSAGE), (1, CLAIM))
            )

    params = fit(
        params, contrastive(model), batches(np.random.default_rng(1)), steps, 5e-4, nearer(model)
    )
    write(model, set_border(model, params, batches(np.random.default_rng(2))), training_claims())


def nearer(model: Model) -> Callable[[Any], str]:
    """How often, of the dev rows, a passage is nearer to a claim that it settles than another one
    to a claim that it leaves open."""
    dev = claims.rows("dev")
    passages = encode(model.tokenizer, [row["evidence"] + "[SEP][SEP]" for row in dev], PASSAGE)
    asked = encode(model.tokenizer, [row["claim"] for row in dev], CLAIM)
    settled = np.array([row["label"] != "NOT ENOUGH INFO" for row in dev])

    @jax.jit
    def apart(params: Any) -> Any:
        return jnp.square(model.embed(params, passages) - model.embed(params, asked)).sum(-1)

    def report(params: Any) -> str:
        distances = np.asarray(apart(params))
        return f"nearer {(distances[settled][:, None] < distances[~settled][None]).mean():.4f}"

    return report
