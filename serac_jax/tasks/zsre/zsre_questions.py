"""Question answering on zsRE, plain and hard: what a step edits, and which queries test it.

An edit gives a question a new answer. In scope are the question, its rephrasings and, in the hard
variant, questions implied by the new answer and yes/no forms. Out of scope are other questions with
their true answers. (Mitchell et al. 2022, section 4; De Cao et al. 2021 for the data.)
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from serac_jax.core.batch import EditBatch
from serac_jax.core.metrics import Score, outside_score, whole_answer_right
from serac_jax.core.types import Config
from serac_jax.tasks import archive, neighbours
from serac_jax.tasks.data_files import Rows, prepare
from serac_jax.tasks.kinds import Kind
from serac_jax.tasks.sampling import choose
from serac_jax.tasks.scores import right_or_wrong, right_or_wrong_answers, same_tokens
from serac_jax.tasks.zsre import zsre_rows
from serac_jax.text.queries import DataError, Encode, Query, TextBatch

KINDS = (
    Kind("prompt", True, "the edit's own words"),
    Kind("rephrase", True, "the edit's question in other words"),
    Kind("implied", True, "a question whose answer follows from the new answer"),
    Kind("yes_no", True, "a true-or-false question about the new answer"),
    Kind("unrelated", False, "a question about another row, or from Natural Questions"),
    Kind("same_subject", False, "another question about the edit's subject", "near"),
    Kind("same_relation", False, "the same question about another subject", "near"),
    Kind("near", False, "another question that is near the edit in embedding space", "near"),
)
PROMPTS = ("True or False: ", "True/False: ", "T/F: ", "Answer True or False: ")


@dataclass(frozen=True)
class Row:
    """One question of a split, with everything that can be asked about it."""

    question: str
    answer: str
    alternatives: tuple[str, ...]
    rephrasings: tuple[str, ...]
    implications: tuple[tuple[str, ...], ...]  # question, answer
    yes_no: str
    hard_negatives: tuple[tuple[str, ...], ...]  # question, answer, kind
    source: str


def decode(example: dict[str, Any]) -> Row:
    """A TFDS example, whose texts are bytes, as a Row."""

    def columns(field: str, *names: str) -> tuple[tuple[str, ...], ...]:
        rows = zip(*(example[field][name] for name in names), strict=True)
        return tuple(tuple(text.decode() for text in row) for row in rows)

    return Row(
        question=example["question"].decode(),
        answer=example["answer"].decode(),
        alternatives=tuple(text.decode() for text in example["alternatives"]),
        rephrasings=tuple(text.decode() for text in example["rephrasings"]),
        implications=columns("implications", "question", "answer"),
        yes_no=example["yes_no"].decode(),
        hard_negatives=columns("hard_negatives", "question", "answer", "kind"),
        source=example["source"].decode(),
    )


@dataclass(frozen=True)
class Options:
    """What is drawn.

    implications: also ask what follows from the new answer.
    yes_no: also ask "True or False: …".
    natural_questions: draw questions out of scope from Natural Questions.
    hard_negative_rate: in training, how often a batch's questions out of scope are near its edits.
    """

    implications: bool = False
    yes_no: bool = False
    natural_questions: bool = False
    hard_negative_rate: float = 0.0


class Pool:
    """The questions out of scope among which near ones are searched, by number.

    They are those of Natural Questions, or one form of every row, always the same.
    """

    def __init__(
        self, rows: Rows[Row], questions: Sequence[dict[str, Any]] | None, options: Options
    ):
        self.rows, self.questions, self.options = rows, questions, options

    def __len__(self) -> int:
        return len(self.rows if self.questions is None else self.questions)

    def __getitem__(self, number: int) -> Query:
        if self.questions is not None:
            example = self.questions[number]
            return Query(example["question"].decode(), example["answer"].decode(), "unrelated")
        rng = np.random.default_rng(number)
        return next(
            query
            for _ in itertools.count()
            if (query := draw_fact(self.rows[number], rng, self.options))
        )


class Draw:
    """Turns the rows that a step edits, and a random generator, into its batch.

    near: the questions of `pool` that are hard negatives of each row; None: the rows' own, where
        they have some.
    """

    def __init__(
        self,
        rows: Rows[Row],
        pool: Pool,
        near: neighbours.Neighbours | None,
        options: Options,
        encode: Encode,
        train: bool,
    ):
        self.rows, self.pool, self.near, self.options, self.encode, self.train = (
            rows,
            pool,
            near,
            options,
            encode,
            train,
        )

    def __call__(self, index: np.ndarray, rng: np.random.Generator) -> Any:
        return self.encode(self.texts(index, rng))

    def texts(self, index: np.ndarray, rng: np.random.Generator) -> TextBatch:
        """The batch in words. Negative indices are padding."""
        rows = [self.rows[i] if i >= 0 else None for i in index]
        pairs = [draw_edit(row, rng, self.options) if row else (None, None) for row in rows]
        taken = {
            text for row in rows if row for text in (row.question, *row.rephrasings, row.source)
        }
        hard = [None] * len(rows)
        if not self.train or rng.random() < self.options.hard_negative_rate:
            hard = [
                self.hard_negative(i, row, taken, rng) if row else None
                for i, row in zip(index.tolist(), rows, strict=True)
            ]
        easy = [self.outside(set(index.tolist()), taken, rng) if row else None for row in rows]
        # Evaluation scores both kinds, apart.
        outside = (
            [near or far for near, far in zip(hard, easy, strict=True)]
            if self.train
            else easy + hard
        )
        count = len(index)
        return TextBatch(
            edits=[edit for edit, _ in pairs],
            inside=[query for _, query in pairs],
            edit_of=range(count),
            outside=outside,
            outside_of=[i % count for i in range(len(outside))],
        )

    def hard_negative(
        self, number: int, row: Row, taken: set[str], rng: np.random.Generator
    ) -> Query | None:
        """A question near the edit and outside the scope of the whole batch; None where there is
        none."""
        if self.near is None:
            own = [negative for negative in row.hard_negatives if negative[0] not in taken]
            if not own:
                return None
            question, answer, kind = choose(own, rng)
            return Query(question, answer, kind, row.source)
        numbers, chances = self.near.of(number)
        for _ in range(100):
            query = self.pool[int(rng.choice(numbers, p=chances))]
            if not taken & {query.question, query.source}:
                return query._replace(kind="near")
        return None

    def outside(self, edited: set[int], taken: set[str], rng: np.random.Generator) -> Query:
        """A question of another row, or of Natural Questions, in one of the forms that are in use,
        with its true answer."""
        for _ in range(100):
            if self.options.natural_questions:
                query = self.pool[int(rng.integers(len(self.pool)))]
            else:
                number = int(rng.integers(len(self.rows)))
                if number in edited:
                    continue
                query = draw_fact(self.rows[number], rng, self.options)
            if query is not None and query.question not in taken:
                return query
        raise DataError(
            "found no question outside the batch's edits in 100 draws; lower train.edits or"
            " eval.edits, or add rows"
        )


def draw_edit(row: Row, rng: np.random.Generator, options: Options) -> tuple[Query, Query]:
    """A new answer for the row's question, and a query that is answered by it."""
    label = choose(row.alternatives, rng)
    queries = [
        Query(row.question, label, "prompt", row.source),
        Query(choose(row.rephrasings, rng), label, "rephrase", row.source),
    ]
    about = (
        [pair for pair in row.implications if mentions(pair[0], row.answer)]
        if options.implications
        else []
    )
    if about:
        question, answer = choose(about, rng)
        queries.append(Query(rename(question, row.answer, label), answer, "implied", row.source))
    if options.yes_no and mentions(row.yes_no, row.answer):
        others = [other for other in row.alternatives if other != label]
        true = not others or rng.random() < 0.5
        statement = rename(
            row.yes_no.replace(" - ", "-"), row.answer, label if true else choose(others, rng)
        )
        queries.append(
            Query(prompted(statement, rng), "True" if true else "False", "yes_no", row.source)
        )
    return queries[0], choose(queries, rng)


def draw_fact(row: Row, rng: np.random.Generator, options: Options) -> Query | None:
    """One form of the row's question, each equally often, with its true answer.

    None where the row lacks the form that was drawn.
    """
    forms = (
        ["prompt", "rephrase"] + ["implied"] * options.implications + ["yes_no"] * options.yes_no
    )
    form = choose(forms, rng)
    question, answer = row.question, row.answer
    if form == "rephrase":
        question = choose(row.rephrasings, rng)
    elif form == "implied":
        question, answer = choose(row.implications, rng) if row.implications else ("", "")
    elif form == "yes_no":
        question, answer = (prompted(row.yes_no, rng) if row.yes_no else ""), "True"
    return Query(question, answer, "unrelated", row.source) if question else None


def mentions(text: str, answer: str) -> bool:
    return re.search(re.escape(answer), text, re.IGNORECASE) is not None


def rename(text: str, answer: str, label: str) -> str:
    """The text with the answer replaced, ignoring case."""
    return re.sub(re.escape(answer), lambda _: label, text, flags=re.IGNORECASE)


def prompted(statement: str, rng: np.random.Generator) -> str:
    """A yes/no question after one of the original's prompts, half of the time in lower case."""
    prompt = choose(PROMPTS, rng)
    return (prompt.lower() if rng.random() < 0.5 else prompt) + statement


def score(before: tuple[Any, Any], after: tuple[Any, Any], batch: EditBatch) -> dict[str, Score]:
    """Scores of a batch under teacher forcing, a value per question (see `right_or_wrong`).

    base_accuracy: 1 where the unedited model gives the true answer, out of scope.
    """
    outside = batch.outside
    accuracy = whole_answer_right(before[1], outside.labels, outside.weight)
    return right_or_wrong(before, after, batch) | {"base_accuracy": outside_score(batch, accuracy)}


def score_answers(answers: dict[str, Any], batch: EditBatch) -> dict[str, Score]:
    """Scores of generated answers (see `right_or_wrong_answers`).

    base_accuracy_generated: 1 where the unedited model gives the true answer, out of scope.
    """
    known = same_tokens(answers["outside_before"], batch.outside.labels)
    return right_or_wrong_answers(answers, batch) | {
        "base_accuracy_generated": outside_score(batch, known)
    }


def splits(folder: Path) -> list[str]:
    """The splits that have a file."""
    base = folder / "zsre"
    return [name for name in zsre_rows.SPLITS if (base / zsre_rows.ROWS.format(name)).exists()]


def open_rows(folder: Path, cache: Path, split: str, options: Options) -> tuple[Rows[Row], Pool]:
    """The rows of a split and the pool of questions outside their scope. Raises DataError where
    something is missing."""
    base = folder / "zsre"
    if split not in splits(folder):
        raise DataError(
            f"{base} has no split {split!r} ({zsre_rows.ROWS.format(split)}); it has"
            f" {', '.join(splits(folder)) or 'none'}"
        )
    for wanted, name in (
        (options.implications, f"impl_{split}.json"),
        (options.yes_no, f"zsre_yn_{split}.txt"),
    ):
        if wanted and not (base / name).exists():
            raise DataError(
                f"{base / name} is missing; it is needed for data.implications or data.yes_no (see"
                f" {archive.LINK})"
            )
    source = prepare(zsre_rows.Zsre, base, cache).as_data_source(split)
    rows, questions = Rows(source, decode), None
    if options.natural_questions:
        name = "train" if split == "train" else "validation"
        if not (folder / "nq" / f"{name}.json").exists():
            raise DataError(
                f"{folder / 'nq' / name}.json is missing; it is needed for data.natural_questions"
            )
        questions = prepare(zsre_rows.NaturalQuestions, folder / "nq", cache).as_data_source(name)
    return rows, Pool(rows, questions, options)


def hard_negatives(rows: Rows[Row], pool: Pool, data: Config, cache: Path) -> neighbours.Neighbours:
    """The questions of `pool` that lie near each row's question, as the config section `data` says;
    computed once."""
    return neighbours.find(
        data.hard_negatives,
        [
            rows[i].question
            for i in tqdm(range(len(rows)), desc="reading questions", leave=False, delay=2)
        ],
        [
            pool[i].question
            for i in tqdm(
                range(len(pool)), desc="reading questions out of scope", leave=False, delay=2
            )
        ],
        count=data.hard_negative_neighbors,
        exclude=data.hard_negative_exclude,
        temperature=data.hard_negative_temperature,
        cache=cache,
    )
