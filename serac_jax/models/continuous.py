"""Greedy decoding that rows join and leave between two tokens, so that none waits for another's
end.

The tokens of a row are those of `generate`: a row's keys, values and length are its own, whoever is
beside it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from serac_jax.core.batch import Tokens
from serac_jax.core.types import Params
from serac_jax.models.cache import Cache, Prefix
from serac_jax.models.decoding import Decoding
from serac_jax.models.linear import Intervention
from serac_jax.models.model import Model

Row = TypeVar("Row", bound=Hashable)


def is_plain(model: Model) -> bool:
    """Whether a model answers in words, by greedy decoding without further rules."""
    return model.decodes and model.decoding == Decoding()


@dataclass(eq=False)
class Slots(Generic[Row]):
    """The rows that are being decoded.

    Attributes:
        model: one for which `is_plain`.
        change: interventions, by the path of a layer.
        most: rows that are decoded at once.
        rows: what stands in each slot; None: nothing does.
    """

    model: Model
    params: Params
    change: Mapping[str, Intervention]
    most: int

    def __post_init__(self) -> None:
        self.rows: list[Row | None] = []
        self.cache: Cache | None = None
        self.last: Array | None = None
        self.begin = jax.jit(self._begin, static_argnums=2)
        self.decode = jax.jit(self._decode, donate_argnums=1)

    def _begin(self, given: Any, tokens: Tokens, room: int) -> tuple[Cache, Int[Array, " n"]]:
        params, change, prefix = given
        cache, logits, last = self.model.prefill(params, tokens, room, change, prefix)
        return cache, logits.argmax(-1).astype(last.dtype)

    def _decode(
        self, given: Any, cache: Cache, last: Int[Array, " n"]
    ) -> tuple[Cache, Int[Array, " n"]]:
        params, change = given
        cache, logits = self.model.decode(params, cache, last, change)
        return cache, logits.argmax(-1).astype(last.dtype)

    @property
    def active(self) -> int:
        """How many rows are being decoded."""
        return sum(row is not None for row in self.rows)

    def admit(
        self, rows: Sequence[Row], tokens: Tokens, prefix: Prefix, room: int
    ) -> dict[Row, int]:
        """Reads prompts. Returns the first token of every answer, with which `step` goes on.

        Args:
            rows: what to call them.
            tokens: the prompts; behind one a row, padding.
            prefix: what they stand behind, see `Model.prefix`.
            room: the most tokens of an answer.
        """
        new = self.begin((self.params, self.change, prefix), tokens, room)
        kept = [at for at, row in enumerate(self.rows) if row is not None]
        free = [at for at, row in enumerate(self.rows) if row is None]
        held = (self.cache, self.last)
        if not kept:
            self.choose(new, list(range(len(rows))), rows)
        elif len(free) >= len(rows) and fits(new, held):
            # Rows behind the new ones are padding, which they are written over.
            places = free[: len(rows)] + free[:1] * (len(tokens.ids) - len(rows))
            self.cache, self.last = placed(held, new, jnp.asarray(places, jnp.int32))
            for at, row in zip(free, rows, strict=False):
                self.rows[at] = row
        else:
            names = [*(self.rows[at] for at in kept), *rows]
            taken = [*kept, *(len(self.rows) + at for at in range(len(rows)))]
            self.choose(together(held, new), taken, names)
        return dict(zip(rows, jax.device_get(new[1]).tolist(), strict=False))

    def step(self) -> dict[Row, int]:
        """The next token of every row."""
        if self.cache is None or self.last is None:
            return {}
        given = (self.params, self.change)
        self.cache, self.last = self.decode(given, self.cache, self.last)
        ids = jax.device_get(self.last).tolist()
        return {row: ids[at] for at, row in enumerate(self.rows) if row is not None}

    def release(self, row: Row) -> None:
        """Takes a row out. Slots are given up when fewer would do."""
        self.rows[self.rows.index(row)] = None
        kept = [at for at, other in enumerate(self.rows) if other is not None]
        if not kept:
            self.clear()
        elif self.slots_for(2 * len(kept)) < len(self.rows):  # not for the next one that comes
            self.choose((self.cache, self.last), kept, [self.rows[at] for at in kept])

    def clear(self) -> None:
        """Takes all rows out."""
        self.rows, self.cache, self.last = [], None, None

    def choose(self, state: Any, taken: list[int], names: Sequence[Row | None]) -> None:
        """Keeps some rows of a cache and its last tokens."""
        size = self.slots_for(len(taken))
        padded = taken + taken[:1] * (size - len(taken))
        self.cache, self.last = picked(state, jnp.asarray(padded, jnp.int32))
        self.rows = [*names, *[None] * (size - len(names))]

    def slots_for(self, count: int) -> int:
        """The least of 1, 4, 16, … and `most` that is no smaller: a large model compiles for every
        number of slots, and a token of four rows takes little longer than that of one."""
        slots = 1
        while slots < count:
            slots *= 4
        return max(count, min(slots, self.most))


def fits(new: Any, old: Any) -> bool:
    """Whether rows of a state have no more positions than those of another."""
    pairs = zip(jax.tree.leaves(new), jax.tree.leaves(old), strict=True)
    return all(fresh.shape[1:2] <= held.shape[1:2] for fresh, held in pairs)


@partial(jax.jit, donate_argnums=0)
def placed(state: Any, new: Any, places: Int[Array, " n"]) -> Any:
    """The state with new rows at some places, of which the first one written stays. Nothing else is
    copied."""

    def put(held: Array, fresh: Array) -> Array:
        fresh = filled(fresh, held.shape[1]) if held.ndim > 1 else fresh
        for at in reversed(range(len(places))):
            row = fresh[at : at + 1]
            held = jax.lax.dynamic_update_slice_in_dim(held, row, places[at], 0)
        return held

    return jax.tree.map(put, state, new)


@jax.jit
def picked(state: Any, index: Int[Array, " n"]) -> Any:
    """Some rows of every array."""
    return jax.tree.map(lambda leaf: leaf[index], state)


@jax.jit
def together(one: Any, other: Any) -> Any:
    """The rows of both; the positions of the one that has fewer are filled up."""

    def joined(first: Array, second: Array) -> Array:
        if first.ndim > 1:
            length = max(first.shape[1], second.shape[1])
            first, second = (filled(leaf, length) for leaf in (first, second))
        return jnp.concatenate([first, second])

    return jax.tree.map(joined, one, other)


def filled(leaf: Array, length: int) -> Array:
    """An array with so many positions."""
    rest = ((0, 0), (0, length - leaf.shape[1]), *((0, 0),) * (leaf.ndim - 2))
    return jnp.pad(leaf, rest)
