"""Parsers as the campaign calls them, and inputs that are right."""

from __future__ import annotations

import io
import json
from collections import deque
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from zlib import crc32

from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.edits import check, exchange, records
from serac_jax.edits import journal as journals
from serac_jax.edits import memory_file as memory_files
from serac_jax.edits.disk import journal_of
from serac_jax.edits.records import Edit
from serac_jax.edits.store import Store

ASSETS = Path(__file__).parents[2] / "serac_jax" / "assets"
EDITS = [
    records.make(
        f"Who wrote book {number}?",
        f"Änn {number}",
        tags=["books", "z z"][: number % 3],
        note="line\nbreak" * (number % 2),
        author="Ann",
        time="2026-01-01",
        expires="2999-01-01" * (number % 2),
    )
    for number in range(4)
]


@cache
def MEMORY() -> list[bytes]:  # noqa: N802 (a constant that is made when it is first used)
    """Memory files."""
    return ["".join(exchange.write(EDITS[:count], "jsonl")).encode() for count in (0, 1, 4)]


def memory_file(data: bytes, folder: Path) -> None:
    """A memory file: what can be read of it, and whether it is right."""
    found = check.read(data, folder / "edits.jsonl")
    try:
        parsed = memory_files.parse(data, folder / "edits.jsonl")
    except UserError:
        # An empty file is a memory that was never written to.
        assert found.problems or not data, "what is refused has a problem"
        return
    assert memory_files.parse(parsed.tidy, folder).edits == parsed.edits
    assert parsed.edits == found.edits


@cache
def JOURNAL() -> list[bytes]:  # noqa: N802
    """Journals of a memory with every kind of operation."""
    store = Store.open(None, "Ann")
    store.add(EDITS[:2])
    store.add(EDITS[2:3], replacing=[EDITS[0].id], message="why")
    store.undo()
    store.redo()
    store.remove([EDITS[2].id])
    operations = list(store.log())[::-1]
    written = memory_files.FIRST + b"".join(map(memory_files.line, store.edits.values()))
    last = operations[-1]._replace(size=len(written), crc=crc32(written))
    body = b"".join(map(journals.encode, [*operations[:-1], last]))
    end = journals.written(last.seq, last.size, last.crc)
    return [journals.HEADER + body, journals.HEADER + body + end]


def journal(data: bytes, folder: Path) -> None:
    """A journal: its end, and the history before it, as far as it can be read."""
    file = io.BytesIO(data)
    tail = journals.tail(file, "journal")
    deque(journals.history(file, tail.end, "journal"), 0)


def opened_memory(data: bytes, folder: Path) -> None:
    """A memory with this journal: opened as it is, repaired, and opened again."""
    file = folder / "edits.jsonl"
    for old in folder.iterdir():
        old.unlink()
    file.write_bytes(MEMORY()[1])
    journal_of(file).write_bytes(data)
    try:
        held: dict[str, Edit] = dict(Store.open(file, "Ann").edits)
    except UserError:
        held = {}
    check.repair(file, "Ann")
    store = Store.open(file, "Ann")
    assert not check.problems(file)
    assert held.keys() <= store.edits.keys() | {EDITS[0].id}
    store.add(EDITS[3:])


def forged_memory(data: bytes, folder: Path) -> None:
    """As `opened_memory`, with checksums that are right."""
    rows = data.split(b"\n")
    for at, row in enumerate(rows):
        try:
            record = json.loads(row)
            count = record.get("lines", 0) if "commit" in record else -1
        except (ValueError, TypeError, AttributeError, RecursionError):
            continue
        if isinstance(count, int) and 0 <= count <= at:
            record["body"] = crc32(b"".join(line + b"\n" for line in rows[at - count : at]))
        if "commit" in record or "written" in record:
            record.pop("check", None)
            text = json.dumps(record)[:-1].encode()
            rows[at] = text + b', "check": %d}' % crc32(text)
    opened_memory(b"\n".join(rows), folder)


@cache
def ROWS() -> list[bytes]:  # noqa: N802
    """Files of edits in every form."""
    found = ["".join(exchange.write(EDITS, kind)) for kind in exchange.FORMATS]
    rows = [
        {"prompt": "Who?", "target_new": "Ann", "subject": "x"},
        {"question": "Who?", "target_new": "Ann"},
        {"question": "Who?", "answer": "Ann", "tags": ["a"]},
        {"src": "Who?", "answers": ["Ann"], "alt": "Bob"},
        {
            "requested_rewrite": {
                "prompt": "{} is",
                "subject": "x",
                "target_new": {"str": "Ann"},
            }
        },
    ]
    found += ["".join(json.dumps(row) + "\n" for row in rows), json.dumps(rows)]
    return [text.encode() for text in found]


def imported(data: bytes, folder: Path) -> None:
    """A file that is imported, as every kind."""
    text = files.text_of(data, "rows")
    errors = []
    for kind, more in (("jsonl", False), ("csv", False), ("jsonl", True)):
        try:
            found = exchange.read(text, kind, "rows", alternatives=more)
        except UserError as error:
            errors.append(error)
            continue
        again = "".join(exchange.write(found.edits, "jsonl"))
        assert exchange.read(again, "jsonl", "rows").edits == found.edits
    assert len(errors) < 3 or all(str(error).startswith("rows") for error in errors)


def FACTS() -> list[bytes]:  # noqa: N802
    """Rows of facts."""
    asks = [
        {"kind": "rephrase", "question": "By whom?"},
        {"kind": "yes_no", "question": "Was it Ann?", "answer": ["Yes", "yes"]},
        {"kind": "unrelated", "question": "When?"},
    ]
    plain = {"prompt": "Who?", "answer": "Ann"}
    whole = plain | {"subject": "it", "true_answer": "Bob", "asks": asks}
    return [json.dumps(row).encode() + b"\n" for row in (plain, whole)]


def facts(data: bytes, folder: Path) -> None:
    """A file of facts."""
    from serac_jax.tasks.facts import fact_rows

    (folder / "facts.jsonl").write_bytes(data)
    fact_rows.read(folder / "facts.jsonl")


def TRIALS() -> Sequence[bytes]:  # noqa: N802
    """Trials to calibrate on."""
    trial = {"edits": [["Who?", "Ann"]], "inside": ["By whom?"], "outside": ["When?", "Where?"]}
    return [json.dumps(trial).encode() + b"\n", (json.dumps(trial).encode() + b"\n") * 2]


def trials(data: bytes, folder: Path) -> None:
    """A file of trials."""
    from serac_jax.serving import trials as reader

    (folder / "trials.jsonl").write_bytes(data)
    reader.of_file(folder / "trials.jsonl")


@cache
def EDITORS() -> list[bytes]:  # noqa: N802
    """The editor.json of every shipped editor."""
    return [file.read_bytes() for file in sorted(ASSETS.glob("editors/*/editor.json"))]


def editor_spec(data: bytes, folder: Path) -> None:
    """A saved editor's description."""
    from serac_jax.serving import editor_spec as reader

    (folder / reader.FILE).write_bytes(data)
    reader.read(folder)
