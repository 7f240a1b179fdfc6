"""zsRE question answering, plain and hard."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import grain

from serac_jax.core.fields import Field, Fields
from serac_jax.core.types import Config
from serac_jax.tasks import archive
from serac_jax.tasks.kinds import names
from serac_jax.tasks.sampling import batches
from serac_jax.tasks.task import Needs, Task, limits, widest
from serac_jax.tasks.zsre import zsre_questions
from serac_jax.text.encoder import Encoder
from serac_jax.text.queries import Encode
from serac_jax.text.tokenizer import Tokenizer

OUTPUT = ""
CLASSES: tuple[str, ...] = ()
FIELDS: Fields = {
    "implications": Field(False, "zsre: also ask what follows from the new answer"),
    "yes_no": Field(False, 'zsre: also ask "True or False: …"'),
    "natural_questions": Field(False, "zsre: draw out-of-scope queries from Natural Questions"),
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
    options = zsre_questions.Options(
        data.implications, data.yes_no, data.natural_questions, data.hard_negative_rate
    )
    encode = Encoder(
        base,
        scope,
        template=template,
        kinds=names(zsre_questions.KINDS),
        **limits(config),
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
            others=not data.natural_questions,
        )

    return Task(
        kinds=zsre_questions.KINDS,
        splits=lambda: zsre_questions.splits(locate()),
        needs=needs,
        batches=make,
        widest=partial(widest, encode, 1, 1),
        score=zsre_questions.score,
        score_answers=zsre_questions.score_answers,
        encode=encode,
        words=encode.words,
    )
