"""The sizes of a task's batches, measured once and kept."""

from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path
from typing import Any

from serac_jax.core import files
from serac_jax.core.model_files import DamagedFile, read_json, read_json_list
from serac_jax.core.types import Config
from serac_jax.tasks.data_files import SUFFIXES
from serac_jax.tasks.task import Task
from serac_jax.text import sizes
from serac_jax.text.encoder import Encoder
from serac_jax.text.queries import Encode
from serac_jax.text.sizes import Size

SAMPLE = 512  # batches that sizes are measured on: the first ones of the stream
PROBE = "Ab c-d, 12: Ünï?"  # tells tokenizers of one vocabulary apart
IGNORED = ("cache", "workers")  # fields of config.data that change no batch
VERSION = 1  # raise it where the same rows would be measured differently


def with_measured_sizes(task: Task, config: Config, cache: Path, run: Path | None = None) -> Task:
    """The same task, whose batches are padded to measured sizes instead of the limits of texts.

    Sizes are a function of the config and the rows alone, so that all processes of a run find the
    same ones, and measure none that are in the cache.

    Args:
        run: the folder of a training run, which keeps the sizes of its batches in sizes.json: when
            it goes on, they are the same, whatever has become of the cache.
    """
    if config.data.sizes == 1:
        return task  # the only size has to hold every batch

    def batches(split: str, size: int, train: bool, encode: Encode | None = None) -> Any:
        if encode is None:
            found = remembered(task, config, cache, run, (split, size, train))
            encode = task.encode.with_sizes(found)
        return task.batches(split, size, train, encode)

    return task._replace(batches=batches)


def remembered(
    task: Task, config: Config, cache: Path, run: Path | None, stream: tuple[str, int, bool]
) -> tuple[Size, ...]:
    """The sizes of a stream of batches: those of the run, or of the cache, or measured now."""
    split, size, train = stream
    kept = run / "sizes.json" if run else None
    name = f"{'train' if train else 'evaluate'} {split}, {size} edits"
    known = read_json(kept) if kept and kept.exists() else {}
    if kept and name in known:
        return restored(known[name], kept)
    file = cache / "sizes" / f"{digest(task, config, stream)}.json"
    try:
        found = restored(read_json_list(file), file)
    except DamagedFile:  # or there is none
        found = measure(task, config.data.sizes, split, size, train)
        write(file, described(found))
    if kept:
        write(kept, known | {name: described(found)})
    return found


def measure(task: Task, count: int, split: str, size: int, train: bool) -> tuple[Size, ...]:
    """Draws the first batches of a stream, and chooses sizes for their lengths."""
    stream = task.batches(split, size, train, task.encode.lengths)
    return sizes.choose(list(itertools.islice(stream, SAMPLE)), count, task.encode.limits)


def digest(task: Task, config: Config, stream: tuple[str, int, bool]) -> str:
    """Of all that decides the lengths of a stream's batches."""
    encode: Encoder = task.encode
    folder = task.needs(stream[0]).folder
    rows = [
        (str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted([*folder.glob("*"), *folder.glob("*/*")])
        if path.suffix in SUFFIXES
    ]
    options = {
        name: value
        for name, value in json.loads(config.data.to_json()).items()
        if name not in IGNORED
    }
    read = [
        VERSION,
        SAMPLE,
        stream,
        (config.task, config.seed, options, encode.pairs, encode.judged, encode.classes),
        (str(folder.resolve()), rows),
        encode.form._replace(tokenizer=None),
        *(identity(tokenizer) for tokenizer in (encode.base, encode.scope) if tokenizer),
    ]
    return hashlib.sha256(repr(read).encode()).hexdigest()[:32]


def identity(tokenizer: Any) -> Any:
    """What tells one tokenizer from another."""
    return sorted(tokenizer.get_vocab().items()), tokenizer(PROBE)["input_ids"]


def described(found: tuple[Size, ...]) -> list[dict[str, Any]]:
    return [size._asdict() for size in found]


def restored(written: Any, file: Path) -> tuple[Size, ...]:
    """The sizes that a file holds. Raises DamagedFile."""
    try:
        return tuple(Size(**size) for size in written)
    except TypeError as error:
        raise DamagedFile(file, "does not hold sizes of batches") from error


def write(file: Path, content: Any) -> None:
    """Writes a file in one step: other processes see all of it or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(file, content)
