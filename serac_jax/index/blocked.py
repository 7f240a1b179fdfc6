"""Which stored keys are nearest to a query's vector, by comparing all: on one device or several,
with room that grows.

`Index` is what the editor asks for; any other search behind the same functions may take the place
of `BlockedIndex`."""

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

SCORES = (
    1 << 25
)  # of queries and keys that are held at a time; bounds what a search of many queries allocates
BLOCK = {
    "cpu": 2_048
}  # rounded keys that are widened at a time, by the kind of device: they should stay in a cache
BLOCK_ELSEWHERE = 65_536
FEWEST = 256  # slots of a device to begin with
# slots of a device from which on there is room for half as many more, not twice: empty slots are
# searched too
HALVES = 8_192
SPARE = {
    "float32": 8,
    "bfloat16": 24,
    "int8": 24,
}  # candidates beyond the k asked for, so that rounding loses none before they are scored exactly


@runtime_checkable
class Index(Protocol):
    """Keys in numbered slots; `tags` are bits (live/tags.py), and a query finds a slot where the
    two have a bit in common."""

    def reserve(self, slots: int) -> None:
        """So many slots will be there."""
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
        """The k nearest slots that a query sees, best first, and their log-similarities, −∞ where
        there are fewer."""
        ...


class BlockedIndex:
    """Programs are compiled for every capacity, number of rows (a power of two) and k; the capacity
    grows at most log₂ n times for n inserts.

    keys: "float32"; or "bfloat16" or "int8", in a half or a quarter of the device's memory: these
        only propose, and the exact ones, which stay with the host,
    score again what is proposed. By default bfloat16, but float32 on CPUs, where rounded keys save
    no time (`benchmarks/memory.py`).
    devices: rows are split over them; by default the first one.
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
        )  # scores that NumPy makes at most
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
        """The same for as many queries as one program takes."""
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
        """Keys, tags or the room of both become what a program makes of them, in place where it
        can."""
        self.views = None
        self.stored = program(self.stored, *self.everywhere(*arrays), **how, mesh=self.mesh)

    def grow(self, slots: int, words: int) -> None:
        """Makes more room, and more words of tags, until both fit."""
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
        """Tags with as many words as are stored; tags that no stored edit has are seen nowhere."""
        missing = self.stored.tags.shape[1] - tags.shape[1]
        return (
            np.pad(tags, ((0, 0), (0, missing)))
            if missing > 0
            else tags[:, : self.stored.tags.shape[1]]
        )

    def everywhere(self, *arrays: Any) -> Any:
        """Arrays, whole, on every device; a program of one device takes them as they are, which is
        faster."""
        return arrays if self.mesh.size == 1 else jax.device_put(arrays, replicated(self.mesh))
