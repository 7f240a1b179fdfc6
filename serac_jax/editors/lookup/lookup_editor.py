"""Lookup cache (the baseline of Mitchell et al. 2022, section 5): edits by the mean of their
encoder states; a query near one gets its answer.

It learns nothing, and the base model stays as it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from serac_jax.core.batch import Examples, Tokens, take
from serac_jax.core.types import Params
from serac_jax.editors import edit_table
from serac_jax.editors.edit_table import EditTable
from serac_jax.editors.protocol import Editor, Route, Thresholds
from serac_jax.models import Model
from serac_jax.models.generate import generate as decode


class Options(NamedTuple):
    """threshold: Euclidean distance of keys within which a query gets the stored answer.
    onehot_logit: the logit of every token of a stored answer; all others are 0.
    mask_keys: keys average real tokens only; the original's average all positions.
    exact_match: an edit answers its own words, wherever their key lies.
    """

    threshold: float = 1.0
    onehot_logit: float = 1.0
    mask_keys: bool = True
    exact_match: bool = True


class Edited(NamedTuple):
    """The base model's parameters, and the edits that it is to answer by."""

    base: Any
    table: EditTable


def lookup(base: Model, options: Options) -> Editor:
    def init(key: Array, base_params: Any) -> Params:
        return {}

    def keys(base_params: Any, tokens: Tokens) -> Float[Array, "n d"]:
        states = base.encode(base_params, tokens)
        counted = tokens.mask if options.mask_keys else jnp.ones_like(tokens.mask)
        weight = counted.astype(states.dtype)[..., None]
        return (states * weight).sum(1) / jnp.maximum(weight.sum(1), 1)

    def start(params: Params, base_params: Any, room: Examples) -> Edited:
        width = jax.eval_shape(keys, base_params, room.inputs).shape[1]
        table = edit_table.empty(room.labels.shape[0], jnp.zeros((0, width)), room)
        return Edited(base_params, table)

    def edit(params: Params, edited: Edited, edits: Examples) -> Edited:
        table = edit_table.write(edited.table, keys(edited.base, edits.inputs), edits)
        return edited._replace(table=table)

    def route(params: Params, edited: Edited, queries: Examples) -> Route:
        """The nearest edit, with similarity 2^(−distance/threshold), which is above one half within
        the threshold."""
        vectors = keys(edited.base, queries.inputs)
        apart = vectors[:, None] - edited.table.keys[None]
        distance = cast(Array, jnp.linalg.norm(apart, axis=-1))
        similarity = -jnp.log(2.0) * distance / options.threshold
        return edit_table.route(
            edited.table, queries, similarity, Thresholds(), options.exact_match
        )

    def answers(
        params: Params, edited: Edited, queries: Examples
    ) -> tuple[Bool[Array, " n"], Examples]:
        """Which queries an edit answers, and for each the nearest edit."""
        found = route(params, edited, queries)
        return found.hit, take(edited.table.edits, found.index)

    def apply(params: Params, edited: Edited, queries: Examples) -> Float[Array, "n t v"]:
        hit, found = answers(params, edited, queries)
        unchanged = base.logits(edited.base, queries)
        labels, weight = (
            fit(leaf, queries.labels.shape[1]) for leaf in (found.labels, found.weight)
        )
        stored = (
            options.onehot_logit * weight[..., None] * jax.nn.one_hot(labels, unchanged.shape[-1])
        )
        return jnp.where(hit[:, None, None], stored, unchanged)

    def generate(
        params: Params, edited: Edited, queries: Examples, steps: int
    ) -> Int[Array, "n s"]:
        hit, found = answers(params, edited, queries)
        return jnp.where(
            hit[:, None],
            fit(found.labels, steps),
            decode(base, edited.base, queries.inputs, steps=steps),
        )

    return Editor(init, start, edit, apply, generate, None, lambda params: {}, route)


def fit(rows: Array, width: int) -> Array:
    """Rows cut, or padded with zeros, to a width."""
    return jnp.pad(rows[:, :width], ((0, 0), (0, max(width - rows.shape[1], 0))))
