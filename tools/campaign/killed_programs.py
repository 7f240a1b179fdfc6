"""Programs that write to one memory, or repair one, and are killed at any moment."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from serac_jax.core.errors import UserError
from serac_jax.edits import check, memory_file
from serac_jax.edits.changes import replay
from serac_jax.edits.disk import journal_of
from serac_jax.edits.operations import Operation
from serac_jax.edits.store import Store

ROUNDS, WRITERS = 12, 3


class Child(NamedTuple):
    """A process, and what it tells, a line of JSON for each operation that it was told is done."""

    pid: int
    told: int


def start(work: Callable[[Callable[[Any], None]], None]) -> Child:
    """Runs a function in a process of its own; its argument tells something to this one."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return Child(pid, reading)
    status = 1
    try:
        os.close(reading)
        work(lambda value: send(writing, value))
        status = 0
    except BaseException as error:
        with suppress(BaseException):
            os.write(writing, json.dumps({"error": repr(error)}).encode() + b"\n")
    finally:
        os._exit(status)


def send(pipe: int, value: Any) -> None:
    """Writes a line of JSON to a pipe."""
    os.write(pipe, json.dumps(value).encode() + b"\n")


def killed(child: Child) -> list[Any]:
    """Kills a process; what it told."""
    os.kill(child.pid, signal.SIGKILL)
    return ended(child)


def ended(child: Child) -> list[Any]:
    """Waits for a process to end; what it told. A last line that is cut was not told."""
    data = b""
    while select.select([child.told], [], [], 60)[0] and (more := os.read(child.told, 1 << 16)):
        data += more
    os.close(child.told)
    os.waitpid(child.pid, 0)
    found = [json.loads(line) for line in data.split(b"\n")[:-1]]
    for one in found:
        assert "error" not in one, one["error"]
    return found


def fields(operation: Operation) -> dict[str, Any]:
    """What must not be lost of an operation."""
    removed, added = ([edit.id for _, edit in placed] for placed in operation.change)
    return {"seq": operation.seq, "do": operation.do, "removed": removed, "added": added}


def write(file: Path, name: str, rng: Random, tell: Callable[[Any], None]) -> None:
    """Changes a memory without an end, and tells each operation once it is done."""
    store = Store.open(file, name)
    number = 0
    while True:
        number += 1
        with store.turn():
            held = list(store.edits)
            gone = [rng.choice(held)] if held and rng.random() < 0.4 else []
            before = store.seq
            edit = store.make(f"{name} {number}", "ü" * rng.choice((1, 1, 30, 3000)))
            try:
                match rng.randrange(8):
                    case 0 if gone:
                        store.remove(gone)
                    case 1:
                        store.undo()
                    case 2:
                        store.redo()
                    case _:
                        store.add([edit], replacing=gone)
            except UserError as error:
                if "there is nothing to" not in str(error):
                    raise
            done = fields(next(store.log())) if store.seq > before else None
        if done:
            tell(done)


def writers(rng: Random, folder: Path) -> int:
    """Kills concurrent writers. What was told is in the history; history, what readers see and the
    memory file agree.

    Returns:
        The number of kills.
    """
    file, told = folder / "edits.jsonl", list[Any]()
    Store.open(file, "Ann").add([Store.open(None, "Ann").make("first", "one")])
    for number in range(ROUNDS):
        children = []
        for place in range(WRITERS):
            seed = Random(rng.random())
            name = f"{number}.{place}"
            children.append(start(lambda tell, n=name, s=seed: write(file, n, s, tell)))
        for child in children:
            time.sleep(rng.random() * 0.05)
            told += killed(child)
        sound(file, told)
    return ROUNDS * WRITERS


def sound(file: Path, told: list[Any]) -> None:
    """Asserts that a memory has every operation that was told, and agrees with itself."""
    store = Store.open(file, "Reader")
    history = list(store.log())[::-1]
    assert [operation.seq for operation in history] == list(range(1, store.seq + 1))
    known = {operation.seq: fields(operation) for operation in history}
    for one in told:
        assert known.get(one["seq"]) == one, f"lost: {one}, but there is {known.get(one['seq'])}"
    assert replay((), (operation.change for operation in history)) == store.edits
    with store.turn():  # the next writer finishes what a killed one began
        assert memory_file.parse(file.read_bytes(), file).edits == store.edits
    assert not check.problems(file)
    assert not list(file.parent.glob(".*.new")), "a new file that nobody removes"


def repairs(rng: Random, folder: Path) -> int:
    """Kills repairs of a damaged memory. In the end every edit is there that could be read.

    Returns:
        The number of kills.
    """
    file, kills = folder / "edits.jsonl", 0
    for _ in range(6):
        for old in folder.iterdir():
            old.unlink()
        store = Store.open(file, "Ann")
        for number in range(8):
            store.add([store.make(f"{number}", "x" * rng.choice((1, 500)))])
        store.remove([next(iter(store.edits))])
        rows = file.read_bytes().split(b"\n")
        at = rng.randrange(1, len(rows) - 1)
        rows[at] = rows[at][: rng.randrange(1, len(rows[at]))] + b"\xff"
        file.write_bytes(b"\n".join(rows))
        if rng.random() < 0.5:
            data = bytearray(journal_of(file).read_bytes())
            data[rng.randrange(200, len(data))] ^= 4
            journal_of(file).write_bytes(bytes(data))
        wanted = set(check.read(file.read_bytes(), file).edits)
        for _ in range(rng.randrange(1, 5)):
            child = start(lambda tell: tell({"kept": check.repair(file, "Ann").kept}))
            time.sleep(rng.random() ** 2 * 0.02)
            killed(child)
            kills += 1
        check.repair(file, "Ann")
        assert not check.problems(file)
        assert wanted <= set(Store.open(file).edits), "an edit that could be read is gone"
    return kills
