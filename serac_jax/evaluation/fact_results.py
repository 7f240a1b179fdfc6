"""The results of an evaluation by kinds: results.json, and the table that is printed.

results.json is an object with

    scores      {edits: {kind: estimate}}: with so many edits held ("10", "all"), the share of right
                answers, {"mean", "low", "high", "n"}: over n questions, with the 95% bootstrap
                interval over edits
    protocols   {"wild": as scores}: the same answers, scored as others do (`protocols`)
    left_out    {edits: {kind: questions}} out of scope that were not asked, as another held edit
                speaks to them
    kinds       [{"name", "inside", "meaning"}]
    facts       how many facts there were
    settings    what was evaluated: editor, data, kinds, limit, seed
    seconds     how long it took, since it was last started
    command, versions
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from serac_jax.evaluation.estimates import Values, estimate_values
from serac_jax.evaluation.fact_asking import Line
from serac_jax.evaluation.fact_plan import Plan
from serac_jax.evaluation.protocols import wild_right, wild_text
from serac_jax.tasks.facts.fact_kinds import BY_NAME, KINDS

RESAMPLES = 1000
Scores = dict[str, dict[str, dict[str, Any]]]


def right_in_the_wild(line: Line) -> bool:
    """Whether an answer is right by `protocols.wild_right`."""
    if not BY_NAME[line["kind"]].inside:
        return wild_text(line["after"] or "") == wild_text(line["before"] or "")
    wanted = line["wanted"]
    return wild_right(line["after"] or "", [wanted] if isinstance(wanted, str) else wanted)


def scores(
    lines: Iterable[Line],
    numbers: Sequence[str],
    seed: int,
    is_right: Callable[[Line], bool] = lambda line: line["right"],
) -> Scores:
    """Estimates by number of edits and kind, in this order."""
    rows: dict[tuple[str, str], list[tuple[int, bool]]] = {}
    for line in lines:
        key = line["edits"], line["kind"]
        rows.setdefault(key, []).append((line["fact"]["index"], is_right(line)))
    return {
        number: {
            kind: share(rows[number, kind], seed) for kind in BY_NAME if (number, kind) in rows
        }
        for number in numbers
        if any(number == key[0] for key in rows)
    }


def share(rows: Sequence[tuple[int, bool]], seed: int) -> dict[str, Any]:
    """The share of right answers; those of one edit are resampled together."""
    facts, right = (np.array(column) for column in zip(*rows, strict=True))
    values = Values(right.astype(np.float64), np.ones(len(rows)), None, facts)
    found = estimate_values(values, RESAMPLES, seed)
    assert found
    return found._asdict()


def results(
    lines: Sequence[Line],
    plan: Plan,
    numbers: Sequence[str],
    *,
    facts: int,
    settings: dict[str, Any],
    seconds: float,
    command: str,
    versions: dict[str, Any],
) -> dict[str, Any]:
    """The content of results.json."""
    return {
        "scores": scores(lines, numbers, settings["seed"]),
        "protocols": {"wild": scores(lines, numbers, settings["seed"], right_in_the_wild)},
        "left_out": {number: dict(counts) for number, counts in plan.left_out.items()},
        "kinds": [
            {"name": kind.name, "inside": kind.inside, "meaning": kind.meaning} for kind in KINDS
        ],
        "facts": facts,
        "settings": settings,
        "seconds": round(seconds, 3),
        "command": command,
        "versions": versions,
    }


def table(found: dict[str, Any]) -> str:
    """Scores as lines of text: a line a kind, a column a number of edits."""
    numbers, by_number = list(found["scores"]), found["scores"]
    lines = ["share of right answers, with so many edits held (95% interval over edits)", ""]
    lines.append(f"{'':<17}" + "".join(f"{number:<26}" for number in numbers))
    for inside, title in ((True, "in scope"), (False, "out of scope: answers as before")):
        shown = [
            name
            for name, kind in BY_NAME.items()
            if kind.inside == inside and any(name in by_number[number] for number in numbers)
        ]
        lines += [title] * bool(shown)
        lines += [
            f"  {name:<15}" + "".join(f"{cell(by_number[n].get(name)):<26}" for n in numbers)
            for name in shown
        ]
    return "\n".join(line.rstrip() for line in lines)


def cell(value: dict[str, Any] | None) -> str:
    """An estimate in a table."""
    if value is None:
        return ""
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}] {value['n']}"
