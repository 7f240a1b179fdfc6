"""Files of a memory that someone made up: checksums that are right prove nothing, and what cannot
be followed is refused in one line."""

import json
from contextlib import suppress
from random import Random
from zlib import crc32

import pytest

from serac_jax.core.errors import UserError
from serac_jax.edits import check, journal, memory_file, records
from serac_jax.edits.disk import journal_of
from serac_jax.edits.store import Store
from tools.campaign import fuzzing, readers

EDIT = records.make("prompt", "answer", author="Ann", time="2026-01-01")
LINE = json.dumps(records.as_fields(EDIT))
EMPTY = json.dumps(records.as_fields(EDIT) | {"answer": ""})
COMMIT = {"commit": 1, "time": "2026-01-01T00:00:00Z", "author": "Ann", "do": "add", "lines": 1}
COMMIT |= {"count": 1, "size": 0, "crc": 0}


def forged(row: str, **fields: object) -> bytes:
    """A journal of one operation with right checksums."""
    body = row.encode() + b"\n"
    text = json.dumps(COMMIT | {"body": crc32(body)} | fields)[:-1].encode()
    return journal.HEADER + body + text + b', "check": %d}\n' % crc32(text)


@pytest.mark.parametrize(
    "data",
    [
        forged("[]"),
        forged("{}"),
        forged('{"add": 3}'),
        forged("[" * 3000),
        forged(f'{{"add": {LINE}, "at": -1}}'),
        forged(f'{{"add": {LINE}, "at": {1 << 70}}}'),
        forged(f'{{"add": {LINE}, "at": "0"}}'),
        forged(f'{{"remove": {LINE}, "at": 0}}', count=0),
        forged(f'{{"add": {LINE.replace(EDIT.id, "no id")}}}'),
        forged(f'{{"add": {LINE.replace("prompt", "other", 1)}}}'),
        forged(f'{{"add": {{"prompt": 3, "answer": "a", "id": "{EDIT.id}"}}}}'),
        forged(f'{{"add": {EMPTY}}}'),
        forged(f'{{"add": {LINE}}}', count=2),
        forged(f'{{"add": {LINE}}}', commit=2, count=2),
    ],
)
def test_a_forged_journal_is_told_and_repaired(tmp_path, data):
    file = tmp_path / "edits.jsonl"
    file.write_bytes(memory_file.FIRST + memory_file.line(EDIT))
    journal_of(file).write_bytes(data)
    with suppress(UserError):
        assert list(Store.open(file).edits) == [EDIT.id]  # the memory file itself is right
    assert check.problems(file)
    check.repair(file, "Ann")
    assert not check.problems(file)
    assert list(Store.open(file).edits) == [EDIT.id]


def test_an_end_that_cannot_be_one_is_what_a_kill_left(tmp_path):
    file = tmp_path / "edits.jsonl"
    file.write_bytes(memory_file.FIRST + memory_file.line(EDIT))
    journal_of(file).write_bytes(forged(f'{{"add": {LINE}}}', lines=1 << 70))
    assert list(Store.open(file, "Ann").edits) == [EDIT.id]
    check.repair(file, "Ann")
    assert not check.problems(file)


@pytest.mark.parametrize(
    "fields", [{"author": 3}, {"lines": -1}, {"of": "x"}, {"author": "\ud800"}]
)
def test_a_commit_line_with_other_values_is_none(tmp_path, fields):
    file = tmp_path / "edits.jsonl"
    file.write_bytes(memory_file.FIRST + memory_file.line(EDIT))
    journal_of(file).write_bytes(forged(f'{{"add": {LINE}}}', **fields))
    assert [operation.do for operation in Store.open(file).log()] == ["start"]


def test_a_memory_file_with_a_right_checksum_is_checked_where_it_is_no_memory_file(tmp_path):
    file = tmp_path / "edits.jsonl"
    for row in (b"[null]", b"3", b'{"prompt": [], "answer": {}, "id": "0"}', b"\xff", b"[" * 3000):
        data = memory_file.FIRST + row + b"\n"
        file.write_bytes(data)
        end = journal.written(0, len(data), crc32(data))
        journal_of(file).write_bytes(journal.HEADER + end)
        with pytest.raises(UserError, match=r"edits\.jsonl:2: "):
            Store.open(file)
        assert check.problems(file)


def test_a_time_in_another_form_is_read_whatever_stands_between_its_parts(tmp_path):
    """ISO 8601, as Python reads it, allows any letter between a date and a time."""
    file = tmp_path / "edits.jsonl"
    row = EDIT._asdict() | {"time": "2026-01-01\ud80012:00:00"}
    file.write_bytes(memory_file.FIRST + json.dumps(row).encode() + b"\n")
    (edit,) = Store.open(file).live().values()
    assert (edit.id, edit.time) == (EDIT.id, "2026-01-01T12:00:00Z")


def test_a_history_without_its_beginning_is_told(tmp_path):
    file = tmp_path / "edits.jsonl"
    store = Store.open(file, "Ann")
    for number in range(3):
        store.add([store.make(f"{number}", "a")])
    data = journal_of(file).read_bytes()
    second = data.index(b"\n", data.index(b'{"written": 1')) + 1
    journal_of(file).write_bytes(journal.HEADER + data[second:])
    (problem,) = check.problems(file)
    assert "the history before it cannot be read" in problem.text
    check.repair(file, "Ann")
    assert not check.problems(file)
    held = Store.open(file)
    assert [operation.do for operation in held.log()] == ["add", "add", "start"]
    assert len(held.edits) == 3


@pytest.mark.parametrize("read", [readers.memory_file, readers.journal, readers.forged_memory])
def test_damaged_bytes_are_read_or_refused(tmp_path, read, monkeypatch):
    """A few of the campaign's inputs."""
    count = 15 if read is readers.forged_memory else 100
    monkeypatch.setattr(fuzzing, "INPUTS", count)
    samples = readers.MEMORY if read is readers.memory_file else readers.JOURNAL
    assert fuzzing.fuzzed(read, samples)(Random(0), tmp_path) == count
