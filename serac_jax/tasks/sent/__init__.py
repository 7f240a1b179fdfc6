"""ConvSent: the sentiment of a dialogue model on a topic."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import grain

from serac_jax.core.fields import COUNT, Field, Fields
from serac_jax.core.types import Config
from serac_jax.tasks import archive
from serac_jax.tasks.kinds import names
from serac_jax.tasks.sampling import batches
from serac_jax.tasks.sent import sent_questions
from serac_jax.tasks.task import Needs, Task, limits, widest
from serac_jax.text.encoder import Encoder
from serac_jax.text.queries import DataError, Encode
from serac_jax.text.tokenizer import Tokenizer

OUTPUT = ""
CLASSES: tuple[str, ...] = ()
FIELDS: Fields = {
    "opinions": Field(
        20, "sent: in-scope queries per edit; a part of longer lists is drawn", COUNT
    ),
    "questions": Field(
        2,
        "sent: in training, different questions before an edit's opinions; divides data.opinions",
        COUNT,
    ),
}


def build(
    config: Config,
    base: Tokenizer,
    scope: Tokenizer | None,
    cache: Path,
    template: str = "plain",
) -> Task:
    """The task of a config; no `scope`, no texts for it."""
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
        template=template,
        cut_labels=True,
        kinds=names(sent_questions.KINDS),
        **limits(config),
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
        kinds=sent_questions.KINDS,
        splits=lambda: sent_questions.splits(locate()),
        needs=needs,
        batches=make,
        widest=partial(widest, encode, options.opinions, options.alike),
        score=sent_questions.score,
        score_answers=sent_questions.score_answers,
        encode=encode,
        words=encode.words,
    )
