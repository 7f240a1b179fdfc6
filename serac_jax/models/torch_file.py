"""Reads what `torch.save` wrote, without PyTorch and without running anything that the file asks
for.

Such a file is a zip archive of a pickle (data.pkl) and of the bytes of every tensor (data/0,
data/1, …). A pickle names the functions that build its objects. The reader knows those that build
tensors and dictionaries, and has its own for them; any other name becomes an `Unknown`, which keeps
what it is given and does nothing. No name is ever imported."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from serac_jax.core.errors import UserError

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


class TorchFileError(UserError):
    """A file is not one that `torch.save` wrote, or is damaged."""


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
        """The values. Raises TorchFileError where the archive does not hold all of them."""
        file, member, dtype = self.storage
        with opened(file) as archive:
            if member not in archive.namelist():
                raise TorchFileError(
                    f"{file}: {member}, the bytes of a tensor, is missing; is the file complete?"
                )
            flat = np.frombuffer(archive.read(member), dtype)
        last = self.offset + sum(
            (size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True)
        )
        if 0 in self.shape:
            return np.zeros(self.shape, dtype)
        if min((self.offset, *self.strides)) < 0 or last >= len(flat):
            raise TorchFileError(
                f"{file}: {member} has {len(flat)} values, too few for a tensor of shape"
                f" {self.shape}; is the file complete?"
            )
        strides = [stride * dtype.itemsize for stride in self.strides]
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, strides).copy()


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
        kind, key = saved[1].name.rpartition(".")[2], saved[2]
        if kind not in DTYPES:
            raise TorchFileError(
                f"{self.source}: tensors of {kind} are not supported; supported are"
                f" {', '.join(DTYPES)}"
            )
        return Storage(self.source, f"{self.root}data/{key}", DTYPES[kind])


def opened(file: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise TorchFileError(
            f"{file} is not a zip archive, as torch.save writes since PyTorch 1.6; is it complete?"
            " An older one can be written anew by a newer PyTorch"
        ) from error


def load(file: Path) -> Any:
    """What was saved: dictionaries, lists and numbers as they were, a `Tensor` for every tensor, an
    `Unknown` for anything else.

    Raises TorchFileError where the file is damaged or of another kind.
    """
    with opened(file) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise TorchFileError(
                f"{file} holds no data.pkl; it is a zip archive, but not one that torch.save wrote"
            )
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise TorchFileError(
                f"{file} was written on a big-endian machine; write it anew on a little-endian one"
            )
        with archive.open(pickles[0]) as handle:
            try:
                return Unpickler(file, root, handle).load()
            except (
                pickle.UnpicklingError,
                EOFError,
                AttributeError,
                IndexError,
                KeyError,
                TypeError,
                ValueError,
            ) as error:
                raise TorchFileError(
                    f"{file}: its pickle cannot be read ({type(error).__name__}: {error}); is the"
                    " file complete?"
                ) from error
