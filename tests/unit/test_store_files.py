"""The files of a memory when programs are killed, disks are full, two write at once, and lines are
damaged.

`SERAC_LONG=1 pytest tests/unit/test_store_files.py` kills 200 times; by default it is 20 times.
"""

import errno
import itertools
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.edits import journal, memory_file, records
from serac_jax.edits.disk import journal_of
from serac_jax.edits.store import Store
from tests.conftest import ROOT
from tests.strategies import overwrite
from tools.campaign.full_disks import room_for

KILLS = 200 if os.environ.get("SERAC_LONG") else 20
EDITS = [
    records.make(f"prompt {number}", f"answer ü {number}", author="Ann", time="2026-01-01")
    for number in range(8)
]

# Adds edits one by one, every third time in the place of the oldest, and tells each once it is
# committed.
WRITER = """
import os
import sys
from serac_jax.edits.store import Store
store, name = Store.open(sys.argv[1], "Writer"), sys.argv[2]
for number in range(int(sys.argv[3])):
    edit = store.make(f"{name} {number}", "x" * (number % 50 + 1))
    oldest = next(iter(store.edits), None) if number % 3 == 2 and len(sys.argv) > 4 else None
    store.add([edit], replacing=[oldest] if oldest else [])
    os.write(1, f"{edit.id} {oldest}\\n".encode())  # at once
"""


def writer(*arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def file() -> Iterator[Path]:
    """In a file system in memory, where there is one: a disk would wait long for each commit, and
    kills of a program tell nothing about disks."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder) / "edits.jsonl"


def test_no_committed_edit_is_lost_when_a_writer_is_killed(file):
    """Killed at a random time while it writes as fast as it can, the memory holds what was told,
    and at most the operation that was under way."""
    order, expected = random.Random(0), {}
    for number in range(KILLS):
        process = writer(file, number, 1_000_000, "replace")
        assert process.stdout
        time.sleep(order.random() * 0.02)
        lines = list(itertools.islice(process.stdout, order.randrange(1, 12)))
        time.sleep(order.random() * 0.005)
        process.send_signal(signal.SIGKILL)
        lines += list(process.stdout)
        process.wait()
        process.stdout.close()
        for line in lines:
            new, oldest = line.split()
            expected.pop(oldest, None)
            expected[new] = None
        store = Store.open(file, "Reader")
        found = list(store.edits)
        if found != list(expected):
            last = next(store.log())  # an operation that was committed, but not told yet
            assert list(store.as_of(last.seq - 1)) == list(expected)
            expected = dict.fromkeys(found)
        with store.turn():  # the next writer finishes what the killed one began
            assert memory_file.parse(file.read_bytes(), file).edits == store.edits
    assert [operation.seq for operation in store.log()] == list(range(store.seq, 0, -1))


@pytest.mark.parametrize("last", ["add", "replace", "remove", "undo"])
def test_a_kill_at_every_byte_leaves_the_old_or_the_new_memory(file, last):
    store = Store.open(file, "Ann")
    store.add(EDITS[:2])
    store.add(EDITS[2:4])
    before = file.read_bytes(), journal_of(file).read_bytes()
    old = dict(store.edits)
    do = {
        "add": lambda: store.add(EDITS[4:6]),
        "replace": lambda: store.add(EDITS[4:5], replacing=[EDITS[1].id]),
    }
    (do | {"remove": lambda: store.remove([EDITS[0].id]), "undo": store.undo})[last]()
    after, written = file.read_bytes(), journal_of(file).read_bytes()
    new = dict(store.edits)
    commit = written.index(b'{"written"', len(before[1]))
    for cut in range(len(before[1]), len(written) + 1):  # the journal goes so far …
        for data in (
            [before[0]] if cut < commit else [before[0], after]
        ):  # … and the memory file is the old one, or the new one
            if cut == len(written) and data != after:
                continue  # the journal says that the file is written
            check_reopened(file, data, written[:cut], new if cut >= commit else old)
    if after.startswith(before[0]):
        for cut in range(len(before[0]), len(after)):  # appended up to there
            check_reopened(file, after[:cut], written[:commit], new)


def check_reopened(file: Path, data: bytes, written: bytes, wanted: dict) -> None:
    file.write_bytes(data)
    journal_of(file).write_bytes(written)
    store = Store.open(file, "Bob")
    assert store.edits == wanted
    assert list(store.edits) == list(wanted)
    assert "outside" not in [operation.do for operation in store.log()]
    store.add(EDITS[6:7])
    assert list(Store.open(file).edits) == [*wanted, EDITS[6].id]


def test_the_first_commit_can_be_cut_at_every_byte(file):
    Store.open(file, "Ann").add(EDITS[:1])
    data, written = file.read_bytes(), journal_of(file).read_bytes()
    commit = written.index(b'{"written"')
    for cut in range(len(written)):
        for have in [None, data] if cut >= commit else [None]:
            file.unlink() if have is None else file.write_bytes(have)
            journal_of(file).write_bytes(written[:cut])
            assert list(Store.open(file).edits) == ([EDITS[0].id] if cut >= commit else [])
            file.write_bytes(data)


def test_a_commit_line_without_its_edits_counts_for_nothing(file):
    """After a loss of power the end of a file can be there and its middle not."""
    store = Store.open(file, "Ann")
    store.add(EDITS[:1])
    before, end = file.read_bytes(), journal_of(file).stat().st_size
    store.add(EDITS[1:3])
    written = journal_of(file).read_bytes()
    commit = written.index(b'{"commit": 2')
    journal_of(file).write_bytes(
        written[:end]
        + bytes(commit - end - 1)
        + b"\n"
        + written[commit : written.index(b'{"written": 2')]
    )
    file.write_bytes(before)
    store = Store.open(file, "Ann")
    assert list(store.edits) == [EDITS[0].id]
    store.add(EDITS[3:4])
    assert [operation.seq for operation in Store.open(file).log()] == [2, 1]


def test_two_writers_take_turns(file):
    writers = [writer(file, name, 60) for name in "ab"]
    told = [
        line.split()[0] for process in writers for line in process.communicate()[0].splitlines()
    ]
    assert len(told) == 120
    store = Store.open(file)
    assert sorted(store.edits) == sorted(told)
    log = list(store.log())
    assert [operation.seq for operation in log] == list(range(120, 0, -1))
    assert [operation.count for operation in log] == list(range(120, 0, -1))
    assert memory_file.parse(file.read_bytes(), file).edits == store.edits


PAIRS = """
import sys
from serac_jax.edits.store import Store
store = Store.open(sys.argv[1], "Writer")
for number in range(40):
    with store.turn():
        new = [store.make(f"{sys.argv[2]} {number}", answer) for answer in "ab"]
        store.add(new, replacing=list(store.edits)[:2] if number % 2 else ())
"""


def test_readers_see_whole_operations(file):
    """Each adds two edits, and every other one takes two out: a reader never sees an odd number,
    nor an error."""
    writers = [
        subprocess.Popen([sys.executable, "-c", PAIRS, file, name], cwd=ROOT) for name in "ab"
    ]
    store, seen = Store.open(file), set()
    while any(process.poll() is None for process in writers):
        store.refresh()
        seen |= {len(store.edits), len(Store.open(file).edits)}
    assert [process.returncode for process in writers] == [0, 0]
    store.refresh()
    assert len(store.edits) == 80
    assert store.edits == Store.open(file).edits
    assert {count % 2 for count in seen} == {0}
    assert store.seq == 80


def test_a_writer_waits_for_another_and_says_so_in_the_end(file):
    with (
        files.locked(journal_of(file)),
        pytest.raises(
            UserError,
            match=r"another program has been writing to .*edits.jsonl.journal for 0 seconds",
        ),
        files.locked(journal_of(file), 0),
    ):
        pass


def test_a_full_disk_leaves_the_memory_as_it_was(file):
    store = Store.open(file, "Ann")
    store.add(EDITS[:2])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal_of(file).stat().st_size + 100, limits[1]))
    try:
        with pytest.raises(
            UserError, match=r"cannot write .*File too large.*nothing that was committed is lost"
        ):
            store.add(EDITS[2:4])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(store.edits) == list(Store.open(file).edits) == [edit.id for edit in EDITS[:2]]
    store.add(EDITS[2:4])
    assert list(Store.open(file).edits) == [edit.id for edit in EDITS[:4]]


@pytest.mark.parametrize("syncs", range(6))
def test_a_first_operation_that_cannot_be_made_durable_happened_or_did_not(tmp_path, syncs):
    """The journal is made by it, so that its folder has to be durable as well."""
    file = tmp_path / "new" / "edits.jsonl"
    file.parent.mkdir()
    store, told = Store.open(file, "Ann"), ""
    with room_for(1 << 30, syncs):
        try:
            store.add(EDITS[:1])
        except UserError as error:
            told = str(error)
    happened = not told or "the operation counts" in told
    assert happened or "nothing that was committed is lost" in told
    assert list(Store.open(file).edits) == [edit.id for edit in EDITS[:1]] * happened
    store.refresh()
    store.add(EDITS[1:2])
    assert list(Store.open(file).edits) == [edit.id for edit in EDITS[not happened : 2]]


def test_an_operation_is_on_the_disk_before_it_is_told(file, monkeypatch):
    sync, synced = os.fsync, {}

    def noted(descriptor):
        sync(descriptor)
        name = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced[name] = os.fstat(descriptor).st_size

    monkeypatch.setattr(os, "fsync", noted)
    store = Store.open(file, "Ann")
    for edit in EDITS[:3]:
        synced.clear()
        store.add([edit])
        journal = journal_of(file)
        assert edit.prompt.encode() in journal.read_bytes()[: synced[journal]]


def test_a_disk_that_is_full_after_the_journal_was_written_keeps_the_operation(file, monkeypatch):
    store = Store.open(file, "Ann")
    store.add(EDITS[:2])

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(files, "write", full)
        with pytest.raises(
            UserError,
            match=(
                r"cannot write .*edits.jsonl .No space left.*the operation counts, since"
                r" edits.jsonl.journal has it"
            ),
        ):
            store.undo()
    assert store.refresh()
    assert list(store.edits) == list(Store.open(file).edits) == []
    assert [operation.do for operation in store.log()] == ["undo", "add"]


def test_a_memory_that_cannot_be_written_can_be_read():
    """One without a journal too, as on a disk that is shared read-only."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "edits.jsonl"
        file.write_bytes(memory_file.FIRST + memory_file.line(EDITS[0]))
        Path(folder).chmod(0o555)
        root = os.geteuid() == 0
        os.seteuid(65534 if root else os.geteuid())
        try:
            store = Store.open(file, "Ann")
            assert list(store.edits) == [EDITS[0].id]
            assert not store.refresh()
            with pytest.raises(
                UserError, match=r"cannot write .*edits.jsonl.journal .Permission denied"
            ):
                store.add(EDITS[1:2])
        finally:
            os.seteuid(0 if root else os.geteuid())
            Path(folder).chmod(0o755)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-20], "edits.jsonl:4: not a line of JSON"),
        (
            lambda data: data[: data.index(b"\n") - 3],
            "edits.jsonl:1: not a memory file, whose first line is",
        ),
        (
            lambda data: b'{"prompt": "a", "answer": "b"}\n' + data,
            "edits.jsonl:1: not a memory file",
        ),
        (
            lambda data: data.replace(b'"version": 1', b'"version": 2'),
            "edits.jsonl:1: a memory file of version 2, but this program reads version 1",
        ),
        (
            lambda data: data.replace("answer ü 1".encode(), "answer ü 7".encode()),
            "edits.jsonl:3: field 'id' is",
        ),
        (
            lambda data: data.replace("ü 1".encode(), b"\xff 1"),
            "edits.jsonl:3: not UTF-8 text .byte 42",
        ),
        (
            lambda data: data.replace(b"\n", b"\n<<<<<<< ours\n", 2),
            "edits.jsonl:2: a conflict marker of git",
        ),
        (
            lambda data: data.replace(b'"author"', b'"auther"'),
            "edits.jsonl:2: unknown field 'auther'",
        ),
        (
            lambda data: b"",
            "edits.jsonl:1: the file is gone or empty, but its journal has 3 edits",
        ),
        (lambda data: os.urandom(200), "edits.jsonl:1: not"),
    ],
)
def test_damage_is_told_with_its_line_and_changes_nothing(file, damage, message):
    store = Store.open(file, "Ann")
    store.add(EDITS[:3])
    good = file.read_bytes()
    overwrite(file, damage(good))
    written = journal_of(file).read_bytes()
    for use in (lambda: Store.open(file, "Bob"), lambda: store.add(EDITS[4:5]), store.refresh):
        with pytest.raises(UserError, match=message):
            use()
    assert journal_of(file).read_bytes() == written
    file.write_bytes(good)
    assert list(Store.open(file).edits) == [edit.id for edit in EDITS[:3]]
    store.add(EDITS[4:5])


def test_a_change_by_hand_is_an_operation_that_can_be_undone(file):
    store = Store.open(file, "Ann")
    store.add(EDITS[:3])
    data = file.read_bytes()
    file.write_bytes(
        data.replace(memory_file.line(EDITS[1]), b'{"prompt":"by hand",  "answer":"yes"}\n\n')
    )
    store = Store.open(file, "Bob")
    assert [edit.prompt for edit in store.edits.values()] == ["prompt 0", "by hand", "prompt 2"]
    assert memory_file.parse(file.read_bytes(), file).edits == store.edits
    assert (next(store.log()).do, next(store.log()).author) == ("outside", "Bob")
    store.undo()
    assert file.read_bytes() == data


def test_a_line_by_hand_may_be_in_another_form(file):
    edit = records.make("p", "a", tags=["x", "y"], expires="2027-01-31")
    row = (
        f'  {{"tags": ["y", "x", "x"], "id": "{edit.id}", "answer": "a", "prompt": "p", "expires":'
        ' "2027-01-31T01:00+01:00"}\r\n'
    )
    file.write_bytes(
        memory_file.FIRST.replace(b", ", b",  ")
        + memory_file.line(EDITS[0]).replace(b": ", b":")
        + row.encode()
    )
    for _ in range(2):
        store = Store.open(file, "Ann")
        assert list(store.edits.values()) == [EDITS[0], edit]
        with store.turn():  # who writes puts it into the usual form
            pass
    assert file.read_bytes() == memory_file.FIRST + memory_file.line(EDITS[0]).replace(
        b": ", b":"
    ) + memory_file.line(edit)


def test_going_back_with_git_is_no_crash(file):
    """The file as it was one operation ago is what a kill leaves too; but then the journal does not
    say that it had been written."""
    store = Store.open(file, "Ann")
    store.add(EDITS[:1])
    data = file.read_bytes()
    store.add(EDITS[1:2])
    file.write_bytes(data)
    store = Store.open(file, "Ann")
    assert list(store.edits) == [EDITS[0].id]
    assert [operation.do for operation in store.log()] == ["outside", "add", "add"]


def test_a_file_without_a_journal_begins_one_that_is_not_undone(file):
    file.write_bytes(memory_file.FIRST + b"".join(map(memory_file.line, EDITS)))
    store = Store.open(file, "Ann")
    assert [operation.do for operation in store.log()] == ["start"]
    with pytest.raises(UserError, match="nothing to undo"):
        store.undo()
    assert journal_of(file).exists()


def test_a_damaged_journal_costs_the_history_before_it_only(file):
    store = Store.open(file, "Ann")
    for edit in EDITS[:4]:
        store.add([edit])
    written = journal_of(file).read_bytes()
    journal_of(file).write_bytes(written.replace("answer ü 1".encode(), "answer ü 9".encode()))
    store = Store.open(file, "Ann")
    assert len(store.edits) == 4
    assert list(store.as_of(2)) == [edit.id for edit in EDITS[:2]]
    with pytest.raises(UserError, match=r"edits.jsonl.journal:6: the journal is damaged here"):
        store.as_of(0)
    journal_of(file).write_bytes(b"something else\n" + written)
    with pytest.raises(UserError, match=r"edits.jsonl.journal:1: not a journal of version 1"):
        Store.open(file)


def test_a_journal_that_was_replaced_is_not_followed(file):
    store = Store.open(file, "Ann")
    store.add(EDITS[:1])
    journal_of(file).rename(file.with_name("old"))
    Store.open(file, "Bob").add(EDITS[1:2])
    with pytest.raises(
        UserError, match="was replaced while this memory was open; open the memory again"
    ):
        store.add(EDITS[2:3])


def test_an_append_reads_and_writes_only_what_is_new(file):
    """Its cost does not depend on how much is there: counted in bytes by the system."""
    store = Store.open(file, "Ann")
    store.add([records.make(f"p{number}", "a" * 100) for number in range(20_000)])
    other = Store.open(file, "Bob")
    before = bytes_moved()
    store.add(EDITS[:1])
    other.add(EDITS[1:2])
    store.add(EDITS[2:3])
    other.refresh()
    read, wrote = (after - start for after, start in zip(bytes_moved(), before, strict=True))
    assert file.stat().st_size > 3_000_000
    assert len(other.edits) == 20_003
    assert read < 1_000_000  # a block of the journal at a time
    assert wrote < 10_000


def bytes_moved() -> tuple[int, int]:
    """What this process has read and written by system calls."""
    counts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(counts["rchar"]), int(counts["wchar"])


def test_a_long_line_is_read_from_the_end_in_linear_time(file):
    store = Store.open(file, "Ann")
    store.add([records.make("p", "a" * 3_000_000)])
    store.add(EDITS[:1])
    with journal_of(file).open("rb") as written:
        assert journal.tail(written, "journal").seq == 2
    assert [operation.count for operation in Store.open(file).log()] == [2, 1]


@pytest.mark.parametrize("there", [False, True])
def test_a_memory_is_saved_with_its_history(file, there):
    store = Store.open(author="Ann")
    store.add(EDITS[:2])
    store.add(EDITS[2:3], replacing=[EDITS[0].id], message="why")
    if there:
        Store.open(file, "Bob").add(EDITS[:1])
    store.save(file)
    saved = Store.open(file, "Bob")
    assert saved.edits == store.edits
    assert list(saved.edits) == list(store.edits)
    assert [operation.do for operation in saved.log()] == (
        ["save", "add"] if there else ["add", "add"]
    )
    assert there or list(saved.as_of(1)) == [edit.id for edit in EDITS[:2]]
    saved.undo()
    assert list(Store.open(file).edits) == [edit.id for edit in EDITS[: 1 if there else 2]]
    saved.save(file)  # itself: nothing to do


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_locks(*_: object) -> None:
    raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))


@pytest.mark.parametrize("broken", ["disk", "locks"])
def test_a_committed_removal_is_read_where_nothing_can_be_written(file, monkeypatch, broken):
    """The memory file lacks it: the disk was full. Readers replay it and write nothing."""
    store = Store.open(file, "Ann")
    store.add(EDITS[:3])
    with monkeypatch.context() as patch:
        patch.setattr(files, "write", full)
        with pytest.raises(UserError, match="the operation counts"):
            store.remove([EDITS[0].id])
    left = file.read_bytes(), journal_of(file).read_bytes()
    with monkeypatch.context() as patch:
        if broken == "disk":
            patch.setattr(files, "write_all", full)
        else:
            patch.setattr(files.fcntl, "flock", no_locks)
        reader = Store.open(file, "Bob")
        assert list(reader.edits) == [EDITS[1].id, EDITS[2].id]
        assert not reader.refresh()
        assert [operation.do for operation in reader.log()] == ["remove", "add"]
        assert store.refresh()
        assert store.edits == reader.edits
        with pytest.raises(UserError, match="cannot write"):
            reader.add(EDITS[3:4])
    assert (file.read_bytes(), journal_of(file).read_bytes()) == left
    reader.add(EDITS[3:4])
    assert [operation.do for operation in Store.open(file).log()] == ["add", "remove", "add"]
    assert memory_file.parse(file.read_bytes(), file).edits == reader.edits


def test_a_change_by_hand_is_read_at_once_and_written_down_by_who_writes(file):
    """Until then, all that was changed by hand is one operation, which readers see."""
    ann = Store.open(file, "Ann")
    ann.add(EDITS[:2])
    bob, written = Store.open(file, "Bob"), journal_of(file).read_bytes()
    states = {bob.state}
    for wanted in (EDITS[1:3], EDITS[2:5], EDITS[:2], EDITS[:1]):
        data = memory_file.FIRST + b"".join(map(memory_file.line, wanted))
        overwrite(file, data)
        assert bob.refresh()
        assert not bob.refresh()
        for store in (bob, Store.open(file)):
            assert list(store.edits.values()) == wanted
            names = ["outside", "add"] if wanted != EDITS[:2] else ["add"]
            assert [operation.do for operation in store.log()] == names
            assert list(store.as_of(1).values()) == EDITS[:2]
        assert (file.read_bytes(), journal_of(file).read_bytes()) == (data, written)
        states.add(bob.state)
    assert len(states) == 5
    ann.add(EDITS[5:6])
    assert bob.refresh()
    assert list(bob.edits.values()) == [EDITS[0], EDITS[5]]
    assert [operation.do for operation in bob.log()] == ["add", "outside", "add"]
    assert bob.state not in states


def test_a_file_is_replaced_by_way_of_a_new_one_that_errors_remove(tmp_path, monkeypatch):
    """Nobody can prepare a link or a file under the name that the new one gets."""
    target, names = tmp_path / "edits.jsonl", []
    (tmp_path / "edits.jsonl.new").symlink_to(tmp_path / "victim")
    opened = os.open

    def seen(path: object, *rest: object, **more: object) -> int:
        names.append(Path(str(path)).name)
        return opened(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(files.os, "open", seen)
    files.write(target, b"one")
    files.write(target, b"two")
    assert target.read_bytes() == b"two"
    assert not (tmp_path / "victim").exists()
    assert len({name for name in names if name.endswith(".new")}) == 2
    mode = target.stat().st_mode & 0o777
    target.chmod(0o640)
    files.write(target, b"three")
    assert (mode & 0o600, target.stat().st_mode & 0o777) == (0o600, 0o640)
    monkeypatch.setattr(files, "write_all", full)
    with pytest.raises(OSError, match="No space left"):
        files.write(target, b"four")
    assert target.read_bytes() == b"three"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["edits.jsonl", "edits.jsonl.new"]


def test_what_a_killed_replacement_left_is_removed_by_who_finishes_it(file):
    store = Store.open(file, "Ann")
    store.add(EDITS[:2])
    before = file.read_bytes()
    store.remove([EDITS[0].id])
    written = journal_of(file).read_bytes()
    journal_of(file).write_bytes(written[: written.rindex(b'{"written"')])
    file.write_bytes(before)
    left = file.with_name(f".{file.name}.{'0' * 16}.new")
    left.write_bytes(b"half")
    Store.open(file, "Ann").add(EDITS[2:3])
    assert not left.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("afile/x", "not a usable path .Not a directory"),
        ("x" * 5_000, "not a usable path .File name too long"),
        ("loop", "not a usable path"),
        ("~nosuch/x", "not a usable path"),
        ("a\0b", "not a usable path"),
        ("fifo", "expected a file, not a pipe"),
        (".", "expected a file, not a directory"),
        ("x" * 250, "not a usable path .File name too long"),
    ],
)
def test_paths_that_hold_no_memory_are_told(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    Path("afile").write_text("text")
    Path("loop").symlink_to("loop")
    os.mkfifo("fifo")
    with pytest.raises(UserError, match=message) as raised:
        Store.open(name)
    assert len(str(raised.value)) < 400


def test_times_that_go_backwards_mean_the_same_to_the_log_and_to_the_edits(file, monkeypatch):
    store = Store.open(file, "Ann")
    for edit, hour in zip(EDITS, (10, 12, 11, 13), strict=False):
        with monkeypatch.context() as patch:
            patch.setattr(records, "now", lambda hour=hour: f"2026-01-01T{hour}:00:00Z")
            store.add([edit])
    for hour in range(9, 14):
        time = f"2026-01-01T{hour:02}:30"
        shown = [edit for _, edit in (op.change.added[0] for op in store.log(until=time))]
        assert list(store.as_of(time).values()) == shown[::-1]
    assert [operation.seq for operation in store.log(until="2026-01-01T11:30")] == [3, 2, 1]
