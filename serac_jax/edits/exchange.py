"""Edits in the files of others: JSON lines, CSV, and rows of zsRE."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from serac_jax.core.errors import UserError
from serac_jax.edits import records
from serac_jax.edits.records import FIELDS, Edit

FORMATS = ("jsonl", "csv", "zsre")
NO_VALUES: list[str] = []


def read(text: str, kind: str, name: str, **defaults: str) -> list[Edit]:
    """The edits of a file's text: "csv", or one JSON object a line, which is an edit or a row of
    zsRE. Fields that are empty have the defaults.

    Raises UserError with the line that is not right.
    """
    rows = csv_rows(text, name) if kind == "csv" else json_rows(text, name)
    return [
        records.from_fields(
            defaults | {field: value for field, value in row.items() if value not in ("", [])},
            where,
        )
        for where, row in rows
    ]


def json_rows(text: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        where = f"{name}:{number}"
        if line.strip() and not (number == 1 and line.strip() == records.HEADER):
            fields = records.parse_object(line, where)
            yield where, fields if "prompt" in fields else zsre_fields(fields, where)


def zsre_fields(row: dict[str, Any], where: str) -> dict[str, Any]:
    """A row of zsRE as an edit: its question, and the first alternative answer, which is what it is
    edited to; without one, its own answer."""
    question = row.get("input", row.get("src"))
    if question is None:
        raise UserError(
            f"{where}: expected a field 'prompt' (an edit) or 'input' or 'src' (a row of zsRE); it"
            f" has {', '.join(row) or 'no fields'}"
        )
    for name in ("alternatives", "alt", "output", "answers"):
        answers: Any = row.get(name) or []
        for answer in answers if records.is_list(answers) else [answers]:
            text: Any = answer.get("answer") if records.is_object(answer) else answer
            if not isinstance(text, str) or text.strip():  # real files contain empty ones
                return {"prompt": question, "answer": text, "source": where.rsplit("/", 1)[-1]}
    raise UserError(
        f"{where}: the row has no answer; expected a field 'alternatives', 'alt', 'output' or"
        " 'answers'"
    )


def csv_rows(text: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows under a line of field names; tags are separated by semicolons."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = next(reader, NO_VALUES)
        if not {"prompt", "answer"} <= set(names) or len(set(names)) < len(names):
            raise UserError(
                f"{name}:1: the first line should name the columns, 'prompt' and 'answer' among"
                f" them, each once; it is {','.join(names)!r}"
            )
        for row in reader:
            where = f"{name}:{reader.line_num}"
            if row and len(row) != len(names):
                raise UserError(
                    f"{where}: {len(row)} values, but {len(names)} columns ({', '.join(names)})"
                )
            if row:
                fields = dict(zip(names, row, strict=True))
                yield (
                    where,
                    (
                        fields
                        | {"tags": next(csv.reader([fields["tags"]], delimiter=";"), NO_VALUES)}
                        if "tags" in fields
                        else fields
                    ),
                )
    except csv.Error as error:
        raise UserError(f"{name}:{reader.line_num}: not CSV ({error})") from error


def write(edits: Iterable[Edit], kind: str) -> Iterator[str]:
    """The lines of a file of edits, with their ends. As JSON lines it is a memory file."""
    if kind == "csv":
        yield csv_line(FIELDS)
        for edit in edits:
            yield csv_line(
                [csv_line(value, ";")[:-1] if isinstance(value, tuple) else value for value in edit]
            )
    elif kind == "zsre":
        for edit in edits:
            row = {
                "input": edit.prompt,
                "output": [{"answer": edit.answer}],
                "alternatives": [edit.answer],
                "filtered_rephrases": [],
            }
            yield json.dumps(row, ensure_ascii=False) + "\n"
    else:
        yield records.HEADER + "\n"
        for edit in edits:
            yield records.format(edit) + "\n"


def csv_line(values: Iterable[str], delimiter: str = ",") -> str:
    line = io.StringIO(newline="")
    # a value is quoted only for what ends a line: "\r" has to be part of it, to be read again
    csv.writer(line, delimiter=delimiter, lineterminator="\r\n").writerow(values)
    return line.getvalue().removesuffix("\r\n") + "\n"
