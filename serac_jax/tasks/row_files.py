"""Files of rows as they were published: read as JSON, and checked field by field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serac_jax.core.files import read_text
from serac_jax.text.queries import DataError


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises DataError."""
    return parse(read_text(path), f"{path}: not JSON")


def read_json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Yields what each line of a file holds, behind the file and line. Raises DataError.

    Lines end at "\\n" only: a text may contain other separators, such as U+2028.
    """
    lines = read_text(path).split("\n")
    for number, line in enumerate(lines if lines[-1] else lines[:-1], 1):
        where = f"{path}:{number}"
        yield where, parse(line, f"{where}: not a line of JSON")


def parse(text: str, problem: str) -> Any:
    """What JSON says. Raises DataError where it cannot be read: `problem`, and why."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # also of a number of thousands of digits
        raise DataError(f"{problem} ({error!s:.200})") from error


def expect(row: Any, field: str, kind: type, where: str) -> Any:
    if not isinstance(row, dict):
        raise DataError(
            f"{where}: expected an object with a field {field!r}, got {type(row).__name__}"
        )
    if field not in row:
        raise DataError(
            f"{where}: the field {field!r} is missing; it has"
            f" {', '.join(sorted(row)) or 'no fields':.200}"
        )
    if not isinstance(row[field], kind):
        raise DataError(
            f"{where}: field {field!r} should be a {kind.__name__}, not {type(row[field]).__name__}"
            f" ({str(row[field])[:60]!r})"
        )
    return row[field]


def check_text(text: Any, where: str) -> str:
    if not is_text(text) or not text.strip():
        raise DataError(f"{where}: expected a text that is not empty, got {text!r:.60}")
    return text


def is_text(value: Any) -> bool:
    """Whether a value is a text that can be written as UTF-8: one without half a character."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_texts(texts: list[Any], where: str) -> list[str]:
    """The texts that are not empty; real files contain empty ones."""
    for index, text in enumerate(texts):
        if not is_text(text):
            raise DataError(f"{where}[{index}]: expected a text, got {text!r:.60}")
    return [text for text in texts if text.strip()]
