"""Reads GGUF files: their metadata, and their tensors as float32.

The `gguf` package turns quantised blocks into numbers. The header is read here, since a vocabulary
takes that package seconds, and a damaged length can keep it busy for ever.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from serac_jax.core.model_files import DamagedFile
from serac_jax.models.network import WeightError

MAGIC, VERSIONS = b"GGUF", (2, 3)
STRING, ARRAY = 8, 9
SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
ALIGNMENT = 32  # of tensors, unless the metadata says otherwise
ROWS = 1024  # turned into numbers at a time, so that no second copy of a large tensor is made


class Entry(NamedTuple):
    """A tensor in the file; `shape` is that of NumPy and PyTorch, the reverse of GGUF's."""

    kind: int
    shape: tuple[int, ...]
    offset: int


class Header(NamedTuple):
    """What stands before the tensors."""

    file: Path
    metadata: dict[str, Any]
    tensors: dict[str, Entry]
    start: int  # where the tensors begin, from which their offsets count

    def read(self, name: str) -> np.ndarray:
        """A tensor as float32.

        Raises:
            WeightError: its type is not supported.
            DamagedFile: the file does not hold all of it.
        """
        kind, shape, offset = self.tensors[name]
        stored = blocks(kind)
        if stored is None:
            raise WeightError(
                f"{self.file}: the tensor {name!r} has type {kind} of GGML, which is not read;"
                " choose a file in F32, F16, BF16, Q8_0, Q4_0, Q4_1 or one of the K types"
            )
        *outer, inner = shape
        if inner % stored.entries:
            raise DamagedFile(
                self.file,
                f"the rows of {name!r} have {inner} entries, not a multiple of {stored.entries}",
            )
        rows, width = prod(outer), inner // stored.entries * stored.size
        first, last = self.start + offset, self.start + offset + rows * width
        data = np.memmap(self.file, np.uint8, "r").view(np.ndarray)  # slices of a memmap are slow
        if last > len(data):
            raise DamagedFile(self.file, f"the tensor {name!r} ends behind the end of the file")
        raw = data[first:last].reshape(rows, width)
        found = np.empty((rows, inner), np.float32)
        for row in range(0, rows, ROWS):
            found[row : row + ROWS] = stored.dequantize(raw[row : row + ROWS])
        return found.reshape(shape)


class Blocks(NamedTuple):
    """How a type of GGML is stored: the entries and the bytes of a block, and what reads rows."""

    entries: int
    size: int
    dequantize: Callable[[np.ndarray], np.ndarray]


@lru_cache
def blocks(kind: int) -> Blocks | None:
    """How tensors of a type, by its number, are stored; None where the `gguf` package cannot read
    them."""
    import gguf  # a quarter of a second, and only for these files

    try:
        known = gguf.GGMLQuantizationType(kind)
        entries, size = gguf.GGML_QUANT_SIZES[known]
        gguf.dequantize(np.zeros((1, size), np.uint8), known)
    except (ValueError, KeyError, NotImplementedError):
        return None

    def dequantize(rows: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):  # what is not finite is refused later, by its name
            return gguf.dequantize(rows, known)

    return Blocks(entries, size, dequantize)


def read_header(file: Path) -> Header:
    """The metadata of a file, and where its tensors are.

    Raises:
        DamagedFile: it is not a whole GGUF file.
    """
    try:
        data = np.memmap(file, np.uint8, "r")
    except (OSError, ValueError) as error:  # ValueError: of an empty file
        raise DamagedFile(file, f"cannot be read ({error})") from error
    cursor = Cursor(file, data.data)
    if bytes(cursor.take(4)) != MAGIC:
        raise DamagedFile(file, "is not a GGUF file")
    if (version := cursor.scalar("I")) not in VERSIONS:
        raise DamagedFile(
            file, f"is of GGUF version {version}; little-endian files of versions 2 and 3 are read"
        )
    tensor_count, pair_count = cursor.scalar("Q"), cursor.scalar("Q")
    metadata: dict[str, Any] = {}
    for _ in range(pair_count):  # as all loops here, ends at the latest with the file
        key = cursor.text()
        metadata[key] = cursor.value(cursor.scalar("I"))
    tensors: dict[str, Entry] = {}
    for _ in range(tensor_count):
        name = cursor.text()
        dimensions = cursor.scalar("I")
        if not 1 <= dimensions <= 4 or name in tensors:
            raise DamagedFile(file, f"describes the tensor {name[:80]!r} wrongly, or twice")
        shape = tuple(cursor.scalar("Q") for _ in range(dimensions))[::-1]
        if 0 in shape:
            raise DamagedFile(file, f"describes the tensor {name[:80]!r} as empty")
        tensors[name] = Entry(cursor.scalar("I"), shape, cursor.scalar("Q"))
    alignment = metadata.get("general.alignment", ALIGNMENT)
    if not isinstance(alignment, int) or alignment < 1:
        raise DamagedFile(file, f"has the alignment {alignment!r}, which makes no sense")
    return Header(file, metadata, tensors, -(-cursor.at // alignment) * alignment)


@dataclass
class Cursor:
    """Reads one value after another, never behind the end of the file."""

    file: Path
    data: memoryview
    at: int = 0

    def take(self, size: int) -> memoryview:
        """The next bytes."""
        start, self.at = self.at, self.at + size
        if self.at > len(self.data):
            raise DamagedFile(self.file, "ends in the middle of its metadata")
        return self.data[start : self.at]

    def scalar(self, code: str) -> Any:
        """The next number, of a type of `struct`."""
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def text(self) -> str:
        """The next string: its length and its bytes."""
        try:
            return str(self.take(self.scalar("Q")), "utf-8")
        except UnicodeDecodeError as error:
            raise DamagedFile(self.file, "has metadata that is not UTF-8") from error

    def value(self, kind: int) -> Any:
        """The next value: a number, a text, or a list of either."""
        if kind in SCALARS:
            return self.scalar(SCALARS[kind])
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            raise DamagedFile(self.file, f"has metadata of the unknown type {kind}")
        items, count = self.scalar("I"), self.scalar("Q")
        if items == STRING:
            return [self.text() for _ in range(count)]
        if items not in SCALARS:
            raise DamagedFile(self.file, f"has a list of the type {items}, which is not read")
        code = np.dtype(SCALARS[items]).newbyteorder("<")
        return np.frombuffer(self.take(count * code.itemsize), code).tolist()
