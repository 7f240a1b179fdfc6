"""Keys of a memory's edits on disk, so that a large memory opens without being embedded again.

A memory's folder in the cache has one file for each classifier, named by its digest. It is a header
and then one row per edit: the edit's id, which is a hash of its texts, its key in float32, and a
checksum of both. Rows are only appended. A row is used only if its id and checksum are right; other
edits are embedded again and appended. The folder may be deleted at any time, and where it cannot be
written the memory works all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import repeat
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, UInt64

from serac_jax.core import files
from serac_jax.core.errors import UserError

HEADER = 64  # bytes
# of checksums: a row of zeros, as a full disk or a crash may leave it, is no row
SALT = 0x9E3779B97F4A7C15


class KeyCache:
    """The keys of one classifier, `width` numbers each."""

    def __init__(self, file: Path, width: int):
        self.file = file
        self.width = width
        self.row = np.dtype(
            [("id", "<u8"), ("key", "<f4", (width + width % 2,)), ("sum", "<u8")]
        )  # whole words of eight bytes
        self.header = f"serac_jax keys 1 {width}\n".encode().ljust(HEADER)
        self.weights = np.random.default_rng(0).integers(
            1 << 63, size=self.row.itemsize // 8 - 1, dtype=np.uint64
        ) * np.uint64(2) + np.uint64(1)
        self.forget()

    def forget(self) -> None:
        self.rows = np.zeros(0, self.row)  # mapped, as far as they were looked at
        self.at: dict[int, int] = {}  # the row of an id
        self.inode = 0

    def read(self, ids: Sequence[str]) -> tuple[Bool[np.ndarray, " n"], Float[np.ndarray, "n d"]]:
        """Which edits have a key, and the keys; rows of the others are undefined."""
        self.refresh()
        numbers = hashes(ids)
        places = np.fromiter(map(self.at.get, numbers.tolist(), repeat(-1)), np.int64, len(ids))
        rows = self.rows[places] if len(self.rows) else np.zeros(len(ids), self.row)
        return (places >= 0) & (rows["id"] == numbers) & (rows["sum"] == self.sums(rows)), rows[
            "key"
        ][:, : self.width]

    def append(self, ids: Sequence[str], keys: Float[np.ndarray, "n d"]) -> None:
        """Appends keys, if the folder can be written."""
        rows = np.zeros(len(ids), self.row)
        rows["id"], rows["key"][:, : self.width] = hashes(ids), keys
        rows["sum"] = self.sums(rows)
        with suppress(OSError, UserError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with files.locked(self.file) as file:
                size = file.seek(0, 2)
                begun = size >= HEADER
                file.seek(size - (size - HEADER) % self.row.itemsize if begun else 0)
                file.truncate()  # what a killed writer left of a row
                files.write_all(file, (b"" if begun else self.header) + rows.tobytes())

    def refresh(self) -> None:
        """Maps rows that were appended since, or all if the file was replaced. A file with another
        header is deleted."""
        try:
            with self.file.open("rb") as file:
                inode, size, _ = files.stamp(self.file)
                count = (size - HEADER) // self.row.itemsize
                if size >= HEADER and file.read(HEADER) != self.header:
                    self.file.unlink()
                    raise FileNotFoundError
        except OSError:
            self.forget()
            return
        if inode != self.inode or count < len(self.rows):
            self.forget()
        if count > (known := len(self.rows)):
            self.inode = inode
            self.rows = np.memmap(self.file, self.row, "r", HEADER, (count,))
            self.at.update(zip(self.rows["id"][known:].tolist(), range(known, count), strict=True))

    def sums(self, rows: np.ndarray) -> UInt64[np.ndarray, " n"]:
        """A checksum per row: odd weights detect any change within eight bytes, and other changes
        but for one in 2⁶³."""
        words = rows.view(np.uint64).reshape(len(rows), -1)[:, :-1]
        return words @ self.weights + np.uint64(SALT)


def hashes(ids: Sequence[str]) -> UInt64[np.ndarray, " n"]:
    """Ids of edits as numbers."""
    return np.frombuffer(bytes.fromhex("".join(ids)), ">u8").astype("<u8")
