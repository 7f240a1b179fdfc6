"""A memory in a file against a plain list of edits: the same answers, history and files, whoever
writes and whatever is killed.

`SERAC_LONG=1 pytest tests/laws/test_store_laws.py` runs 10,000 operations and 200 kills; by default
there are fewer."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.edits import memory_file, records
from serac_jax.edits.disk import Disk, journal_of
from serac_jax.edits.records import Edit
from serac_jax.edits.store import Store
from tests.strategies import EDITS, overwrite

LONG = bool(os.environ.get("SERAC_LONG"))
# a file system in memory, where there is one: the laws are not about the disk
FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None
PICK = st.integers(0, 1 << 30)


def held(known: list[Edit], *picks: int) -> list[Edit]:
    return [known[pick % len(known)] for pick in picks] if known else []


class Memory(RuleBasedStateMachine):
    """Two programs on one file, people and git that change it by hand, and kills; beside them the
    states of a plain list."""

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="serac-store-", dir=FAST))
        self.file = self.folder / "edits.jsonl"
        self.states: list[list[Edit]] = [[]]  # after every operation
        self.done: list[tuple[list[Edit], list[Edit]]] = []  # before and after
        self.undone: list[tuple[list[Edit], list[Edit]]] = []
        # what could be undone and redone before a change by hand that nobody has written down
        self.by_hand_only: tuple[list, list] | None = None
        self.tidy = True  # whether every line is as the program writes it
        self.files: list[bytes] = [b"", b""]

    @initialize()
    def begin(self):
        self.stores = [Store.open(self.file, author) for author in ("Ann", "Bob")]

    @property
    def now(self) -> list[Edit]:
        return self.states[-1]

    def done_now(self, new: list[Edit]) -> None:
        self.by_hand_only = None
        if new != self.now:
            self.done.append((self.now, new))
            self.undone.clear()
            self.states.append(new)

    @rule(
        who=st.integers(0, 1),
        new=st.lists(EDITS, min_size=1, max_size=3),
        picks=st.lists(PICK, max_size=2),
    )
    def add(self, who, new, picks):
        replaced = {edit.id for edit in held(self.now, *picks)}
        self.stores[who].add(new, replacing=replaced)
        there = {edit.id: edit for edit in self.now}
        wanted = {edit.id: edit for edit in new}
        says_more = {
            key: edit
            for key, edit in wanted.items()
            if key not in there or edit._replace(author="") != there[key]._replace(author="")
        }
        gone = (replaced - set(wanted)) | set(says_more)
        self.done_now([edit for edit in self.now if edit.id not in gone] + list(says_more.values()))

    @rule(who=st.integers(0, 1), picks=st.lists(PICK, min_size=1, max_size=3))
    def remove(self, who, picks):
        gone = {edit.id for edit in held(self.now, *picks)}
        self.stores[who].remove(gone)
        self.done_now([edit for edit in self.now if edit.id not in gone])

    @rule(who=st.integers(0, 1))
    def undo(self, who):
        self.by_hand_only = None
        if self.done:
            self.stores[who].undo()
            before, after = self.done.pop()
            self.undone.append((before, after))
            self.states.append(before)
        else:
            with pytest.raises(UserError, match="nothing to undo"):
                self.stores[who].undo()

    @rule(who=st.integers(0, 1))
    def redo(self, who):
        self.by_hand_only = None
        if self.undone:
            self.stores[who].redo()
            before, after = self.undone.pop()
            self.done.append((before, after))
            self.states.append(after)
        else:
            with pytest.raises(UserError, match="nothing to redo"):
                self.stores[who].redo()

    @rule(who=st.integers(0, 1), edit=EDITS)
    def refused(self, who, edit):
        self.by_hand_only = None
        unknown = edit._replace(id="0" * 16)
        with pytest.raises(UserError, match="no edit of this memory has the id '0000"):
            self.stores[who].add([edit], replacing=[unknown.id])

    @rule(who=st.integers(0, 1))
    def reopen(self, who):
        self.stores[who] = Store.open(self.file, "Ann")

    @rule(
        who=st.integers(0, 1),
        order=st.randoms(use_true_random=False),
        new=st.lists(EDITS, max_size=2),
        blank=st.booleans(),
        end=st.sampled_from([b"\n", b"", b"\r\n"]),
    )
    def by_hand(self, who, order, new, blank, end):
        """Lines are taken out, moved, repeated, and written by hand, perhaps without an id. Until a
        program writes, all that was changed by hand is one operation."""
        if not self.now and not new:
            return
        kept = [edit for edit in self.now if order.random() < 0.8]
        if order.random() < 0.3:
            order.shuffle(kept)
        rows = [records.format(edit).encode() for edit in [*kept, *kept[:1]]] + [b""] * blank
        rows += [
            records.format(edit)
            .replace(f'"id": "{edit.id}", ', "")
            .replace(f', "id": "{edit.id}"', "")
            .encode()
            for edit in new
        ]
        overwrite(self.file, b"\n".join([records.HEADER.encode(), *rows]) + end)
        self.stores[who].refresh()
        self.tidy = False
        if self.by_hand_only:
            self.states.pop()
            self.done, self.undone = self.by_hand_only
        before, count = (self.done.copy(), self.undone.copy()), len(self.states)
        self.done_now(first_of([*kept, *new]))
        if count == 1:  # then the journal begins with what is there
            self.done.clear()
        self.by_hand_only = before if len(self.states) > count else None

    @rule(
        who=st.integers(0, 1),
        part=st.floats(0, 1),
        what=st.sampled_from(["torn", "file lags", "file is torn", "not said"]),
        edit=EDITS,
    )
    def kill(self, who, part, what, edit):
        """A program adds an edit and is killed: while it writes the journal, before it writes the
        file, or before it says that it has."""
        with self.stores[who].turn():
            self.by_hand_only = None
        before, begin = files.read(self.file), Disk(self.file).read_tail().end
        store = Store.open(self.file, "Killed")
        held_before = store.seq
        store.add([edit])
        if store.seq == held_before:
            return
        file, journal = files.read(self.file), files.read(journal_of(self.file))
        committed = journal.rindex(b'{"written"')
        if what == "torn":
            cut = begin + int(part * (committed - 1 - begin))
            overwrite(journal_of(self.file), journal[:cut])
            self.put_back(before)
        else:
            overwrite(
                journal_of(self.file),
                journal[
                    : (
                        committed
                        if part < 0.5
                        else committed + int(part * (len(journal) - committed - 1))
                    )
                ],
            )
            if what == "file lags" or (what == "file is torn" and not file.startswith(before)):
                self.put_back(before)
            elif what == "file is torn" and before:
                overwrite(self.file, file[: len(before) + int(part * (len(file) - len(before)))])
            self.done_now([held for held in self.now if held.id != edit.id] + [edit])
        self.stores[1 - who].refresh()
        assert list(self.stores[1 - who].edits.values()) == self.now  # read without writing
        with self.stores[1 - who].turn():  # the next writer finishes it
            pass

    def put_back(self, data: bytes) -> None:
        overwrite(self.file, data) if data else self.file.unlink()

    @rule(pick=PICK)
    def history(self, pick):
        self.stores[0].refresh()
        seq = pick % len(self.states)
        assert list(self.stores[0].as_of(seq).values()) == self.states[seq]
        came, went = self.stores[0].changes_since(seq)
        old, new = ({edit.id: edit for edit in state} for state in (self.states[seq], self.now))
        assert {edit.id for edit in came} == {key for key in new if old.get(key) != new[key]}
        assert set(went) == {key for key in old if new.get(key) != old[key]}
        log = list(self.stores[0].log())
        assert [operation.seq for operation in log] == list(range(len(self.states) - 1, 0, -1))
        assert [operation.count for operation in log] == [
            len(state) for state in self.states[:0:-1]
        ]

    @rule()
    def save(self):
        """A copy has the same edits and history; saved once more it is brought up to the memory by
        one operation."""
        self.stores[0].refresh()
        copy = self.folder / "copy.jsonl"
        self.stores[0].save(copy)
        copied = Store.open(copy, "Ann")
        assert list(copied.edits.values()) == self.now
        copied.undo() if self.done else None
        for file in (copy, journal_of(copy)):
            file.unlink(missing_ok=True)

    @invariant()
    def answers_are_the_same(self):
        if not hasattr(self, "stores"):
            return
        for store in (*self.stores, Store.open(self.file)):
            store.refresh()
            assert list(store.edits.values()) == self.now
            assert store.seq == len(self.states) - 1
            assert store.live("2026-01-01T00:00:00Z") == {
                edit.id: edit for edit in self.now if not edit.expires.startswith("2020")
            }
            for edit in self.now[:2]:
                assert [
                    same.id
                    for same in store.same_prompt(
                        edit.prompt.upper() if edit.prompt.isascii() else edit.prompt
                    )
                ].count(edit.id) == 1
        if self.tidy and self.now:
            assert self.file.read_bytes() == memory_file.FIRST + b"".join(
                map(memory_file.line, self.now)
            )

    def teardown(self):
        shutil.rmtree(self.folder)


def first_of(known: list[Edit]) -> list[Edit]:
    found: dict[str, Edit] = {}
    for edit in known:
        found.setdefault(edit.id, edit)
    return list(found.values())


Memory.TestCase.settings = settings(
    max_examples=200 if LONG else 40,
    stateful_step_count=50 if LONG else 20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=not LONG,
)
TestMemory = Memory.TestCase
