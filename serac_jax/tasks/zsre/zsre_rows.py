"""zsRE and Natural Questions as TFDS data sets, built from the files of the original's archive.

Under one folder:

    zsre/structured_zeroshot-{split}-new_annotated_final.jsonl   one question a line
    zsre/impl_{split}.json      (optional) for every line, a list of [question, answer, …] that
                                follow from its answer
    zsre/zsre_yn_{split}.txt    (optional) for every line, a yes/no question that states its answer,
                                or an empty line
    nq/{train,validation}.json  (optional) {"questions": […], "answers": […]}

A line of the jsonl file may also carry "hard_negatives": a list of [question, answer] or
[question, answer, "subject" or "relation"], near the question but outside its scope. The third item
says what differs: another subject of the same relation, or another relation of the same subject.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from serac_jax.core.files import read_text
from serac_jax.tasks.row_files import (
    check_text,
    check_texts,
    expect,
    read_json,
    read_json_lines,
)
from serac_jax.text.queries import DataError

SPLITS = ("train", "dev", "test")
ROWS = "structured_zeroshot-{}-new_annotated_final.jsonl"
PAIR = {"question": tfds.features.Text(), "answer": tfds.features.Text()}
# The third item of a hard negative says what differs from the edit, and so what is the same.
NEAR = {"relation": "same_subject", "subject": "same_relation"}


class Zsre(tfds.core.GeneratorBasedBuilder):
    """Rows that can be edited: those with an alternative answer and a rephrasing."""

    VERSION = tfds.core.Version("1.1.1")

    def __init__(self, *, folder: Path, **options: Any):
        self.folder = Path(folder)
        super().__init__(**options)

    def _info(self) -> tfds.core.DatasetInfo:
        text, texts = tfds.features.Text(), tfds.features.Sequence(tfds.features.Text())
        features = {
            "question": text,
            "answer": text,
            "alternatives": texts,
            "rephrasings": texts,
            "implications": tfds.features.Sequence(PAIR),
            "yes_no": text,
            "hard_negatives": tfds.features.Sequence(PAIR | {"kind": text}),
            "source": text,
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        return {
            split: self._generate_examples(split)
            for split in SPLITS
            if (self.folder / ROWS.format(split)).exists()
        }

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        implications, yes_no = (
            read_implications(self.folder / f"impl_{split}.json"),
            read_yes_no(self.folder / f"zsre_yn_{split}.txt"),
        )
        file, kept = self.folder / ROWS.format(split), 0
        for number, row in enumerate(read_rows(file)):
            row |= {"implications": implications.get(number, []), "yes_no": yes_no.get(number, "")}
            if (
                row["alternatives"]
                and row["rephrasings"]
                and "sex" not in row["question"]
                and "gender" not in row["question"]
            ):
                kept += 1
                yield number, row
        if not kept:
            raise DataError(
                f"{file} is empty: no row has both an alternative answer and a rephrasing"
            )


class NaturalQuestions(tfds.core.GeneratorBasedBuilder):
    """Questions with an answer, which serve as queries outside every edit's scope."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, folder: Path, **options: Any):
        self.folder = Path(folder)
        super().__init__(**options)

    def _info(self) -> tfds.core.DatasetInfo:
        features = {"question": tfds.features.Text(), "answer": tfds.features.Text()}
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        return {
            split: self._generate_examples(split)
            for split in ("train", "validation")
            if (self.folder / f"{split}.json").exists()
        }

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, str]]]:
        path = self.folder / f"{split}.json"
        pool = read_json(path)
        questions, answers = (
            expect(pool, field, list, f"{path}") for field in ("questions", "answers")
        )
        if len(questions) != len(answers):
            raise DataError(
                f"{path}: {len(questions)} questions but {len(answers)} answers; the two lists must"
                " pair up"
            )
        for number, (question, answer) in enumerate(zip(questions, answers, strict=True)):
            yield (
                number,
                {
                    "question": check_text(question, f"{path}: questions[{number}]"),
                    "answer": check_text(answer, f"{path}: answers[{number}]"),
                },
            )


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a jsonl file. Raises DataError with file, line and field where one is
    malformed."""
    for where, row in read_json_lines(path):
        question = check_text(expect(row, "input", str, where), f"{where}: field 'input'")
        output = expect(row, "output", list, where)
        if not output:
            raise DataError(f"{where}: field 'output' is empty; expected a list of {{'answer': …}}")
        rephrasings = check_texts(
            expect(row, "filtered_rephrases", list, where),
            f"{where}: field 'filtered_rephrases'",
        )
        yield {
            "question": question,
            "answer": check_text(
                expect(output[0], "answer", str, f"{where}: field 'output[0]'"),
                f"{where}: field 'output[0].answer'",
            ),
            "alternatives": check_texts(
                expect(row, "alternatives", list, where), f"{where}: field 'alternatives'"
            ),
            "rephrasings": [text for text in rephrasings if text != question],
            "hard_negatives": check_negatives(
                row.get("hard_negatives", []), f"{where}: field 'hard_negatives'"
            ),
            "source": where.removeprefix(f"{path.parent}/"),
        }


def read_implications(path: Path) -> dict[int, list[dict[str, str]]]:
    """Implied questions by row number; none where the file does not exist."""
    if not path.exists():
        return {}
    rows = read_json(path)
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected a list with one list of implications a row")
    return {number: check_pairs(row, f"{path}: row {number}") for number, row in enumerate(rows)}


def read_yes_no(path: Path) -> dict[int, str]:
    """Yes/no questions by row number; rows whose line is empty have none.

    Lines end at "\\n" only: a text may contain other separators, such as U+2028.
    """
    if not path.exists():
        return {}
    return {
        number: text.strip()
        for number, text in enumerate(read_text(path).split("\n"))
        if text.strip()
    }


def check_negatives(negatives: Any, where: str) -> list[dict[str, str]]:
    """Hard negatives as dictionaries, with the kind that each one's third item says."""
    pairs = check_pairs(negatives, where)
    return [
        pair | {"kind": NEAR.get(str(negative[2]) if len(negative) > 2 else "", "near")}
        for pair, negative in zip(pairs, negatives, strict=True)
    ]


def check_pairs(pairs: Any, where: str) -> list[dict[str, str]]:
    """[question, answer, …] lists as dictionaries; anything behind the answer is left out."""
    if not isinstance(pairs, list):
        raise DataError(
            f"{where}: expected a list of [question, answer], got {type(pairs).__name__}"
        )
    for index, pair in enumerate(pairs):
        if not isinstance(pair, list) or len(pair) < 2:
            raise DataError(
                f"{where}[{index}]: expected [question, answer], got {str(pair)[:60]!r}"
            )
    return [
        {
            "question": check_text(pair[0], f"{where}[{index}]"),
            "answer": check_text(pair[1], f"{where}[{index}]"),
        }
        for index, pair in enumerate(pairs)
    ]
