"""Reads what `torch.save` wrote, without PyTorch and without running anything that the file asks
for.

Such a file is a zip archive of a pickle (data.pkl) and of the bytes of every tensor (data/0,
data/1, …). A pickle names the functions that build its objects. The reader knows those that build
tensors and dictionaries, and has its own for them; any other name becomes an `Unknown`, which keeps
what it is given and does nothing. No name is ever imported."""

from __future__ import annotations

import io
import lzma
import math
import pickle
import pickletools
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from serac_jax.core.model_files import DamagedFile

DTYPES = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(jnp.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(bool),
}


PLACES = ("PUT", "BINPUT", "LONG_BINPUT")  # operations of pickles
SMALL = 2**20  # bytes of a pickle that may be packed


class Storage(NamedTuple):
    """The bytes behind one or several tensors: a member of the archive."""

    file: Path
    member: str
    dtype: np.dtype


@dataclass(frozen=True)
class Tensor:
    """A tensor that is still on disk."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in elements

    def read(self) -> np.ndarray:
        """The values. Raises DamagedFile where the archive does not hold all of them."""
        file, member, dtype = self.storage
        if 0 in self.shape:
            return np.zeros(self.shape, dtype)
        if not well_formed(self):
            raise DamagedFile(file, f"{member} has a tensor without a shape that makes sense")
        flat = np.frombuffer(member_bytes(file, member, dtype.itemsize), dtype)
        last = self.offset + sum(
            (size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True)
        )
        if last >= len(flat) or math.prod(self.shape) > len(flat):
            raise DamagedFile(
                file,
                f"{member} has {len(flat)} values, too few for a tensor of shape {self.shape}",
            )
        strides = [stride * dtype.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, strides).copy()


def well_formed(tensor: Tensor) -> bool:
    """Whether offset, shape and strides are numbers that are not negative, as many of each."""
    numbers = (tensor.offset, *tensor.shape, *tensor.strides)
    return len(tensor.shape) == len(tensor.strides) and all(
        isinstance(number, int) and number >= 0 for number in numbers
    )


def member_bytes(file: Path, member: str, item: int) -> bytes:
    """The bytes behind a tensor, cut to whole items. They are stored as they are, so that they are
    never more than the file."""
    with opened(file) as archive:
        if member not in archive.namelist():
            raise DamagedFile(file, f"{member}, the bytes of a tensor, is missing")
        size = archive.getinfo(member).file_size
        if size > file.stat().st_size:
            raise DamagedFile(file, f"{member} claims {size} bytes, more than the whole file")
        data = contained(archive, file, member)
    return data[: len(data) - len(data) % item]


# RuntimeError: of a member that is encrypted, or compressed in an unknown way; ValueError: of one
# whose name is no text
UNREADABLE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, RuntimeError,
    ValueError,
)  # fmt: skip


def contained(archive: zipfile.ZipFile, file: Path, member: str) -> bytes:
    """The content of a member. Raises DamagedFile where it cannot be unpacked."""
    try:
        return archive.read(member)
    except UNREADABLE as error:
        raise DamagedFile(file, f"{member} cannot be read ({error})") from error


class Unknown:
    """Stands for any object that is not a tensor or a dictionary; `state` is what it would have
    been restored from."""

    name = ""
    state: Any = None

    def __new__(cls, *_: Any, **__: Any) -> Unknown:
        return super().__new__(cls)

    def __init__(self, *arguments: Any, **_: Any):
        self.state = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Entries of a kind of dictionary are not kept."""

    def extend(self, values: Any) -> None:
        """Items of a kind of list are not kept."""

    append = extend


def tensor(
    storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> Tensor:
    """What torch._utils._rebuild_tensor_v2 would make."""
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def parameter(data: Tensor, *_: Any) -> Tensor:
    """What torch._utils._rebuild_parameter would make."""
    return data


KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): tensor,
    ("torch._utils", "_rebuild_parameter"): parameter,
}


class Unpickler(pickle.Unpickler):
    """An unpickler whose every function and class is one of KNOWN, or does nothing."""

    def __init__(self, file: Path, root: str, handle: Any):
        super().__init__(handle)
        self.source, self.root = file, root

    def find_class(self, module: str, name: str) -> Any:
        found = KNOWN.get((module, name))
        return found or type("Unknown", (Unknown,), {"name": f"{module}.{name}"})

    def persistent_load(self, saved: Any) -> Storage:
        """("storage", its type, its key, its device, its length)."""
        try:
            kind, key = saved[1].name.rpartition(".")[2], saved[2]
        except (TypeError, IndexError, AttributeError) as error:
            raise DamagedFile(self.source, "its pickle names a tensor without values") from error
        if kind not in DTYPES:
            raise DamagedFile(
                self.source,
                f"tensors of {kind} are not supported; supported are {', '.join(DTYPES)}",
            )
        return Storage(self.source, f"{self.root}data/{key}", DTYPES[kind])


def check_places(pickled: bytes) -> None:
    """Raises ValueError where a pickle remembers an object at a place that no list of so few
    objects has: Python would make room for all places before it."""
    for operation, place, _ in pickletools.genops(pickled):
        if operation.name in PLACES and int(place or 0) > len(pickled):
            raise ValueError(f"it remembers an object at place {place}")


def opened(file: Path) -> zipfile.ZipFile:
    """The archive. Raises DamagedFile where the file is none."""
    try:
        return zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DamagedFile(
            file,
            "is not a zip archive, as torch.save writes since PyTorch 1.6 (newer versions can"
            " rewrite older files)",
        ) from error


def load(file: Path) -> Any:
    """What was saved: dictionaries, lists and numbers as they were, a `Tensor` for every tensor, an
    `Unknown` for anything else.

    Raises:
        DamagedFile: the file is damaged, or of another kind.
    """
    with opened(file) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise DamagedFile(
                file, "holds no data.pkl: a zip archive, but not one that torch.save wrote"
            )
        root = pickles[0].removesuffix("data.pkl")
        order = f"{root}byteorder"
        if order in names and contained(archive, file, order) != b"little":
            raise DamagedFile(file, "was written on a big-endian machine, whose bytes differ")
        if archive.getinfo(pickles[0]).file_size > max(file.stat().st_size, SMALL):
            raise DamagedFile(file, "its pickle is larger than the whole file")
        pickled = contained(archive, file, pickles[0])
    try:
        check_places(pickled)
        return Unpickler(file, root, io.BytesIO(pickled)).load()
    except DamagedFile:
        raise
    except Exception as error:  # a damaged pickle can raise anything, from MemoryError to KeyError
        raise DamagedFile(
            file, f"its pickle cannot be read ({type(error).__name__}: {error})"
        ) from error
