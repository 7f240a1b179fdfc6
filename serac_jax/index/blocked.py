"""Exact nearest-neighbour search over the keys of stored edits, on one or several devices.

`Index` is the protocol; any implementation can replace `BlockedIndex`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

from serac_jax.core.arrays import AnyArray
from serac_jax.core.errors import UserError
from serac_jax.core.sharding import make_mesh, replicated
from serac_jax.index import device_search, host_search
from serac_jax.index.device_search import Stored
from serac_jax.index.distance import Distance
from serac_jax.text.buckets import bucket

SCORES = 1 << 25  # scores held at a time, which bounds what a search of many queries allocates
# rounded keys that are widened at a time, by kind of device; on a CPU they should fit its cache
BLOCK = {"cpu": 2_048}
BLOCK_ELSEWHERE = 65_536
FEWEST = 256  # initial slots per device
# From so many slots per device on, capacity grows by half instead of doubling, since empty slots
# are searched too.
HALVES = 8_192
# Candidates beyond k, so that rounding loses none before they are scored exactly.
SPARE = {"float32": 8, "bfloat16": 24, "int8": 24}


@runtime_checkable
class Index(Protocol):
    """Keys in numbered slots, each with tags as bits (`index.tags`).

    A query sees a slot if their tags have a bit in common.
    """

    def reserve(self, slots: int) -> None:
        """Makes room for so many slots."""
        ...

    def put(
        self,
        slots: Int[np.ndarray, " n"],
        keys: Float[AnyArray, "n d"],
        tags: UInt32[np.ndarray, "n w"],
    ) -> None:
        """Fills slots; rows whose slot is −1 are padding."""
        ...

    def drop(self, slots: Int[np.ndarray, " n"]) -> None:
        """Empties slots."""
        ...

    def search(
        self, queries: Float[AnyArray, "n d"], seen: UInt32[np.ndarray, "n w"], k: int
    ) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
        """The k nearest visible slots of each query, best first, and their log-similarities, which
        are −∞ where there are fewer."""
        ...


class BlockedIndex:
    """Compares queries with all keys, a block at a time.

    A program is compiled for each capacity, number of queries (a power of two) and k. The capacity
    grows at most log₂ n times for n inserts.

    Args:
      keys: How keys are stored. "bfloat16" and "int8" take a half or a quarter of the device's
        memory; they select candidates, which exact keys on the host score again. By default
        bfloat16, but float32 on CPUs, where rounded keys save no time (`benchmarks/memory.py`).
      devices: Keys are split over them; by default the first device.
    """

    def __init__(
        self,
        width: int,
        distance: Distance,
        keys: str | None = None,
        devices: Sequence[Any] | None = None,
    ):
        devices = cast(Sequence[Any], jax.devices()[:1] if devices is None else devices)
        self.distance, self.mesh = distance, make_mesh(data=len(devices), devices=devices)
        self.kind = keys or ("float32" if devices[0].platform == "cpu" else "bfloat16")
        if self.kind not in device_search.KINDS:
            raise UserError(
                f"keys={keys!r} is not known; there are {', '.join(device_search.KINDS)}"
            )
        self.block = BLOCK.get(devices[0].platform, BLOCK_ELSEWHERE)
        self.stored = cast(
            Stored,
            device_search.blank(FEWEST * len(devices), width, distance.heads, self.kind, self.mesh),
        )
        self.exact = (
            None if self.kind == "float32" else np.zeros((self.capacity, width), np.float32)
        )
        self.few = (
            host_search.FEW
            if self.exact is None and self.mesh.size == 1 and devices[0].platform == "cpu"
            else 0
        )  # at most so many scores are computed by NumPy
        self.views: Stored | None = None

    @property
    def capacity(self) -> int:
        return self.stored.tags.shape[0]

    def reserve(self, slots: int) -> None:
        self.grow(slots, 1)

    def put(
        self,
        slots: Int[np.ndarray, " n"],
        keys: Float[AnyArray, "n d"],
        tags: UInt32[np.ndarray, "n w"],
    ) -> None:
        self.grow(int(slots.max(initial=-1)) + 1, tags.shape[1])
        self.change(device_search.fill, slots.astype(np.int32), keys, self.widened(tags))
        if self.exact is not None:
            self.exact[slots[slots >= 0]] = np.asarray(keys)[slots >= 0]

    def drop(self, slots: Int[np.ndarray, " n"]) -> None:
        where = np.full(bucket(len(slots)), -1, np.int32)
        where[: len(slots)] = slots
        self.change(device_search.empty, where)

    def search(
        self, queries: Float[AnyArray, "n d"], seen: UInt32[np.ndarray, "n w"], k: int
    ) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
        rows = max(SCORES // self.capacity, 1)
        found = [
            self.search_some(queries[at : at + rows], seen[at : at + rows], k)
            for at in range(0, len(queries), rows)
        ]
        slots, scores = (np.concatenate(leaves) for leaves in zip(*found, strict=True))
        return slots, scores

    def search_some(
        self, queries: Float[AnyArray, "n d"], seen: UInt32[np.ndarray, "n w"], k: int
    ) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
        """`search` for as many queries as one program takes."""
        proposed, seen = min(k + SPARE[self.kind], self.capacity), self.widened(seen)
        if len(queries) * self.capacity <= self.few:
            self.views = self.views or host_search.views(self.stored)
            return host_search.nearest(
                self.views,
                np.asarray(queries),
                seen,
                proposed=proposed,
                k=k,
                distance=self.distance,
            )
        rows = self.capacity // self.mesh.size
        found = cast(
            tuple[Array, Array],
            device_search.nearest(
                self.stored,
                *self.everywhere(queries, seen),
                proposed=proposed,
                k=k if self.exact is None else proposed,
                block=rows if self.exact is None else math.gcd(self.block, rows),
                distance=self.distance,
                mesh=self.mesh,
            ),
        )
        slots, scores = jax.device_get(found)
        if self.exact is not None:
            at, scores = jax.device_get(
                device_search.rescored(
                    self.exact[slots], queries, scores, k=k, distance=self.distance
                )
            )
            slots = np.take_along_axis(slots, at, -1)
        return slots, scores

    def change(self, program: Callable[..., Stored], *arrays: Any, **how: int) -> None:
        """Replaces the stored arrays by a program's result, in place where possible."""
        self.views = None
        self.stored = program(self.stored, *self.everywhere(*arrays), **how, mesh=self.mesh)

    def grow(self, slots: int, words: int) -> None:
        """Grows capacity and words of tags until both suffice."""
        rows, words = self.capacity // self.mesh.size, max(words, self.stored.tags.shape[1])
        while rows * self.mesh.size < slots:
            whole = rows.bit_count() == 1  # else three halves of a power of two
            rows = rows * 2 if rows < HALVES else rows // 2 * 3 if whole else rows // 3 * 4
        capacity = rows * self.mesh.size
        if self.exact is not None:
            self.exact = (
                np.pad(self.exact, ((0, capacity - self.capacity), (0, 0)))
                if capacity > self.capacity
                else self.exact
            )
        if (capacity, words) != self.stored.tags.shape:
            self.change(device_search.grown, rows=capacity, words=words)

    def widened(self, tags: UInt32[np.ndarray, "n w"]) -> UInt32[np.ndarray, "n v"]:
        """Tags with as many words as are stored; no stored edit has the tags that are cut off."""
        missing = self.stored.tags.shape[1] - tags.shape[1]
        return (
            np.pad(tags, ((0, 0), (0, missing)))
            if missing > 0
            else tags[:, : self.stored.tags.shape[1]]
        )

    def everywhere(self, *arrays: Any) -> Any:
        """Replicates arrays over the devices; on one device they are passed as they are, which is
        faster."""
        return arrays if self.mesh.size == 1 else jax.device_put(arrays, replicated(self.mesh))
