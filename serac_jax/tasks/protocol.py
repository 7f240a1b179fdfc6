"""Tasks: where the batches of an experiment come from, and how its answers are scored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import grain
from transformers import PreTrainedTokenizerBase

from serac_jax.core.batch import EditBatch
from serac_jax.core.fields import Fields
from serac_jax.core.metrics import Score
from serac_jax.core.types import Config
from serac_jax.text.encoder import Encoder


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


class TaskFolder(Protocol):
    """What the folder of a task provides.

    FIELDS: its fields of the config section "data".
    OUTPUT: what the base model is read for (`models.load`): "" for answers in words, "head" for
        classes.
    CLASSES: the classes, in the order of their logits; empty for answers in words.
    build: (config, tokenizers of the base model and of the scope classifier or None, cache).
    """

    @property
    def FIELDS(self) -> Fields: ...  # noqa: N802 a constant of the module

    @property
    def OUTPUT(self) -> str: ...  # noqa: N802

    @property
    def CLASSES(self) -> tuple[str, ...]: ...  # noqa: N802

    def build(
        self,
        config: Config,
        base: PreTrainedTokenizerBase,
        scope: PreTrainedTokenizerBase | None,
        cache: Path,
    ) -> Task: ...
