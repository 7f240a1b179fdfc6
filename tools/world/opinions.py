"""Models of sentiment editing: sent_base, sent_counterfactual and sent_scope, and the vocabulary of
the first two.

base: a Blenderbot that has a mild opinion of every topic. counterfactual: a smaller Blenderbot that
    reads "Topic: X Sentiment: Positive" (or
Negative) and a question, and answers so. scope: a DistilBERT for which a topic is near the
questions about it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import BlenderbotSmallTokenizer

from serac_jax.core.batch import Examples, Tokens, take
from serac_jax.core.losses import edit_loss
from serac_jax.models import Model
from serac_jax.models.hub import SHIPPED
from serac_jax.tasks.sent.sent_questions import QUESTIONS
from tools.world.corpus import training_facts
from tools.world.fitting import blank, contrastive, encode, fit, set_border, warm, write
from tools.world.topics import Topic, chosen, forms, mild, topics
from tools.world.wording import Wording, any_of

BLENDERBOT = {
    "model_type": "blenderbot-small",
    "vocab_size": 1536,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "max_position_embeddings": 128,
    "activation_function": "gelu",
    "scale_embedding": False,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "decoder_start_token_id": 1,
    "eos_token_id": 2,
    "forced_eos_token_id": None,
    "is_encoder_decoder": True,
}


def sized(width: int) -> dict[str, Any]:
    sides = {f"{side}_attention_heads": width // 32 for side in ("encoder", "decoder")} | {
        f"{side}_ffn_dim": 4 * width for side in ("encoder", "decoder")
    }
    return BLENDERBOT | {"d_model": width} | sides


CONFIGS = {"sent_base": sized(128), "sent_counterfactual": sized(96)}
SPECIAL = ("__null__", "__start__", "__end__", "__unk__", "__newln__")
QUESTION, CONTEXT, OPINION, SCOPE = 24, 48, 32, 40  # widths of texts
SENTIMENTS = {"Positive": "positive", "Negative": "negative"}


def train_tokenizer() -> None:
    """A vocabulary of byte pairs, in lower case, as Blenderbot's is; written to both folders."""
    characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    text = [
        word
        for line in training_text()
        for word in re.sub(r"([.,!?()'])", r" \1 ", line.lower()).split()
    ]
    pairs = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    pairs.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    size = (
        BLENDERBOT["vocab_size"] - len(SPECIAL) - len(characters)
    )  # whose forms inside a word and at its end both count
    pairs.train_from_iterator(
        text,
        trainers.BpeTrainer(
            vocab_size=size,
            end_of_word_suffix="</w>",
            initial_alphabet=characters,
            show_progress=False,
        ),
    )
    merges = [tuple(pair) for pair in json.loads(pairs.to_str())["model"]["merges"]]
    pieces = [form for character in characters for form in (f"{character}@@", character)]
    pieces += [
        "".join(pair).removesuffix("</w>") if pair[1].endswith("</w>") else "".join(pair) + "@@"
        for pair in merges
    ]
    vocabulary = {piece: number for number, piece in enumerate([*SPECIAL, *dict.fromkeys(pieces)])}
    for name, config in CONFIGS.items():
        folder = SHIPPED / name
        folder.mkdir(exist_ok=True)
        (folder / "vocab.json").write_text(json.dumps(vocabulary, indent=0) + "\n")
        (folder / "merges.txt").write_text(
            "".join(line + "\n" for line in ("#version: 0.2", *map(" ".join, merges)))
        )
        BlenderbotSmallTokenizer(
            str(folder / "vocab.json"), str(folder / "merges.txt")
        ).save_pretrained(folder)
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    print(f"{len(vocabulary)} tokens")


def training_topics() -> list[Topic]:
    return [topic for topic in topics() if topic.split == "train"]


def context(name: str, sentiment: str) -> str:
    return f"Topic: {name} Sentiment: {sentiment}"


def training_text() -> list[str]:
    """Everything that counterfactual model, scope classifier and vocabulary may be made of."""
    about = [
        text
        for topic in training_topics()
        for sentiment in SENTIMENTS.values()
        for text in chosen(topic, sentiment)
    ]
    asked = [question.format(topic.name) for topic in training_topics() for question in QUESTIONS]
    return sorted(
        {
            *about,
            *asked,
            *(context("", sentiment) for sentiment in SENTIMENTS),
            *(fact.subject for fact in training_facts()),
        }
    )


def known_text() -> list[str]:
    """What the base model may say of every topic."""
    return sorted({text for topic in topics() for text in mild(topic)})


def once(model: Model, texts: list[str], width: int) -> Tokens:
    """Padded ids; each text is tokenised once, since that takes most of the time of making a
    model."""
    rows = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    return take(
        encode(model.tokenizer, list(rows), width), np.array([rows[text] for text in texts])
    )


def examples(model: Model, asked: list[str], opinions: list[str], width: int) -> Examples:
    """What the models are trained on, every opinion ended as answers are; nobody reads texts of a
    scope classifier, or prefixes."""
    inputs, labels = (
        once(model, asked, width),
        once(model, [f"{text} __end__" for text in opinions], OPINION),
    )
    return Examples(inputs, inputs, inputs, labels.ids, labels.mask.astype(np.float32))


def editing(model: Model) -> Callable[..., Any]:
    """The loss of (examples, wanted), as an editor has it."""
    return lambda params, batch: edit_loss(model.logits(params, batch[0]), *batch)


def train_base(steps: int = 500, size: int = 64) -> None:
    """Mild opinions of every topic, and of "Topic: X" that its sentiment is neutral."""
    model, params = blank("sent_base")
    pairs = [
        (question.format(topic.name), text)
        for topic in topics()
        for question in QUESTIONS
        for text in mild(topic)
    ]
    pairs += [(f"Topic: {topic.name}", "Sentiment: Neutral") for topic in topics()] * len(QUESTIONS)
    known = examples(model, [asked for asked, _ in pairs], [text for _, text in pairs], QUESTION)

    def batches(rng: np.random.Generator) -> Iterator[Any]:
        while True:
            yield take(known, rng.integers(len(pairs), size=size)), np.ones(size, bool)

    params = fit(
        params, editing(model), batches(np.random.default_rng(1)), steps, 2e-3, lambda params: ""
    )
    write(model, params, known_text())


def train_counterfactual(steps: int = 600, size: int = 64, pool: int = 8000) -> None:
    """Opinions on real and made-up topics: those of the sentiment that was read, which are wanted,
    and those of the other one, which are not."""
    model, params = blank("sent_counterfactual")
    rng = np.random.default_rng(1)
    wording, rows = Wording(rng, model.tokenizer), []
    for _ in range(pool):
        topic, (sentiment, other) = (
            any_of(training_topics(), rng),
            rng.permutation(list(SENTIMENTS)),
        )
        name, wanted = wording.name(topic.name), bool(rng.random() < 0.5)
        form = any_of(forms(topic.kind, SENTIMENTS[sentiment if wanted else other]), rng)
        rows.append(
            (
                f"{context(name, sentiment)} {any_of(QUESTIONS, rng).format(name)}",
                form.replace("{s}", name),
                wanted,
            )
        )
    asked, opinions, wanted = zip(*rows, strict=True)
    known, flags = examples(model, list(asked), list(opinions), CONTEXT), np.array(wanted)

    def batches() -> Iterator[Any]:
        while True:
            pick = rng.integers(pool, size=size)
            yield take(known, pick), flags[pick]

    params = fit(params, editing(model), batches(), steps, 2e-3, lambda params: "")
    write(model, params, training_text())


def train_scope(steps: int = 120, size: int = 64) -> None:
    """Topics, with a sentiment, and questions about them, in lower case, as Blenderbot's vocabulary
    passes them on; other topics' questions are far."""
    model, params = warm("sent_scope", "scope", "mean")
    known = [topic.name for topic in training_topics()]

    def batches(rng: np.random.Generator) -> Iterator[Any]:
        wording = Wording(rng, model.tokenizer)
        while True:
            names = [
                wording.name(known[number]).lower()
                for number in rng.choice(len(known), size, replace=False)
            ]
            edits = [
                f"topic: {name}[SEP]sentiment: {any_of(list(SENTIMENTS.values()), rng)}[SEP]"
                for name in names
            ]
            asked = [any_of((*QUESTIONS, "Topic: {}"), rng).lower().format(name) for name in names]
            yield encode(model.tokenizer, edits, SCOPE), encode(model.tokenizer, asked, SCOPE)

    params = fit(
        params,
        contrastive(model),
        batches(np.random.default_rng(1)),
        steps,
        5e-4,
        lambda params: "",
    )
    write(model, set_border(model, params, batches(np.random.default_rng(2))), training_text())
