"""The edit memory: stored edits in device arrays of fixed capacity, so that every program that
reads it compiles once."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, Scalar

from serac_jax.core.batch import Examples
from serac_jax.core.errors import UserError


class TableFull(UserError):
    """More edits were written than the memory has slots."""


class EditTable(NamedTuple):
    """Stored edits, oldest first.

    keys: what a query is compared with, computed once, when an edit is written (width 0 where the
        edit's tokens are read instead).
    edits: the edits themselves, one row a slot.
    live: which slots hold an edit.
    count: how many edits were written; larger than the capacity only where writing was traced (see
        `write`).
    """

    keys: Float[Array, "c d"]
    edits: Examples
    live: Bool[Array, " c"]
    count: Scalar

    @property
    def capacity(self) -> int:
        return self.live.shape[0]


def empty(capacity: int, keys: Float[Array, "k d"], edits: Examples) -> EditTable:
    """A memory of `capacity` slots for keys and edits of the given widths; the arguments' rows are
    not read."""

    def slots(leaf: Array) -> Array:
        return jnp.zeros((capacity, *leaf.shape[1:]), leaf.dtype)

    return EditTable(
        slots(keys), jax.tree.map(slots, edits), jnp.zeros(capacity, bool), jnp.zeros((), jnp.int32)
    )


def write(memory: EditTable, keys: Float[Array, "k d"], edits: Examples) -> EditTable:
    """Appends the edits whose weight is not 0.

    Raises MemoryFull when they do not fit. While tracing the number of edits is unknown: surplus
    edits are then left out of the arrays but counted, and `require_room` refuses the result outside
    the trace."""
    real = edits.rows > 0
    slot = jnp.where(
        real, memory.count + jnp.cumsum(real) - 1, memory.capacity
    )  # padding goes past the end, where it is dropped

    def put(store: Array, rows: Array) -> Array:
        width = store.shape[1] - rows.shape[1]
        if width < 0:
            raise ValueError(
                f"an edit is {rows.shape[1]} wide, the memory's slots are {store.shape[1]} wide:"
                " build the memory with wider slots"
            )
        return store.at[slot].set(jnp.pad(rows, ((0, 0), (0, width))), mode="drop")

    written = EditTable(
        put(memory.keys, keys),
        jax.tree.map(put, memory.edits, edits),
        memory.live.at[slot].set(True, mode="drop"),
        memory.count + real.sum(),
    )
    require_room(written)
    return written


def require_room(memory: EditTable) -> None:
    """Raises MemoryFull if more edits were written than fit; says nothing while tracing."""
    if not isinstance(memory.count, Tracer) and int(memory.count) > memory.capacity:
        raise TableFull(
            f"{int(memory.count)} edits do not fit in a memory of capacity {memory.capacity}; raise"
            " `capacity`"
        )


def nearest(
    memory: EditTable, log_similarity: Float[Array, "n c"]
) -> tuple[Int[Array, " n"], Float[Array, " n"]]:
    """The most similar stored edit of every query and its log-similarity; −inf where the memory is
    empty."""
    live = jnp.where(memory.live[None, :], log_similarity, -jnp.inf)
    index = live.argmax(-1)
    return index, jnp.take_along_axis(live, index[:, None], -1)[:, 0]
