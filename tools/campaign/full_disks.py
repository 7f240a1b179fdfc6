"""A disk that becomes full, or fails, at any byte of any operation."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from random import Random
from unittest.mock import patch

from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.edits import check, memory_file
from serac_jax.edits.changes import replay
from serac_jax.edits.store import Store

OPERATIONS = 150
write_all, fsync = files.write_all, os.fsync


@contextmanager
def room_for(count: int, syncs: int) -> Generator[None]:
    """A disk with room for so many bytes, which then takes no more, and that fails after so many
    times that something was made durable."""
    room, left = count, syncs

    def write(file: FileIO, data: bytes) -> None:
        nonlocal room
        write_all(file, data[:room])
        if len(data) > room:
            room = 0
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        room -= len(data)

    def sync(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        fsync(descriptor)

    with patch.object(files, "write_all", write), patch.object(os, "fsync", sync):
        yield


def trial(rng: Random, folder: Path) -> int:
    """Errors leave the memory as it was, or say that the operation counts; readers agree, while
    nothing can be written and afterwards.

    Returns:
        The number of operations that the disk refused.
    """
    file, refused = folder / "edits.jsonl", 0
    store, held = Store.open(file, "Ann"), dict[str, str]()
    for number in range(OPERATIONS):
        gone = rng.choice(list(held)) if held and rng.random() < 0.5 else None
        added = store.make(f"{number}", "ü" * rng.choice((1, 30, 3000)))
        after = {key: text for key, text in held.items() if key != gone} | {added.id: added.prompt}
        some = rng.random() < 0.7
        room = rng.choice((0, 10, 300, 9000)) if some else 1 << 30
        with room_for(room, rng.choice((0, 1, 2, 3, 99)) if some else 1 << 30):
            try:
                store.add([added], replacing=[gone] if gone else [])
                held = after
            except UserError as error:
                refused += 1
                told = str(error)
                assert "No space left" in told or "Input/output error" in told, told
                if "the operation counts" in told:
                    held = after
                else:
                    assert "nothing that was committed is lost" in told, told
            if number % 10 == 0:
                assert list(Store.open(file).edits) == list(held), "a reader sees something else"
        if rng.random() < 0.3:
            store = Store.open(file, "Ann")
        store.refresh()
        assert list(store.edits) == list(held)
        assert not list(folder.glob(".*.new")), "a new file that nobody removes"
    with store.turn():
        assert list(memory_file.parse(file.read_bytes(), file).edits) == list(held)
    assert list(replay((), (one.change for one in list(store.log())[::-1]))) == list(held)
    assert not check.problems(file)
    return refused
