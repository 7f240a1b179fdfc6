"""Tasks: where the batches of an experiment come from, and how its answers are scored."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import grain
from transformers import PreTrainedTokenizerBase

from serac_jax.core.batch import EditBatch
from serac_jax.core.metrics import Score
from serac_jax.core.types import Config
from serac_jax.tasks import archive
from serac_jax.tasks.fnli import fnli_questions
from serac_jax.tasks.sampling import batches
from serac_jax.tasks.scores import right_or_wrong
from serac_jax.tasks.sent import sent_questions
from serac_jax.tasks.zsre import zsre_questions
from serac_jax.text.encoder import Encoder
from serac_jax.text.queries import DataError, Encode


class Needs(NamedTuple):
    """What batches of a split are made of.

    folder, rows: where its files are, and how many rows of them are used.
    embedder: the model by which hard negatives will be found; empty where there is none.
    """

    folder: Path
    rows: int
    embedder: str = ""


class Task(NamedTuple):
    """An experiment's data and scores.

    needs: (split) -> Needs; prepares the split's files, and raises DataError where one is missing
        or malformed.
    batches: (split, size, train) -> batches of `size` edits, endless in training, else every row
        once. A fourth argument gives them in another form: a function of the TextBatch.
    widest: (size, train) -> a batch of padding, as large as any of `batches` can be, made without
        data.
    score: ((inside, outside) logits before, the same after, batch) -> scores, a row each.
    score_answers: (answers of free generation, by "inside_before" etc., batch) -> scores, a row
        each.
    words: an answer's ids as text.
    """

    needs: Callable[[str], Needs]
    batches: Callable[..., grain.IterDataset]
    widest: Callable[[int, bool], EditBatch]
    score: Callable[[Any, Any, EditBatch], dict[str, Score]]
    score_answers: Callable[[dict[str, Any], EditBatch], dict[str, Score]]
    words: Callable[[Any], str]


def build(
    config: Config,
    base: PreTrainedTokenizerBase,
    scope: PreTrainedTokenizerBase | None,
    cache: Path,
) -> Task:
    """The task of a config; `base` and `scope` are the tokenizers that its texts are read by; no
    `scope`, no texts for it."""
    return TASKS[config.task].build(config, base, scope, cache)


def build_zsre(
    config: Config,
    base: PreTrainedTokenizerBase,
    scope: PreTrainedTokenizerBase | None,
    cache: Path,
) -> Task:
    data = config.data
    locate = partial(archive.locate, data.dir, cache)  # may download
    options = zsre_questions.Options(
        data.implications, data.yes_no, data.natural_questions, data.hard_negative_rate
    )
    encode = Encoder(
        base, scope, tuple(data.text_widths), tuple(data.label_widths), **widths(config)
    )

    def needs(split: str) -> Needs:
        return Needs(
            locate(),
            len(zsre_questions.open_rows(locate(), cache, split, options)[0]),
            data.hard_negatives,
        )

    def make(split: str, size: int, train: bool, encode: Encode = encode) -> grain.IterDataset:
        rows, pool = zsre_questions.open_rows(locate(), cache, split, options)
        near = (
            zsre_questions.hard_negatives(rows, pool, data, cache) if data.hard_negatives else None
        )
        draw = zsre_questions.Draw(rows, pool, near, options, encode, train)
        return batches(
            len(rows),
            draw,
            size=size,
            seed=config.seed,
            split=split,
            train=train,
            workers=data.workers if train else 0,
        )

    return Task(
        needs,
        make,
        partial(widest, encode, 1, 1),
        zsre_questions.score,
        zsre_questions.score_answers,
        encode.words,
    )


def build_fnli(
    config: Config,
    base: PreTrainedTokenizerBase,
    scope: PreTrainedTokenizerBase | None,
    cache: Path,
) -> Task:
    data = config.data
    locate = partial(archive.locate, data.dir, cache)  # may download
    encode = Encoder(
        base, scope, tuple(data.text_widths), (1,), classes=fnli_questions.CLASSES, **widths(config)
    )

    def needs(split: str) -> Needs:
        return Needs(locate(), len(fnli_questions.open_rows(locate(), cache, split)))

    def make(split: str, size: int, train: bool, encode: Encode = encode) -> grain.IterDataset:
        rows = fnli_questions.open_rows(locate(), cache, split)
        order, workers = (
            fnli_questions.order(rows, split, size, train),
            (data.workers if train else 0),
        )
        return batches(
            len(rows),
            fnli_questions.Draw(rows, encode),
            size=size,
            seed=config.seed,
            split=split,
            train=train,
            workers=workers,
            order=order,
        )

    def nothing_more(answers: dict[str, Any], batch: EditBatch) -> dict[str, Score]:
        return {}  # a class is not generated

    return Task(
        needs, make, partial(widest, encode, 1, 1), right_or_wrong, nothing_more, encode.words
    )


def build_sent(
    config: Config,
    base: PreTrainedTokenizerBase,
    scope: PreTrainedTokenizerBase | None,
    cache: Path,
) -> Task:
    data = config.data
    locate = partial(archive.locate, data.dir, cache)  # may download
    if data.opinions % data.questions:
        raise DataError(
            f"data.opinions={data.opinions} cannot be divided among"
            f" data.questions={data.questions}; choose a divisor"
        )
    options = sent_questions.Options(
        data.opinions, data.opinions // data.questions, data.hard_negative_rate
    )
    encode = Encoder(
        base,
        scope,
        tuple(data.text_widths),
        tuple(data.label_widths),
        cut_labels=True,
        **widths(config),
    )

    def needs(split: str) -> Needs:
        return Needs(
            locate(), len(sent_questions.open_rows(locate(), cache, split)), data.hard_negatives
        )

    def make(split: str, size: int, train: bool, encode: Encode = encode) -> grain.IterDataset:
        rows = sent_questions.open_rows(locate(), cache, split)
        near = sent_questions.hard_negatives(rows, data, cache) if data.hard_negatives else None
        draw = sent_questions.Draw(rows, near, options, encode, train)
        return batches(
            len(rows),
            draw,
            size=size,
            seed=config.seed,
            split=split,
            train=train,
            workers=data.workers if train else 0,
        )

    return Task(
        needs,
        make,
        partial(widest, encode, options.opinions, options.alike),
        sent_questions.score,
        sent_questions.score_answers,
        encode.words,
    )


def widths(config: Config) -> dict[str, Any]:
    """The fields of an Encoder that all tasks have, but for the two lists that each gives
    itself."""
    of = {
        name: tuple(config.data[name])
        for name in (
            "query_widths",
            "edit_label_widths",
            "context_widths",
            "text_fill",
            "context_fill",
            "label_fill",
        )
    }
    return of | {"pairs": config.serac.cross_attention}


def widest(encode: Encoder, asked: int, alike: int, size: int, train: bool) -> EditBatch:
    """With `asked` in-scope queries an edit, of which in training `alike` share a question;
    evaluation asks out of scope both far from an edit and near it."""
    return encode.widest(size, size * asked, size if train else 2 * size, alike if train else 1)


class Kind(NamedTuple):
    """output: what the base model is read for (`models.load`): "" for answers in words, "head" for
    classes, which are `classes`."""

    output: str
    build: Callable[[Config, PreTrainedTokenizerBase, PreTrainedTokenizerBase | None, Path], Task]
    classes: tuple[str, ...] = ()


TASKS = {
    "zsre": Kind("", build_zsre),
    "fnli": Kind("head", build_fnli, fnli_questions.CLASSES),
    "sent": Kind("", build_sent),
}
