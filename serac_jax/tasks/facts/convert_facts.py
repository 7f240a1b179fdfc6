"""Files of published data sets as facts in the interchange form."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.edits import exchange
from serac_jax.tasks.facts.fact_rows import Fact, one_a_prompt
from serac_jax.tasks.facts.published_forms import FORMS, Row
from serac_jax.text.queries import DataError

NAMES = tuple(FORMS)


class Converted(NamedTuple):
    """What was made of some files.

    Attributes:
      facts: One a prompt.
      rows: How many rows were read, by the data set that they were taken for.
      left_out: How many rows and questions were not used, by the reason.
    """

    facts: list[Fact]
    rows: Counter[str]
    left_out: Counter[str]


def convert(paths: Sequence[str | Path], name: str = "") -> Converted:
    """Converts files of one data set.

    Args:
      paths: JSON, JSON lines or, if their name ends with it, CSV.
      name: One of `NAMES`; empty: found out from the fields of each row.

    Raises:
      UserError: A file cannot be read, a row is malformed, or the name is needed.
    """
    facts: list[Fact] = []
    rows, left_out = Counter[str](), Counter[str]()
    for path in paths:
        for where, row in rows_of(Path(path)):
            form = FORMS[name or form_of(row, where)]
            rows[form.name] += 1
            facts += form.facts(row, where, left_out)
    found = one_a_prompt(facts)
    left_out["facts with the prompt of an earlier one and another answer"] = found.dropped
    left_out["facts said before, whose questions went to the first one"] = found.joined
    return Converted(found.facts, rows, +left_out)


def form_of(row: Row, where: str) -> str:
    """The data set whose fields a row has.

    Raises:
      DataError: There is none, or not just one.
    """
    fitting = [form.name for form in FORMS.values() if form.fits(row)]
    if len(fitting) == 1:
        return fitting[0]
    raise DataError(
        f"{where}: the fields {', '.join(sorted(row)):.200} may be of several data sets, or of"
        f" none; name it with --from, one of {', '.join(NAMES)}"
    )


def rows_of(path: Path) -> Iterator[tuple[str, Row]]:
    """The rows of a file, each with its place."""
    content = files.read_text(path)
    if path.suffix.lower() != ".csv":
        yield from exchange.json_rows(content, str(path))
        return
    reader = csv.DictReader(io.StringIO(content, newline=""), strict=True)
    try:
        for row in reader:
            where = f"{path}:{reader.line_num}"
            if None in row or None in row.values():
                raise DataError(f"{where}: expected {len(reader.fieldnames or ())} values")
            yield where, row
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: not CSV ({error})") from error
