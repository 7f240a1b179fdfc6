"""The protocol of a task: where an experiment's batches come from and how answers are scored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import grain

from serac_jax.core.batch import EditBatch
from serac_jax.core.fields import Fields
from serac_jax.core.metrics import Score
from serac_jax.core.types import Config
from serac_jax.tasks.kinds import Kind
from serac_jax.text.encoder import Encoder
from serac_jax.text.tokenizer import Tokenizer


class Needs(NamedTuple):
    """What the batches of a split are made of.

    Attributes:
        folder: where its files are.
        rows: how many of their rows are used.
        embedder: the model that finds hard negatives; empty where none is needed.
    """

    folder: Path
    rows: int
    embedder: str = ""


class Task(NamedTuple):
    """An experiment's data and scores.

    Attributes:
        kinds: the kinds of questions, in the order of `EditBatch.inside_kind` and `outside_kind`.
        splits: () -> the names of the splits that have a file, in their usual order.
        needs: (split) -> Needs. Prepares the split's files; raises DataError where one is missing
            or malformed.
        batches: (split, size, train, encode) -> batches of `size` edits, without end in training,
            else every row once. `encode`, by default the task's own, turns a TextBatch into a
            batch.
        widest: (size, train) -> a batch of padding, as large as any of `batches`, made without
            data.
        score: (logits (inside, outside) before, the same after, batch) -> scores under teacher
            forcing.
        score_answers: (generated answers by "inside_before" etc., batch) -> scores of generation.
        encode: TextBatch -> EditBatch, padded to the limits of texts.
        words: an answer's ids -> text.
    """

    kinds: tuple[Kind, ...]
    splits: Callable[[], list[str]]
    needs: Callable[[str], Needs]
    batches: Callable[..., grain.IterDataset]
    widest: Callable[[int, bool], EditBatch]
    score: Callable[[Any, Any, EditBatch], dict[str, Score]]
    score_answers: Callable[[dict[str, Any], EditBatch], dict[str, Score]]
    encode: Encoder
    words: Callable[[Any], str]


def limits(config: Config) -> dict[str, Any]:
    """The fields of an Encoder that all tasks have."""
    data = config.data
    return {
        "question_widths": (data.question_tokens,),
        "answer_widths": (data.answer_tokens,),
        "edit_label_limit": data.edit_answer_tokens,
        "pairs": config.serac.cross_attention,
    }


def widest(encode: Encoder, asked: int, alike: int, size: int, train: bool) -> EditBatch:
    """A batch of padding with `asked` in-scope queries per edit, of which in training `alike` share
    a question. Evaluation asks two questions out of scope per edit: a far one and a near one."""
    return encode.widest(size, size * asked, size if train else 2 * size, alike if train else 1)


@runtime_checkable
class TaskFolder(Protocol):
    """What the folder of a task provides.

    FIELDS: its fields of the config section "data".
    OUTPUT: what the base model is read for (`models.load`): "" for answers in words, "head" for
        classes.
    CLASSES: the classes, in the order of their logits; empty for answers in words.
    build: (config, tokenizers of the base model and of the scope classifier or None, cache,
        template of the base model).
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
        base: Tokenizer,
        scope: Tokenizer | None,
        cache: Path,
        template: str = "plain",
    ) -> Task: ...
