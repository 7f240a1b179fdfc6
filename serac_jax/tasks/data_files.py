"""Data files as TFDS data sets, which are built once."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import operator
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, SupportsIndex, TypeVar

import tensorflow_datasets as tfds

from serac_jax.core.files import locked

Row = TypeVar("Row")
SUFFIXES = (".csv", ".json", ".jsonl", ".txt")  # of files whose change is noticed


class Rows(Generic[Row]):
    """A split that is read row by row; recent rows stay in memory."""

    def __init__(self, source: Sequence[dict[str, Any]], decode: Callable[[dict[str, Any]], Row]):
        self.source, self.decode = source, decode
        self.read = lru_cache(maxsize=1 << 16)(lambda index: decode(source[index]))

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: SupportsIndex) -> Row:
        return self.read(operator.index(index))

    def __getstate__(self) -> dict[str, Any]:  # a worker process starts with an empty cache
        return {"source": self.source, "decode": self.decode}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)


@contextlib.contextmanager
def one_at_a_time(cache: Path) -> Iterator[None]:
    """Lets one process prepare files in a cache while others wait for them."""
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / "preparing", patience=12 * 3600):
        yield


def prepare(builder: type[tfds.core.GeneratorBasedBuilder], folder: Path, cache: Path) -> Any:
    """Builds a data set as array_record files, which need no TensorFlow.

    It is built once, and again when a source file changes.

    Raises:
      DataError: a file is malformed. Nothing half-built is left behind.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    stamp = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    digest = hashlib.sha256(json.dumps([str(folder.resolve()), stamp]).encode()).hexdigest()[:16]
    tfds.disable_progress_bar()
    built = builder(folder=folder, data_dir=cache / "tfds" / digest, file_format="array_record")
    with (
        one_at_a_time(cache),
        contextlib.redirect_stdout(io.StringIO()),
    ):  # TFDS announces a download
        built.download_and_prepare()
    # Unlike the builder itself, this one can be sent to a worker process.
    return tfds.builder_from_directory(built.data_path)
