"""The task of facts: batches of edits, each with a question in its scope and one outside."""

from __future__ import annotations

import functools
from pathlib import Path

import grain

from serac_jax.core.fields import BELOW_ONE, Field, Fields, some_of
from serac_jax.core.types import Config
from serac_jax.tasks import archive
from serac_jax.tasks.facts import fact_sources
from serac_jax.tasks.facts.fact_draw import Draw, Pool
from serac_jax.tasks.facts.fact_kinds import BY_NAME, KINDS
from serac_jax.tasks.kinds import names
from serac_jax.tasks.sampling import batches
from serac_jax.tasks.scores import right_or_wrong, right_or_wrong_answers
from serac_jax.tasks.task import Needs, Task, limits
from serac_jax.text.encoder import Encoder
from serac_jax.text.queries import Encode
from serac_jax.text.tokenizer import Tokenizer

OUTPUT = ""
CLASSES: tuple[str, ...] = ()
FIELDS: Fields = {
    "dev_share": Field(
        0.1,
        "facts: in rows that no split is named for, the share of subjects whose rows are 'dev'",
        BELOW_ONE,
    ),
    "held_out_kinds": Field(
        (),
        "facts: kinds of questions that training does not ask, such as ('hop2',)",
        some_of(*BY_NAME),
    ),
}


def build(
    config: Config,
    base: Tokenizer,
    scope: Tokenizer | None,
    cache: Path,
    template: str = "plain",
) -> Task:
    """The task of a config. `data.dir` holds rows in facts/ or public files
    (`fact_sources.SOURCES`), or is "mini": the shipped world alone."""
    data = config.data
    held_out = tuple(data.held_out_kinds)
    encode = Encoder(
        base, scope, template=template, kinds=names(KINDS), cut_labels=True, **limits(config)
    )

    def folder() -> Path | None:
        return None if data.dir == "mini" else archive.locate(data.dir, cache)  # may download

    @functools.cache
    def pool(split: str) -> Pool:
        return open_pool(folder(), data.dev_share, split)

    def make(split: str, size: int, train: bool, encode: Encode = encode) -> grain.IterDataset:
        rows = pool(split)
        return batches(
            len(rows),
            Draw(rows, encode, train, held_out if train else ()),
            size=size,
            seed=config.seed,
            split=split,
            train=train,
            workers=data.workers if train else 0,
            order=functools.partial(rows.order, size) if train else None,
        )

    return Task(
        kinds=KINDS,
        splits=lambda: fact_sources.splits(folder()),
        needs=lambda split: Needs(folder() or archive.SHIPPED, len(pool(split))),
        batches=make,
        widest=lambda size, train: encode.widest(size, size, size, 1),
        score=right_or_wrong,
        score_answers=right_or_wrong_answers,
        encode=encode,
        words=encode.words,
    )


def open_pool(folder: Path | None, dev_share: float, split: str) -> Pool:
    """The facts of a split."""
    found = fact_sources.facts(folder, split, dev_share)
    return Pool(found, fact_sources.unrelated(folder, split))
