"""Models of question answering, base and scope, and both vocabularies; `reading` makes the
counterfactual model.

base: a T5 that answers every question of the world, in every form. scope: a DistilBERT that has
    learned which questions ask the same.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BertTokenizer, T5Tokenizer

from serac_jax.core.batch import Tokens, take
from serac_jax.core.losses import nll
from serac_jax.models import Model
from serac_jax.models.hub import SHIPPED
from serac_jax.text.tokenizer import Tokenizer as TextTokenizer
from serac_jax.text.tokens import smallest
from tools.world.corpus import all_text, closed_book, statements, training_facts, training_text
from tools.world.fitting import blank, contrastive, encode, fit, sample, set_border, write
from tools.world.wording import Wording, any_of
from tools.world.world import facts

T5 = {
    "model_type": "t5",
    "vocab_size": 3072,
    "feed_forward_proj": "relu",
    "decoder_start_token_id": 0,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "is_encoder_decoder": True,
}
CONFIGS = {
    "base": (
        T5
        | {
            "d_model": 160,
            "d_kv": 32,
            "num_heads": 5,
            "d_ff": 640,
            "num_layers": 2,
            "num_decoder_layers": 2,
        }
    ),
    "counterfactual": (
        T5
        | {
            "d_model": 128,
            "d_kv": 32,
            "num_heads": 4,
            "d_ff": 512,
            "num_layers": 3,
            "num_decoder_layers": 2,
        }
    ),
    "scope": {
        "model_type": "distilbert",
        "vocab_size": 4096,
        "dim": 128,
        "hidden_dim": 512,
        "n_heads": 4,
        "n_layers": 3,
        "max_position_embeddings": 128,
    },
}
WIDTHS, LABELS = (16, 24, 32, 40), (4, 8, 16, 24)


def train_tokenizers() -> None:
    """One Unigram vocabulary for both T5 models and one WordPiece vocabulary for the scope
    classifier, written to their folders."""
    text = training_text()
    printable = [chr(code) for code in range(33, 127)]
    unigram = Tokenizer(models.Unigram())
    unigram.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement="▁", prepend_scheme="always", split=True
    )
    special = ["<pad>", "</s>", "<unk>"]
    unigram.train_from_iterator(
        text,
        trainers.UnigramTrainer(
            vocab_size=T5["vocab_size"],
            special_tokens=special,
            unk_token="<unk>",
            initial_alphabet=printable,
        ),
    )
    pieces = [(piece, score) for piece, score in json.loads(unigram.to_str())["model"]["vocab"]]
    t5 = T5Tokenizer(vocab=pieces, extra_ids=0, additional_special_tokens=[])

    wordpiece = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    wordpiece.normalizer = normalizers.BertNormalizer(lowercase=False)
    wordpiece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    wordpiece.train_from_iterator(
        text,
        trainers.WordPieceTrainer(
            vocab_size=CONFIGS["scope"]["vocab_size"],
            special_tokens=special,
            initial_alphabet=printable,
        ),
    )
    bert = BertTokenizer(vocab=wordpiece.get_vocab(), do_lower_case=False)
    for name, tokenizer in (("base", t5), ("counterfactual", t5), ("scope", bert)):
        tokenizer.save_pretrained(SHIPPED / name)
        (SHIPPED / name / "config.json").write_text(json.dumps(CONFIGS[name], indent=2) + "\n")
        print(f"{name}: {len(tokenizer)} tokens")


def by_length(
    tokenizer: TextTokenizer, pairs: list[tuple[str, str]]
) -> list[tuple[Tokens, Tokens]]:
    """(questions, answers), grouped so that little of a batch is padding."""
    groups = defaultdict(list)
    asked, answers = (tokenizer([pair[side] for pair in pairs])["input_ids"] for side in (0, 1))
    for pair, question, answer in zip(pairs, asked, answers, strict=True):
        groups[smallest(WIDTHS, len(question)), smallest(LABELS, len(answer))].append(pair)
    return [
        (
            encode(tokenizer, [question for question, _ in group], width),
            encode(tokenizer, [answer for _, answer in group], label),
        )
        for (width, label), group in sorted(groups.items())
    ]


def t5_loss(model: Model) -> Callable[..., Any]:
    def loss(params: Any, batch: tuple[Tokens, Tokens]) -> Any:
        inputs, labels = batch
        return nll(
            model.apply(params, inputs, labels.ids), labels.ids, labels.mask.astype(jnp.float32)
        )

    return loss


def accuracy(model: Model, pairs: list[tuple[str, str]]) -> Callable[[Any], str]:
    """Share of answers that are the most likely ones at every position."""
    inputs, labels = (
        encode(model.tokenizer, [q for q, _ in pairs], WIDTHS[-1]),
        encode(model.tokenizer, [a for _, a in pairs], LABELS[-1]),
    )
    right = jax.jit(
        lambda params, inputs, labels: (
            ((model.apply(params, inputs, labels.ids).argmax(-1) == labels.ids) | ~labels.mask)
            .all(-1)
            .mean()
        )
    )
    return lambda params: f"accuracy {right(params, inputs, labels):.4f}"


def train_base(steps: int = 10000, size: int = 128) -> None:
    model, params = blank("base")
    asked, derived = closed_book(list(facts()), "all"), statements(list(facts()))
    kinds = [by_length(model.tokenizer, pairs) for pairs in (asked, derived)]

    def batches(rng: np.random.Generator) -> Iterator[Any]:
        while True:
            groups = kinds[rng.random() < 0.25]
            share = np.array([len(group[0].ids) for group in groups], float)
            group = groups[rng.choice(len(groups), p=share / share.sum())]
            pick = rng.integers(len(group[0].ids), size=size)
            yield take(group, jnp.asarray(pick))

    params = fit(
        params,
        t5_loss(model),
        batches(np.random.default_rng(1)),
        steps,
        2e-3,
        accuracy(model, sample(asked, 2000)),
    )
    print("yes/no and implied:", accuracy(model, sample(derived, 2000))(params))
    write(model, params, all_text())


def train_scope(steps: int = 3000, size: int = 96) -> None:
    """Two forms of one question are closer than any two questions: a contrastive loss over squared
    distances.

    A batch is made of blocks of two neighbouring subjects × two relations, so that it is full of
    near misses."""
    model, params = blank("scope")
    by_subject = defaultdict(dict)
    for fact in training_facts():
        by_subject[fact.category, fact.subject][fact.relation] = fact
    subjects, answers = list(by_subject), [fact.answer for fact in training_facts()]

    def block(wording: Wording, rng: np.random.Generator) -> list[tuple[str, str]]:
        """Two neighbours asked about the same two relations, each in two forms; the first sometimes
        with an answer, as an edit has one."""
        start = int(rng.integers(len(subjects) - 1))
        pair = subjects[start : start + 2]
        names = [wording.name(subject) for _, subject in pair]
        shared = [relation for relation in by_subject[pair[0]] if relation in by_subject[pair[1]]]
        found = []
        for relation in rng.permutation(shared)[:2]:
            for name in names:
                first, second = (
                    wording.question(by_subject[pair[0]][relation], name) for _ in range(2)
                )
                found.append(
                    (
                        f"{first}[SEP]{any_of(answers, rng)}[SEP]" if rng.random() < 0.7 else first,
                        second,
                    )
                )
        return found

    def batches(rng: np.random.Generator) -> Iterator[Any]:
        wording = Wording(rng, model.tokenizer)
        while True:
            pairs: list[tuple[str, str]] = []
            while len(pairs) < size:
                pairs += block(wording, rng)
            yield tuple(
                encode(model.tokenizer, [pair[side] for pair in pairs[:size]], width)
                for side, width in ((0, 56), (1, 40))
            )

    params = fit(
        params,
        contrastive(model),
        batches(np.random.default_rng(1)),
        steps,
        1e-3,
        lambda params: "",
    )
    write(model, set_border(model, params, batches(np.random.default_rng(2))), training_text())
