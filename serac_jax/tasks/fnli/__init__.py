"""Fact checking on VitaminC."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import grain

from serac_jax.core.batch import EditBatch
from serac_jax.core.fields import Fields
from serac_jax.core.metrics import Score
from serac_jax.core.types import Config
from serac_jax.tasks import archive
from serac_jax.tasks.fnli import fnli_questions
from serac_jax.tasks.kinds import names
from serac_jax.tasks.sampling import batches
from serac_jax.tasks.scores import right_or_wrong
from serac_jax.tasks.task import Needs, Task, limits, widest
from serac_jax.text.encoder import Encoder
from serac_jax.text.queries import Encode
from serac_jax.text.tokenizer import Tokenizer

OUTPUT = "head"
CLASSES = fnli_questions.CLASSES
FIELDS: Fields = {}


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
    fields: dict[str, Any] = limits(config) | {"answer_widths": (1,)}
    encode = Encoder(
        base,
        scope,
        template=template,
        classes=fnli_questions.CLASSES,
        kinds=names(fnli_questions.KINDS),
        **fields,
    )

    def needs(split: str) -> Needs:
        return Needs(locate(), len(fnli_questions.open_rows(locate(), cache, split)))

    def make(split: str, size: int, train: bool, encode: Encode = encode) -> grain.IterDataset:
        rows = fnli_questions.open_rows(locate(), cache, split)
        return batches(
            len(rows),
            fnli_questions.Draw(rows, encode),
            size=size,
            seed=config.seed,
            split=split,
            train=train,
            workers=data.workers if train else 0,
            order=fnli_questions.order(rows, split, size, train),
        )

    return Task(
        kinds=fnli_questions.KINDS,
        splits=lambda: fnli_questions.splits(locate()),
        needs=needs,
        batches=make,
        widest=partial(widest, encode, 1, 1),
        score=right_or_wrong,
        score_answers=nothing_generated,
        encode=encode,
        words=encode.words,
    )


def nothing_generated(answers: dict[str, Any], batch: EditBatch) -> dict[str, Score]:
    """No further scores: the class is the answer."""
    return {}
