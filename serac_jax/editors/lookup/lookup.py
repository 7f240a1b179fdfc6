"""Lookup cache (the baseline of Mitchell et al. 2022, section 5): edits by the mean of their
encoder states; a query near one gets its answer.

It learns nothing, and the base model stays as it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from serac_jax.core.batch import Examples, Tokens, take
from serac_jax.core.types import Params
from serac_jax.editors import edit_table
from serac_jax.editors.edit_table import EditTable
from serac_jax.editors.protocol import Decision, Editor
from serac_jax.models import Model
from serac_jax.models.generate import generate as decode


class Options(NamedTuple):
    threshold: float = 1.0  # Euclidean distance of keys within which a query gets the stored answer
    onehot_logit: float = 1.0  # the logit of every token of a stored answer; all others are 0
    mask_keys: bool = True  # keys average real tokens only; the original's average all positions


class Edited(NamedTuple):
    base: Any  # parameters
    memory: EditTable


def lookup(base: Model, options: Options) -> Editor:
    def init(key: Array, base_params: Any) -> Params:
        return {}

    def keys(base_params: Any, tokens: Tokens) -> Float[Array, "n d"]:
        states = base.encode(base_params, tokens)
        weight = (tokens.mask if options.mask_keys else jnp.ones_like(tokens.mask)).astype(
            states.dtype
        )[..., None]
        return (states * weight).sum(1) / jnp.maximum(weight.sum(1), 1)

    def start(params: Params, base_params: Any, room: Examples) -> Edited:
        width = jax.eval_shape(keys, base_params, room.inputs).shape[1]
        return Edited(
            base_params, edit_table.empty(room.labels.shape[0], jnp.zeros((0, width)), room)
        )

    def edit(params: Params, edited: Edited, edits: Examples) -> Edited:
        return edited._replace(
            memory=edit_table.write(edited.memory, keys(edited.base, edits.inputs), edits)
        )

    def decide(params: Params, edited: Edited, queries: Examples) -> Decision:
        """The nearest edit, with similarity 2^(−distance/threshold), which is above one half within
        the threshold."""
        distance = jnp.linalg.norm(
            keys(edited.base, queries.inputs)[:, None] - edited.memory.keys[None], axis=-1
        )
        return Decision(
            *edit_table.nearest(edited.memory, -jnp.log(2.0) * distance / options.threshold)
        )

    def answers(
        params: Params, edited: Edited, queries: Examples
    ) -> tuple[Bool[Array, " n"], Examples]:
        """Which queries have an edit within the threshold, and for each the nearest edit."""
        decision = decide(params, edited, queries)
        return jnp.exp(decision.log_similarity) > 0.5, take(edited.memory.edits, decision.index)

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

    return Editor(init, start, edit, apply, generate, None, lambda params: {}, decide)


def fit(rows: Array, width: int) -> Array:
    """Rows cut, or padded with zeros, to a width."""
    return jnp.pad(rows[:, :width], ((0, 0), (0, max(width - rows.shape[1], 0))))
