"""Questions known to be in or out of scope, to fit and measure a threshold on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.core.trial import Rows as Rows
from serac_jax.core.trial import Trial as Trial
from serac_jax.core.types import Config
from serac_jax.runtime import program
from serac_jax.serving.parts import Parts
from serac_jax.text.queries import Query, TextBatch
from serac_jax.training.registry import TASKS

FIELDS = ("edits", "inside", "outside")  # of a line of a file


def of_batch(batch: TextBatch) -> Trial:
    inside = {query.question: query.kind for query in batch.inside if query}
    edits = [query for query in batch.edits if query]
    drawn = {
        query.question: (row_of(query), row_of(batch.edits[of]), query.kind)
        for query, of in zip(batch.outside, batch.outside_of, strict=True)
        if query
    }
    rows = Rows(
        tuple(map(row_of, edits)),
        tuple(own for own, _, _ in drawn.values()),
        tuple(beside for _, beside, _ in drawn.values()),
    )
    return Trial(
        tuple((query.question, query.answer) for query in edits),
        tuple(inside),
        tuple(drawn),
        rows,
        tuple(inside.values()),
        tuple(kind for _, _, kind in drawn.values()),
    )


def row_of(query: Query | None) -> str:
    """The data row of a query; a query without one is a row of its own."""
    return (query.source or query.question) if query else ""


def of_config(config: Config, parts: Parts, split: str, edits: int, rounds: int) -> Iterator[Trial]:
    """Trials of an experiment, `edits` at a time. Each round uses every row of the split once, and
    draws other answers and questions."""
    cache = program.cache_folder(config)
    for number in range(rounds):
        drawn = config.copy_and_resolve_references().unlock()
        drawn.seed = config.seed + number
        yield from (
            TASKS[config.task]
            .build(drawn, parts.tokenizer, None, cache)
            .batches(split, edits, False, of_batch)
        )


def of_file(file: Path) -> list[Trial]:
    """Trials of a file of JSON lines: {"edits": [[prompt, answer], …], "inside": [question, …],
    "outside": [question, …]}.

    Raises:
      UserError: The file cannot be read, or a line, which is named, is not a trial.
    """
    return [
        parsed(line, f"{file}:{number}")
        for number, line in enumerate(files.read_text(file).split("\n"), 1)
        if line.strip()
    ]


def parsed(line: str, where: str) -> Trial:
    try:
        read: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: not a line of JSON ({error})") from error
    fields = cast(dict[str, Any], read if isinstance(read, dict) else {})
    if fields.keys() != set(FIELDS):
        raise UserError(f"{where}: expected an object with {', '.join(FIELDS)}")
    if (
        not all(isinstance(value, list) for value in fields.values())
        or not pairs(fields["edits"])
        or not texts([*fields["inside"], *fields["outside"]])
    ):
        raise UserError(
            f"{where}: 'edits' should be a list of [prompt, answer], 'inside' and 'outside' lists"
            " of questions"
        )
    return Trial(
        tuple((prompt, answer) for prompt, answer in fields["edits"]),
        tuple(fields["inside"]),
        tuple(fields["outside"]),
    )


def pairs(values: Iterable[Any]) -> bool:
    return all(
        isinstance(pair, list) and len(two := cast(list[Any], pair)) == 2 and texts(two)
        for pair in values
    )


def texts(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) for value in values)
