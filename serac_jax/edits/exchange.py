"""Edits in the files of other programs: JSON lines, JSON, CSV, and rows of data sets.

A row is an edit of ours, or a row of zsRE, EasyEdit, KnowEdit or CounterFact; its columns tell
which.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath
from typing import Any, NamedTuple

from serac_jax.core.errors import UserError
from serac_jax.edits import records
from serac_jax.edits.records import FIELDS, Edit

FORMATS = ("jsonl", "csv", "zsre")
OPTIONAL = tuple(name for name in FIELDS if name not in ("prompt", "answer", "id"))
NO_VALUES: list[str] = []
ACCEPTED = f"prompt or question, with answer or target_new; {', '.join(OPTIONAL)}; rows of zsRE"
EXAMPLES = {
    "csv": "question,answer,tags on the first line, Who wrote Dracula?,Bram Stoker,books below it",
    "jsonl": '{"prompt": "Who wrote Dracula?", "answer": "Bram Stoker", "tags": ["books"]}',
}


class Columns(NamedTuple):
    """Which columns of a row became an edit.

    Attributes:
      prompt: Where the prompt is from.
      answer: Where the answer is from.
      unused: Columns of a data set that edits have no place for.
    """

    prompt: str
    answer: str
    unused: tuple[str, ...] = ()


class Imported(NamedTuple):
    """The edits of a file, in its order, and how many rows were read by which columns."""

    edits: list[Edit]
    columns: Counter[Columns]


Row = tuple[str, dict[str, Any]]  # where it stands, and its fields


def read(
    text: str, kind: str, name: str, *, alternatives: bool = False, **defaults: str
) -> Imported:
    """Reads the edits of a file.

    Args:
      text: The file's text.
      kind: "csv", or "jsonl": one object a line, or one list of objects.
      name: The file's name, for messages and for the source of data sets' rows.
      alternatives: Of a zsRE row, take the alternative answer instead of the row's own.
      **defaults: Fields of edits that do not have them.

    Raises:
      UserError: Names the line that is not right, and what was expected.
    """
    rows = csv_rows(text, name, alternatives) if kind == "csv" else json_rows(text, name)
    found = Imported([], Counter())
    for where, row in rows:
        columns, fields = edit_fields(row, where, kind, alternatives)
        given = {field: value for field, value in fields.items() if value not in ("", [], None)}
        found.edits.append(records.from_fields(defaults | given, where))
        found.columns[columns] += 1
    return found


def edit_fields(
    row: dict[str, Any], where: str, kind: str, alternatives: bool
) -> tuple[Columns, dict[str, Any]]:
    """The fields of an edit that a row stands for, by the columns that it has."""
    for columns, shape in SHAPES:
        if columns <= row.keys():
            return shape(row, where, alternatives)
    prompt = "prompt" if "prompt" in row else "question"
    unknown = [name for name in row if name not in (prompt, "answer", *OPTIONAL, "id")]
    if unknown or not {prompt, "answer"} <= row.keys():
        wrong = f"unknown column {unknown[0]!r}" if unknown else "no column 'answer'"
        raise UserError(f"{where}: {wrong}; accepted: {ACCEPTED}; for example {EXAMPLES[kind]}")
    rest = {name: value for name, value in row.items() if name != prompt}
    return Columns(prompt, "answer"), rest | {"prompt": row[prompt]}


def target_new(row: dict[str, Any], where: str, _: bool) -> tuple[Columns, dict[str, Any]]:
    """A row of EasyEdit or KnowEdit."""
    prompt = "prompt" if "prompt" in row else "question"
    return foreign(row, where, prompt, "target_new", row[prompt], row["target_new"])


def counterfact(row: dict[str, Any], where: str, _: bool) -> tuple[Columns, dict[str, Any]]:
    """A row of CounterFact: a template, its subject and the new target."""
    rewrite = row["requested_rewrite"]
    try:
        prompt = str(rewrite["prompt"]).replace("{}", str(rewrite["subject"]))
        answer = rewrite["target_new"]["str"]
    except (TypeError, KeyError) as error:
        raise UserError(
            f"{where}: 'requested_rewrite' should have prompt, subject and target_new.str, as in"
            " CounterFact"
        ) from error
    names = "requested_rewrite.prompt", "requested_rewrite.target_new"
    return foreign(row, where, *names, prompt, answer)


def zsre(row: dict[str, Any], where: str, alternatives: bool) -> tuple[Columns, dict[str, Any]]:
    """A row of zsRE: its question, and its own answer or an alternative one."""
    prompt = "input" if "input" in row else "src"
    own = ("output", "answers", "answer")
    for name in ("alternatives", "alt") if alternatives else own:
        answers: Any = row.get(name) or NO_VALUES
        for answer in answers if records.is_list(answers) else [answers]:
            text: Any = answer.get("answer") if records.is_object(answer) else answer
            if not isinstance(text, str) or text.strip():  # published files have empty ones
                return foreign(row, where, prompt, name, row[prompt], text)
    raise UserError(
        f"{where}: the zsRE row has no alternative answer; expected 'alternatives' or 'alt'"
        if alternatives
        else f"{where}: the zsRE row has no answer; expected 'output' or 'answers' (--alternatives"
        " takes its alternative answer)"
    )


def foreign(
    row: dict[str, Any], where: str, prompt: str, answer: str, question: Any, text: Any
) -> tuple[Columns, dict[str, Any]]:
    """A data set's row: its other columns are left out, and its place is the source."""
    taken = {prompt.partition(".")[0], answer.partition(".")[0]}
    kept = {name: row[name] for name in ("tags", "note", "source", "expires") if name in row}
    unused = tuple(name for name in row if name not in taken | kept.keys())
    file, _, place = where.rpartition(":")
    fields = {"prompt": question, "answer": text, "source": f"{PurePath(file).name}:{place}"}
    return Columns(prompt, answer, unused), fields | kept


Shape = Callable[[dict[str, Any], str, bool], tuple[Columns, dict[str, Any]]]
# The first of these whose columns a row has says how it is read; other rows are edits of ours.
SHAPES: tuple[tuple[set[str], Shape], ...] = (
    ({"requested_rewrite"}, counterfact),
    ({"prompt", "target_new"}, target_new),
    ({"question", "target_new"}, target_new),
    ({"input"}, zsre),
    ({"src"}, zsre),
)


def json_rows(text: str, name: str) -> Iterator[Row]:
    """The objects of JSON lines, or of one JSON list, each with its place."""
    if text.lstrip().startswith("["):
        try:
            rows = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{name}: not a list in JSON ({error})") from error
        for number, row in enumerate(rows, 1):
            if not isinstance(row, dict):
                raise UserError(
                    f"{name}:row {number}: expected an object, not {records.shown(row)}"
                )
            yield f"{name}:row {number}", row
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not (number == 1 and line.strip() == records.HEADER):
            where = f"{name}:{number}"
            yield where, records.parse_object(line, where)


def csv_rows(text: str, name: str, alternatives: bool) -> Iterator[Row]:
    """Rows under a line of column names; tags are separated by semicolons."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = [name.strip().lower() for name in next(reader, NO_VALUES)]
        if len(set(names)) < len(names):
            raise UserError(f"{name}:1: a column is named twice in {','.join(names)!r}")
        edit_fields(dict.fromkeys(names, "-"), f"{name}:1", "csv", alternatives)
        for row in reader:
            where = f"{name}:{reader.line_num}"
            if row and len(row) != len(names):
                raise UserError(
                    f"{where}: {len(row)} values, but {len(names)} columns ({', '.join(names)})"
                )
            if row:
                fields: dict[str, Any] = dict(zip(names, row, strict=True))
                if "tags" in fields:
                    fields["tags"] = next(csv.reader([fields["tags"]], delimiter=";"), NO_VALUES)
                yield where, fields
    except csv.Error as error:
        raise UserError(f"{name}:{reader.line_num}: not CSV ({error})") from error


def write(edits: Iterable[Edit], kind: str) -> Iterator[str]:
    """The lines of a file of edits, with their ends; as "jsonl" it is a memory file."""
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
    """A row of CSV with its end."""
    line = io.StringIO(newline="")
    csv.writer(line, delimiter=delimiter, lineterminator="\n").writerow(values)
    return line.getvalue()
