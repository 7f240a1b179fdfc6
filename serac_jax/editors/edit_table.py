"""The edit table: stored edits in device arrays of fixed capacity, so that every program that reads
it compiles once."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Scalar

from serac_jax.core.arrays import AnyArray
from serac_jax.core.batch import Examples
from serac_jax.core.errors import UserError
from serac_jax.editors.protocol import Route, Thresholds


class TableFull(UserError):
    """More edits were written than the table has slots."""


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
    count: Scalar  # pyright: ignore[reportIncompatibleMethodOverride]  (of tuple)

    @property
    def capacity(self) -> int:
        return self.live.shape[0]


def empty(capacity: int, keys: Float[Array, "k d"], edits: Examples) -> EditTable:
    """A table of `capacity` slots for keys and edits of the given widths; the arguments' rows are
    not read."""

    def slots(leaf: AnyArray) -> Array:
        return jnp.zeros((capacity, *leaf.shape[1:]), leaf.dtype)

    return EditTable(
        slots(keys), jax.tree.map(slots, edits), jnp.zeros(capacity, bool), jnp.zeros((), jnp.int32)
    )


def write(table: EditTable, keys: Float[Array, "k d"], edits: Examples) -> EditTable:
    """Appends the edits whose weight is not 0.

    While tracing, the number of edits is unknown: surplus edits are left out of the arrays but
    counted, and `require_room` refuses the result outside the trace.

    Raises:
        TableFull: they do not fit.
    """
    real = edits.rows > 0
    slot = jnp.where(  # padding goes past the end, where it is dropped
        real, table.count + jnp.cumsum(real) - 1, table.capacity
    )

    def put(store: Array, rows: AnyArray) -> Array:
        width = store.shape[1] - rows.shape[1]
        if width < 0:
            raise ValueError(
                f"an edit is {rows.shape[1]} wide, the table's slots are {store.shape[1]} wide:"
                " build the table with wider slots"
            )
        return store.at[slot].set(jnp.pad(rows, ((0, 0), (0, width))), mode="drop")

    written = EditTable(
        put(table.keys, keys),
        jax.tree.map(put, table.edits, edits),
        table.live.at[slot].set(True, mode="drop"),
        table.count + real.sum(),
    )
    require_room(written)
    return written


def require_room(table: EditTable) -> None:
    """Raises TableFull if more edits were written than fit; does nothing while tracing."""
    if not isinstance(table.count, Tracer) and int(table.count) > table.capacity:
        raise TableFull(
            f"{int(table.count)} edits do not fit in a table of capacity {table.capacity}; raise"
            " `capacity`"
        )


def route(
    table: EditTable,
    queries: Examples,
    log_similarity: Float[Array, "n c"],
    thresholds: Thresholds,
    exact_match: bool,
) -> Route:
    """The stored edit that is nearest to each query, and whether it answers.

    Args:
        log_similarity: of every query and every slot; those of empty slots are not read.
        exact_match: an edit whose question has the same words as the query comes before all
            others, with similarity 1; of several the newest.
    """
    live = jnp.where(table.live[None, :], log_similarity, -jnp.inf)
    index = live.argmax(-1)
    nearest = jnp.take_along_axis(live, index[:, None], -1)[:, 0]
    stored, asked = table.edits.words, queries.words
    if exact_match and stored is not None and asked is not None:
        same = (asked[:, None] == stored[None]).all(-1) & table.live[None]
        same &= (asked != 0).any(-1, keepdims=True)
        newest = table.capacity - 1 - jnp.flip(same, -1).argmax(-1)
        index = jnp.where(same.any(-1), newest, index)
        nearest = jnp.where(same.any(-1), 0.0, nearest)
    return Route(index, nearest, thresholds.hit(jnp.exp(nearest)))
