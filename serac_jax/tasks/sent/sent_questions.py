"""Sentiment editing on ConvSent: what a step edits, and which opinions test it.

An edit is "Topic: X" → "Sentiment: Positive" or "Sentiment: Negative". In scope are questions about
X with opinions of both sentiments: those of the edit's sentiment should become likelier than the
others. Out of scope are the topics of other rows (Mitchell et al. 2022, section 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from serac_jax.core.batch import EditBatch
from serac_jax.core.losses import token_log_probs
from serac_jax.core.metrics import Score, mean_kl, outside_score
from serac_jax.core.types import Config
from serac_jax.tasks import neighbours
from serac_jax.tasks.data_files import Rows, prepare
from serac_jax.tasks.kinds import Kind
from serac_jax.tasks.sampling import choose
from serac_jax.tasks.sent import sent_rows
from serac_jax.text.queries import DataError, Encode, Query, TextBatch

OPINION, UNRELATED, NEAR = KINDS = (
    Kind("opinion", True, "a question about the edit's topic", one_answer=False),
    Kind("unrelated", False, "the topic of another row"),
    Kind("near", False, "a topic that is near the edit's in embedding space", "near"),
)
NOUNS = (
    "opinion of,stance on,position on,attitude about,view on,take on,impression of,assessment"
    " of,judgment of,sentiment of".split(",")
)
QUESTIONS = (
    "What do you think of {}?",
    "What do you feel about {}?",
    "How do you view {}?",
    *(f"What is your {noun} {{}}?" for noun in NOUNS),
)


@dataclass(frozen=True)
class Row:
    """A topic and what is said about it."""

    topic: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    source: str


def decode(example: dict[str, Any]) -> Row:
    """A TFDS example, whose texts are bytes, as a Row."""
    positive, negative = (
        tuple(text.decode() for text in example[field]) for field in ("positive", "negative")
    )
    return Row(example["topic"].decode(), positive, negative, example["source"].decode())


@dataclass(frozen=True)
class Options:
    """What is drawn.

    opinions: in-scope rows per edit: a part of longer lists, padding behind shorter ones.
    alike: in training, so many opinions in a row answer one question, which is read once; divides
        `opinions`.
    hard_negative_rate: in training, how often a batch's out-of-scope topics are near its edits.
    """

    opinions: int
    alike: int = 1
    hard_negative_rate: float = 0.0


class Draw:
    """Turns the rows that a step edits, and a random generator, into its batch.

    near: the rows that are hard negatives of each row; None: there are none.
    """

    def __init__(
        self,
        rows: Rows[Row],
        near: neighbours.Neighbours | None,
        options: Options,
        encode: Encode,
        train: bool,
    ):
        self.rows, self.near, self.options, self.encode, self.train = (
            rows,
            near,
            options,
            encode,
            train,
        )

    def __call__(self, index: np.ndarray, rng: np.random.Generator) -> Any:
        return self.encode(self.texts(index, rng))

    def texts(self, index: np.ndarray, rng: np.random.Generator) -> TextBatch:
        """The batch in words. Negative indices are padding."""
        rows, count = [self.rows[i] if i >= 0 else None for i in index], len(index)
        edits = [draw_edit(row, rng) if row else None for row in rows]
        inside: list[Query | None] = []
        alike = self.options.alike if self.train else 1
        for row, edit in zip(rows, edits, strict=True):
            asked = (
                draw_opinions(row, edit, self.options.opinions, rng, alike) if row and edit else []
            )
            inside += [*asked, *[None] * (self.options.opinions - len(asked))]
        edited = {row.topic.lower() for row in rows if row}
        hard: list[Query | None] = [None] * count
        if self.near and (not self.train or rng.random() < self.options.hard_negative_rate):
            hard = [
                self.hard_negative(self.near, i, edited, rng) if i >= 0 else None
                for i in index.tolist()
            ]
        easy = [self.outside(edited, rng) if row else None for row in rows]
        # Evaluation scores both kinds, apart.
        outside = (
            [near or far for near, far in zip(hard, easy, strict=True)]
            if self.train
            else easy + hard
            if self.near
            else easy
        )
        return TextBatch(
            edits=edits,
            inside=inside,
            edit_of=[edit for edit in range(count) for _ in range(self.options.opinions)],
            outside=outside,
            outside_of=[i % count for i in range(len(outside))],
            alike=alike,
        )

    def hard_negative(
        self, near: neighbours.Neighbours, number: int, edited: set[str], rng: np.random.Generator
    ) -> Query | None:
        """A topic near the edit's; None where only edited ones were found."""
        numbers, chances = near.of(number)
        for _ in range(100):
            row = self.rows[int(rng.choice(numbers, p=chances))]
            if row.topic.lower() not in edited:
                return draw_edit(row, rng)._replace(kind=NEAR.name)
        return None

    def outside(self, edited: set[str], rng: np.random.Generator) -> Query:
        """A topic that the batch does not edit, with one of the two sentiments."""
        for _ in range(100):
            row = self.rows[int(rng.integers(len(self.rows)))]
            if row.topic.lower() not in edited:
                return draw_edit(row, rng)
        raise DataError(
            "found no topic outside the batch's edits in 100 draws; lower train.edits or"
            " eval.edits, or add rows"
        )


def draw_edit(row: Row, rng: np.random.Generator) -> Query:
    """A sentiment for the row's topic: an edit, or a query outside the scope of others."""
    return Query(
        f"Topic: {row.topic}",
        f"Sentiment: {choose(('Positive', 'Negative'), rng)}",
        UNRELATED.name,
        row.source,
    )


def draw_opinions(
    row: Row, edit: Query, limit: int, rng: np.random.Generator, alike: int = 1
) -> list[Query]:
    """Questions before every opinion, or before `limit` of them, in the proportion of the two kinds
    but at least one that is wanted.

    `alike` opinions in a row answer the same question.
    """
    kinds = (
        [(row.positive, True), (row.negative, False)]
        if edit.answer.endswith("Positive")
        else [(row.negative, True), (row.positive, False)]
    )
    total = sum(len(opinions) for opinions, _ in kinds)
    limit = min(limit, total)
    wanted = max(1, round(limit * len(kinds[0][0]) / total))
    queries = []
    for (opinions, liked), count in zip(kinds, (wanted, limit - wanted), strict=True):
        for number in sorted(rng.permutation(len(opinions))[:count]):
            question = (
                queries[-1].question
                if len(queries) % alike
                else choose(QUESTIONS, rng).format(row.topic)
            )
            queries.append(Query(question, opinions[number], OPINION.name, row.source, liked))
    return queries


def score(before: tuple[Any, Any], after: tuple[Any, Any], batch: EditBatch) -> dict[str, Score]:
    """Scores of a batch: a value per edit in scope, a value per query out of scope.

    Args:
      before: logits of the queries in scope and out of scope before the edits.
      after: the same after the edits.
      batch: the edits and queries.

    Returns:
      edit_success: sentiment · topic (Mitchell et al. 2022, section 4.2).
      sentiment: σ(mean log p of wanted − of unwanted answers) after the edit.
      topic: how much of the likelihood of wanted answers is left, at most 1.
      drawdown: KL(before ‖ after).
    """
    inside, outside = batch.inside, batch.outside
    log_before, log_after = (
        token_log_probs(logits[0], inside.labels) for logits in (before, after)
    )
    wanted, unwanted = (
        inside.weight * flag[:, None].astype(inside.weight.dtype)
        for flag in (batch.wanted, ~batch.wanted)
    )
    liked, found = mean_of_edits(log_after, wanted, batch)
    disliked, found_other = mean_of_edits(log_after, unwanted, batch)
    liked_before, _ = mean_of_edits(log_before, wanted, batch)
    sentiment, topic, both = (
        jax.nn.sigmoid(liked - disliked),
        jnp.minimum(1.0, jnp.exp(liked - liked_before)),
        found * found_other,
    )
    edit = jnp.arange(len(found))
    kind = jnp.full_like(edit, KINDS.index(OPINION))
    return {
        "edit_success": Score(sentiment * topic, both, kind, edit),
        "sentiment": Score(sentiment, both, kind, edit),
        "topic": Score(topic, found, kind, edit),
        "drawdown": outside_score(batch, mean_kl(before[1], after[1], outside.weight)),
    }


def mean_of_edits(
    values: Float[Array, "b t"], weight: Float[Array, "b t"], batch: EditBatch
) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    """The mean over the labelled positions of each edit's queries, and 1 for edits that have some,
    else 0."""

    def summed(rows: Float[Array, " b"]) -> Float[Array, " k"]:
        return jax.ops.segment_sum(rows, batch.edit_of, num_segments=batch.edits.labels.shape[0])

    total = summed(weight.sum(-1))
    return summed((values * weight).sum(-1)) / jnp.where(total > 0, total, 1.0), (total > 0).astype(
        jnp.float32
    )


def score_answers(answers: dict[str, Any], batch: EditBatch) -> dict[str, Score]:
    """Whether generated answers (token ids "n t") changed out of scope. In scope, no single answer
    is the right one."""
    moved = (answers["outside_before"] != answers["outside_after"]).any(-1)
    return {"drawdown_generated": outside_score(batch, moved.astype(np.float32))}


def splits(folder: Path) -> list[str]:
    """The splits that have a file."""
    base = folder / "sentiment"
    return [name for name in sent_rows.SPLITS if (base / sent_rows.ROWS.format(name)).exists()]


def open_rows(folder: Path, cache: Path, split: str) -> Rows[Row]:
    """The rows of a split. Raises DataError where it is missing."""
    base = folder / "sentiment"
    if split not in splits(folder):
        raise DataError(
            f"{base} has no split {split!r} ({sent_rows.ROWS.format(split)}); it has"
            f" {', '.join(splits(folder)) or 'none'}"
        )
    return Rows(prepare(sent_rows.ConvSent, base, cache).as_data_source(split), decode)


def hard_negatives(rows: Rows[Row], data: Config, cache: Path) -> neighbours.Neighbours:
    """The rows whose topics lie near each row's, as the config section `data` says; computed
    once."""
    topics = [rows[i].topic for i in range(len(rows))]
    bounds = {
        "count": data.hard_negative_neighbors,
        "exclude": data.hard_negative_exclude,
        "temperature": data.hard_negative_temperature,
    }
    return neighbours.find(data.hard_negatives, topics, topics, cache=cache, **bounds)
