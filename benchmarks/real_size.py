"""Networks and batches of real size with random weights: what benchmarks run on. Nothing is
downloaded.

Lengths are drawn, and the same for every side of a comparison: `Lengths` says how long the texts of
an experiment are, in tokens. Arrays are as wide as the project's own run file of the experiment
makes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from transformers import (
    BertConfig,
    BlenderbotSmallConfig,
    DistilBertConfig,
    PretrainedConfig,
    T5Config,
)

from serac_jax import presets
from serac_jax.core.types import Config
from serac_jax.models import NETWORKS, Model, abstract, convert
from serac_jax.models.decoding import Decoding
from serac_jax.tasks import task
from serac_jax.tasks.fnli import fnli_questions
from serac_jax.text.encoder import Encoder
from serac_jax.text.queries import Query, TextBatch
from serac_jax.text.sizes import choose
from serac_jax.text.tokenizer import Codec, Tokenizer

T5: dict[str, Any] = {"vocab_size": 32128, "decoder_start_token_id": 0}
SMALL_T5 = T5Config.from_dict(T5 | {"num_decoder_layers": 6})  # t5-small
LARGE_T5 = T5Config.from_dict(
    T5
    | {
        "d_model": 1024,
        "d_ff": 4096,
        "num_layers": 24,
        "num_decoder_layers": 24,
        "num_heads": 16,
    }
)  # t5-large
DISTILBERT = DistilBertConfig(vocab_size=28996)  # distilbert-base-cased
BERT = BertConfig.from_dict({"num_labels": 1})  # bert-base-uncased with the original's head
BLENDERBOT = BlenderbotSmallConfig.from_dict(  # facebook/blenderbot_small-90M
    {
        "vocab_size": 54944,
        "encoder_ffn_dim": 2048,
        "decoder_ffn_dim": 2048,
        "scale_embedding": True,
        "activation_function": "gelu",
    }
)
NAMED: dict[str, PretrainedConfig] = {
    "t5-small": SMALL_T5,
    "t5-large": LARGE_T5,
    "distilbert": DISTILBERT,
    "bert": BERT,
    "blenderbot": BLENDERBOT,
}


class Lengths(NamedTuple):
    """Tokens of the texts of a batch, special tokens included: the least and the most, as evenly
    spread between them as there are rows.

    edit: an edit's question. answer: its answer. query: a query in scope. label: its answer.
        outside, outside_label: those of a query out of scope.
    inside, alike: how many queries in scope there are, and how many of them in a row ask the same
        question.
    """

    edits: int
    edit: tuple[int, int]
    answer: tuple[int, int]
    inside: int
    query: tuple[int, int]
    label: tuple[int, int]
    outside: tuple[int, int]
    outside_label: tuple[int, int]
    alike: int = 1


class Experiment(NamedTuple):
    """run: the run file whose widths it uses. base: of the models that are edited, by its name
    here. lengths: the longest of each kind are those of a batch of the original's own data, as are
    the numbers of rows; the spread below is that of English questions and sentences."""

    run: str
    base: str
    counterfactual: str
    lengths: Lengths
    cross_attention: bool = False


QUESTIONS = Lengths(10, (7, 12), (2, 4), 10, (7, 13), (2, 4), (7, 13), (2, 4))
CLAIMS = Lengths(10, (20, 42), (1, 1), 7, (9, 16), (1, 1), (9, 18), (1, 1))
OPINIONS = Lengths(5, (6, 9), (7, 7), 50, (9, 14), (8, 28), (6, 10), (7, 9), 5)
EXPERIMENTS = {
    "zsre": Experiment("zsre", "t5-small", "t5-small", QUESTIONS),
    "zsre_large": Experiment("zsre", "t5-large", "t5-small", QUESTIONS),
    "fnli": Experiment("fnli", "bert", "bert", CLAIMS, cross_attention=True),
    "sent": Experiment("sent", "blenderbot", "blenderbot", OPINIONS),
}


def config_of(run: str) -> Config:
    return presets.preset(run)


def network(
    hf: PretrainedConfig, output: str = "", labels: int = 0, dtype: Any = jnp.float32
) -> Model:
    """A network without weights, whose tokenizer knows no token: nothing here is in words."""
    found = NETWORKS[hf.model_type]
    attributes = {**found.attributes, **hf.to_dict()}
    module = found.module(found.config(attributes, output, 0.0, dtype, False))
    codec = Codec(lambda texts, _: [[]] * len(texts), lambda *_: "", {})
    tokenizer = Tokenizer(Path(), codec, {}, False)
    return Model(hf.model_type, Path(), module, found, tokenizer, Decoding(), output, labels)


def random_model(
    hf: PretrainedConfig,
    output: str = "",
    labels: int = 0,
    seed: int = 0,
    dtype: Any = jnp.float32,
) -> tuple[Model, Any]:
    """A network that computes in a type, and random weights in float32."""
    model, rng = network(hf, output, labels, dtype), np.random.default_rng(seed)
    leaves = {
        path: leaf(shape.shape, path.endswith("scale"), rng)
        for path, shape in abstract(model.module).items()
    }
    return model, convert.unflatten(leaves)


def leaf(shape: tuple[int, ...], scale: bool, rng: np.random.Generator) -> Any:
    """Small random numbers; around 1 where they scale."""
    return jnp.asarray(
        rng.standard_normal(shape, np.float32) * np.float32(0.02) + np.float32(scale)
    )


class Numbers:
    """A tokenizer of texts that are numbers: each is a token. `opens`, `closes`: its special
    tokens; 2 stands between two texts."""

    sep_token_id = 2

    def __init__(self, opens: list[int], closes: list[int]):
        self.opens, self.closes = opens, closes

    def __call__(self, text: Any, add_special_tokens: bool = True, **more: Any) -> dict[str, Any]:
        if not isinstance(text, str):
            return {"input_ids": [self(row, add_special_tokens)["input_ids"] for row in text]}
        ids = [int(word) if word.isdigit() else ord(word) for word in text.split()]
        return {"input_ids": self.opens + ids + self.closes if add_special_tokens else ids}


T5_TOKENS, BERT_TOKENS = Numbers([], [1]), Numbers([1], [2])
TOKENS: dict[str, Any] = {
    "t5-small": T5_TOKENS,
    "t5-large": T5_TOKENS,
    "bert": BERT_TOKENS,
    "blenderbot": Numbers([], []),
}


def drawn(experiment: Experiment, seed: int = 0) -> TextBatch:
    """A batch in words, as long as the experiment's are."""
    lengths, tokens, rng = experiment.lengths, TOKENS[experiment.base], np.random.default_rng(seed)
    special = len(tokens.opens + tokens.closes)

    def texts(count: int, bounds: tuple[int, int]) -> list[str]:
        spread = rng.permutation(np.linspace(*bounds, count).round().astype(int))
        return [" ".join(map(str, rng.integers(100, 28000, length - special))) for length in spread]

    def answers(count: int, bounds: tuple[int, int]) -> list[str]:
        return (
            [fnli_questions.CLASSES[number] for number in rng.integers(2, size=count)]
            if experiment.base == "bert"
            else texts(count, bounds)
        )

    def queries(questions: list[str], labels: list[str]) -> list[Query | None]:
        return [
            Query(question, label, wanted=number % 2 == 0)
            for number, (question, label) in enumerate(zip(questions, labels, strict=True))
        ]

    count, edits = lengths.inside, lengths.edits
    questions = [
        text for text in texts(count // lengths.alike, lengths.query) for _ in range(lengths.alike)
    ]
    inside = queries(questions, answers(count, lengths.label))
    return TextBatch(
        queries(texts(edits, lengths.edit), answers(edits, lengths.answer)),
        (
            inside
            if lengths.alike > 1
            else [query and query._replace(wanted=True) for query in inside]
        ),
        sorted(number % edits for number in range(count)),
        queries(texts(edits, lengths.outside), answers(edits, lengths.outside_label)),
        range(edits),
        lengths.alike,
    )


def encoder(experiment: Experiment, config: Config) -> Encoder:
    """The project's own, with sizes measured on batches such as `drawn` makes."""
    classes = fnli_questions.CLASSES if experiment.base == "bert" else ()
    scope: Any = BERT_TOKENS
    fields: dict[str, Any] = task.limits(config) | ({"answer_widths": (1,)} if classes else {})
    found = Encoder(
        TOKENS[experiment.base], scope, cut_labels=not classes, classes=classes, **fields
    )
    batches = [found.lengths(drawn(experiment, seed)) for seed in range(16)]
    return found.with_sizes(choose(batches, config.data.sizes, found.limits))
