"""Scope classifiers: how likely a query is in an edit's scope (Mitchell et al. 2022, section 3.1).

Both kinds return log-similarities. An embedding classifier compares an edit's vector, computed
once, with the query's; a cross-attention classifier reads edit and query together, and stores
tokens instead of vectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from serac_jax.core.batch import NOTHING_KNOWN, Examples, Layout, Tokens, packed, splice
from serac_jax.core.types import Params
from serac_jax.editors.edit_table import EditTable
from serac_jax.index.distance import SQUARED, Distance, log_similarity
from serac_jax.models import Model
from serac_jax.models.linear import at_least_float32


class Scope(NamedTuple):
    """A scope classifier as pure functions.

    Attributes:
      keys: (params, edits, key) -> what is stored of each edit, "k d".
      queries: (params, examples, key) -> what is computed once per query, "n d".
      pairs: (params, keys, edits, queries, examples, key, layout) -> the log-similarity of edit i
        and query i, "n"; keys and queries may be None if the classifier reads tokens instead;
        `layout` has the known widths of the two together.
      table: (params, memory, queries, examples) -> the log-similarity of every query and slot, "n
        c".
    """

    keys: Callable[..., Float[Array, "k d"]]
    queries: Callable[..., Float[Array, "n d"]]
    pairs: Callable[..., Float[Array, " n"]]
    table: Callable[..., Float[Array, "n c"]]


def embedding(model: Model, distance: Distance = SQUARED) -> Scope:
    """An embedding classifier: log s = −‖e(edit) − e(query)‖², or another `distance`."""

    def embed(params: Params, tokens: Tokens, key: Array | None) -> Float[Array, "n d"]:
        vectors = at_least_float32(model.embed(params, tokens, key))
        return jnp.tanh(vectors) if distance.bounded else vectors

    def keys(params: Params, edits: Examples, key: Array | None = None) -> Float[Array, "k d"]:
        return embed(params, edits.scope, key)

    def queries(
        params: Params, examples: Examples, key: Array | None = None
    ) -> Float[Array, "n d"]:
        return embed(params, examples.scope, key)

    def pairs(
        params: Params,
        keys: Array,
        edits: Examples,
        queries: Array,
        examples: Examples,
        key: Array | None = None,
        layout: Layout = NOTHING_KNOWN,
    ) -> Float[Array, " n"]:
        return log_similarity(keys, queries, distance)

    def table(
        params: Params,
        memory: EditTable,
        queries: Array,
        examples: Examples,
        key: Array | None = None,
    ) -> Float[Array, "n c"]:
        return log_similarity(memory.keys[None], queries[:, None], distance)

    return Scope(keys, queries, pairs, table)


def cross_attention(model: Model, lead: int) -> Scope:
    """A cross-attention classifier: log s = log-softmax(logits)[0] of a sequence classifier on
    "[CLS] edit [SEP] [SEP] query [SEP]".

    Args:
      lead: The number of opening special tokens.
    """

    def keys(params: Params, edits: Examples, key: Array | None = None) -> Float[Array, "k 0"]:
        return jnp.zeros((edits.labels.shape[0], 0))

    def queries(
        params: Params, examples: Examples, key: Array | None = None
    ) -> Float[Array, "n 0"]:
        return jnp.zeros((examples.scope.ids.shape[0], 0))

    def pairs(
        params: Params,
        keys: Array | None,
        edits: Examples,
        queries: Array | None,
        examples: Examples,
        key: Array | None = None,
        layout: Layout = NOTHING_KNOWN,
    ) -> Float[Array, " n"]:
        logits = model.apply(
            params,
            packed(splice(edits.scope, examples.scope, lead, layout.context), layout.context_fill),
            key=key,
        )[:, 0]
        return jax.nn.log_softmax(logits)[:, 0]

    def table(
        params: Params,
        memory: EditTable,
        queries: Array,
        examples: Examples,
        key: Array | None = None,
    ) -> Float[Array, "n c"]:
        def against(slot: tuple[Float[Array, " d"], Examples]) -> Float[Array, " n"]:
            key_row, edit = slot
            rows = examples.labels.shape[0]

            def repeated(leaf: Array) -> Array:
                return jnp.broadcast_to(leaf, (rows, *leaf.shape))

            edits = jax.tree.map(repeated, edit)
            return pairs(params, key_row, edits, queries, examples, key)

        # one slot at a time, to bound memory
        by_slot = cast(Array, jax.lax.map(against, (memory.keys, memory.edits)))
        return by_slot.T

    return Scope(keys, queries, pairs, table)
