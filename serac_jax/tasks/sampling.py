"""The order of batches: which rows a step edits together, and the random generator it draws from.

Both are pure functions of (seed, split, step). So a run can be resumed anywhere, with any number of
workers, and training and validation never share a random stream.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import grain
import numpy as np

from serac_jax.core.errors import UserError

# Row numbers (−1: padding) and a generator -> a batch, as its `Encode` makes it from words.
Draw = Callable[[np.ndarray, np.random.Generator], Any]
# A generator -> the row numbers of every step of an epoch; in training always as many steps.
Order = Callable[[np.random.Generator], np.ndarray]


def batches(
    rows: int,
    draw: Draw,
    *,
    size: int,
    seed: int,
    split: str,
    train: bool,
    workers: int = 0,
    order: Order | None = None,
    others: bool = True,
) -> grain.IterDataset:
    """Batches of `size` edits.

    Args:
      rows: the number of rows of the split.
      draw: turns the row numbers of a step into its batch.
      size: edits per batch.
      seed: of all that is drawn.
      split: the name of the split.
      train: shuffled anew every epoch, without end, always full. Otherwise every row once, in
        order, the last batch filled with padding.
      workers: processes that prepare batches ahead; 0 prepares them in threads.
      order: which rows make a batch, where not any may be edited together.
      others: whether questions out of scope are drawn from the rows that a batch does not edit.

    Raises:
      UserError: where the split has too few rows for a batch.
    """
    require_rows(rows, size, split, train, others)
    stream = int(np.random.SeedSequence([seed, zlib.crc32(split.encode())]).generate_state(1)[0])
    source = grain.MapDataset.range(rows).seed(stream)
    if order:
        index = grain.MapDataset.source(Epochs(order, stream, endless=train)).seed(stream)
    elif train:
        index = source.shuffle().batch(size, drop_remainder=True).repeat()
    else:
        index = source.batch(size).map(
            lambda rows: np.pad(rows, (0, size - len(rows)), constant_values=-1)
        )
    drawn = index.random_map(Drawing(draw)).to_iter_dataset(
        grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)
    )
    if not workers:
        return drawn
    options = grain.MultiprocessingOptions(num_workers=workers)
    return drawn.mp_prefetch(options, worker_init_fn=end_with_parent)


def end_with_parent(*_: int) -> None:
    """Lets a worker process end when the one that started it has ended, also where that was
    killed."""

    def wait() -> None:
        if parent := multiprocessing.parent_process():
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def go_to(data: grain.DatasetIterator, saved: dict[str, Any], count: int) -> None:
    """Moves an iterator of `batches` to a saved state.

    Where that is of another number of workers, to the same batch: the order is the same for all.

    Args:
      saved: what `get_state` gave, of an iterator that had given `count` batches.
    """
    start = data.get_state()
    turns = "iterators_in_use_states"  # of worker processes, which take turns
    if start.keys() == saved.keys() and len(start.get(turns, ())) == len(saved.get(turns, ())):
        data.set_state(saved)
        return
    if turns not in start:
        data.set_state(start | {"next_index": count})
        return
    workers = len(start[turns])
    given = [{"next_index": -(-(count - number) // workers)} for number in range(workers)]
    data.set_state(start | {"next_index_in_cycle": count % workers, turns: given})


def require_rows(rows: int, size: int, split: str, train: bool, others: bool) -> None:
    """Raises UserError where a split has too few rows for batches of `size` edits."""
    field = "train.edits" if train else "eval.edits (in validation, train.edits)"
    if train and rows < size:
        raise UserError(
            f"split {split!r} has {rows} usable rows, fewer than the {size} edits of a batch; lower"
            f" {field} or add rows"
        )
    if others and rows <= size:
        raise UserError(
            f"split {split!r} has {rows} usable rows, none of them left to ask about besides the"
            f" {min(rows, size)} edits of a batch; lower {field} below {rows} or add rows"
        )


class Epochs:
    """The row numbers of every step: one epoch after another, each in its own order."""

    def __init__(self, order: Order, stream: int, endless: bool):
        self.order, self.stream, self.endless = order, stream, endless
        self.epoch = lru_cache(maxsize=2)(
            lambda number: order(np.random.default_rng([stream, number]))
        )
        self.steps = len(self.epoch(0))

    def __len__(self) -> int:
        return sys.maxsize if self.endless else self.steps

    def __getitem__(self, index: int) -> np.ndarray:
        epoch, place = divmod(int(index), self.steps)
        return self.epoch(epoch)[place]

    def __getstate__(self) -> dict[str, Any]:  # a worker process starts with an empty cache
        return {"order": self.order, "stream": self.stream, "endless": self.endless}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)


class Drawing(grain.transforms.RandomMap):
    """`Draw` as a transform that a worker process can receive."""

    def __init__(self, draw: Draw):
        self.draw = draw

    def random_map(self, element: Any, rng: np.random.Generator) -> Any:
        return self.draw(element, rng)


def choose(options: Sequence[Any], rng: np.random.Generator) -> Any:
    return options[int(rng.integers(len(options)))]
