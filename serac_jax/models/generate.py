"""Greedy, sampled and beam decoding with a key/value cache, a batch at a time, as one compiled
loop.

Beam search follows the rules of `transformers` (v5) with `early_stopping=False`: of 2·beams
candidates only those among the best `beams` may finish, a hypothesis scores Σ log p /
length^penalty, and a row ends when no running beam can beat its worst finished one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Scalar

from serac_jax.core.batch import Tokens
from serac_jax.core.errors import UserError
from serac_jax.core.types import Params
from serac_jax.models.cache import Cache, Prefix
from serac_jax.models.decoding import Decoding, restrict
from serac_jax.models.linear import Intervention
from serac_jax.models.model import Model
from serac_jax.models.token_sampling import Sampling, draw

Choose = Callable[[Array, Array], Array]
FAR = -1e9  # a score that no hypothesis reaches


def generate(
    model: Model,
    params: Params,
    tokens: Tokens,
    *,
    steps: int,
    options: Decoding | None = None,
    interventions: Mapping[str, Intervention] = {},
    sampling: Sampling | None = None,
    key: Array | None = None,
    prefix: Prefix = (),
) -> Int[Array, "n s"]:
    """The ids of each answer, at most `steps`, the end of sequence included and 0 behind it.

    Args:
        model: one that answers in words.
        options: how to decode; by default as the model's folder asks.
        interventions: by the path of a layer, changes of its output.
        sampling: how tokens are drawn at random, with a `key`; by default the likeliest are taken.
        prefix: what every prompt stands behind, see `Model.prefix`.
    """
    options = options or model.decoding
    if sampling is None:
        choose = likeliest
    elif key is None:
        raise UserError("sampling needs a random key; pass key=jax.random.key(seed)")
    else:
        choose = drawing(key, sampling)
    if options.beams > 1 and sampling is None:
        return beam_search(model, params, tokens, steps, options, interventions, prefix)
    start = model.prefill(params, tokens, steps, interventions, prefix)
    return greedy(model, params, *start, steps, options, interventions, choose)


def likeliest(logits: Float[Array, "n v"], at: Scalar) -> Int[Array, " n"]:
    """The token of the largest logit."""
    return logits.argmax(-1)


def drawing(key: Array, sampling: Sampling) -> Choose:
    """What draws the token at each position with a key of its own."""
    sampling.check()
    return lambda logits, at: draw(jax.random.fold_in(key, at), logits, sampling)


def greedy(
    model: Model,
    params: Params,
    cache: Cache,
    logits: Float[Array, "n v"],
    first: Int[Array, " n"],
    steps: int,
    options: Decoding,
    interventions: Mapping[str, Intervention] = {},
    choose: Choose = likeliest,
) -> Int[Array, "n s"]:
    """Decoding from what `Model.prefill` returned; `choose`: (logits, position) -> the next
    token."""
    rows, ends = len(first), model.ends

    def unfinished(state: tuple[Scalar, Array, Array, Array, Cache]) -> Array:
        at, _, _, done, _ = state
        return (at < steps) & ~done.all()

    def chosen(logits: Array, at: Scalar, ids: Array, done: Array) -> tuple[Array, Array, Array]:
        logits = restrict(logits, ids, at, options, first, ends)
        token = jnp.where(done, 0, choose(logits, at).astype(ids.dtype))
        return token, ids.at[:, at].set(token), done | among(token, ends)

    def step(state: Any) -> Any:
        at, last, ids, done, cache = state
        cache, logits = model.decode(params, cache, last, interventions)
        return at + 1, *chosen(logits, at, ids, done), cache

    blank = jnp.zeros((rows, steps), jnp.int32), jnp.zeros(rows, bool)
    state = (jnp.int32(1), *chosen(logits, jnp.int32(0), *blank), cache)
    return jax.lax.while_loop(unfinished, step, state)[2]


def among(ids: Int[Array, "..."], ends: tuple[int, ...]) -> Bool[Array, "..."]:
    """Whether each id is one of those that end an answer."""
    return (ids[..., None] == jnp.asarray(ends, ids.dtype).reshape(*(1,) * ids.ndim, -1)).any(-1)


class Beams(NamedTuple):
    """Hypotheses of every row, best first: those still running, and the best finished ones."""

    at: Scalar
    ids: Int[Array, "n b s"]
    score: Float[Array, "n b"]  # Σ log p
    done_ids: Int[Array, "n b s"]
    done_score: Float[Array, "n b"]  # Σ log p / length^penalty
    open: Bool[Array, "n 1"]  # whether a running beam could still improve the row
    cache: Cache


def beam_search(
    model: Model,
    params: Params,
    tokens: Tokens,
    steps: int,
    options: Decoding,
    interventions: Mapping[str, Intervention] = {},
    prefix: Prefix = (),
) -> Int[Array, "n s"]:
    """Beam search, all rows and beams at once."""
    beams, ends = options.beams, model.ends
    rows = tokens.ids.shape[0]
    repeated = jax.tree.map(lambda leaf: jnp.repeat(leaf, beams, 0), tokens)
    cache, first = model.start(params, repeated, steps, interventions, prefix)

    def gather(leaf: Array, index: Int[Array, "n k"]) -> Array:
        return jnp.take_along_axis(leaf, index.reshape(*index.shape, *(1,) * (leaf.ndim - 2)), 1)

    def unfinished(state: Beams):
        return (state.at < steps) & state.open.any()

    def step(state: Beams) -> Beams:
        last = jnp.where(state.at == 0, first, state.ids[:, :, state.at - 1].reshape(-1))
        cache, logits = model.decode(params, state.cache, last, interventions)
        vocab = logits.shape[-1]
        allowed = restrict(
            jax.nn.log_softmax(logits),
            state.ids.reshape(rows * beams, steps),
            state.at,
            options,
            first,
            ends,
        )
        total = allowed.reshape(rows, beams, vocab) + state.score[:, :, None]
        score, index = jax.lax.top_k(total.reshape(rows, -1), 2 * beams)
        parent, token = index // vocab, (index % vocab).astype(jnp.int32)
        ids = gather(state.ids, parent).at[:, :, state.at].set(token)
        ending = among(token, ends) | (state.at == steps - 1)

        score_running, kept = jax.lax.top_k(jnp.where(ending, score + FAR, score), beams)
        parent = jnp.take_along_axis(parent, kept, 1)
        source = (jnp.arange(rows)[:, None] * beams + parent).reshape(-1)

        may_end = ending & (jnp.arange(2 * beams) < beams)[None] & state.open
        length = (state.at + 1).astype(jnp.float32) ** options.length_penalty
        merged = jnp.concatenate(
            [state.done_score, jnp.where(may_end, score / length, score / length + FAR)], 1
        )
        done_score, best = jax.lax.top_k(merged, beams)
        done_ids = gather(jnp.concatenate([state.done_ids, ids], 1), best)

        worst = jnp.where(done_score > FAR / 2, done_score, FAR).min(1, keepdims=True)
        return Beams(
            at=state.at + 1,
            ids=gather(ids, kept),
            score=score_running,
            done_ids=done_ids,
            done_score=done_score,
            open=state.open & (score_running[:, :1] / length > worst),
            cache=jax.tree.map(lambda leaf: leaf[source], cache),
        )

    blank = jnp.zeros((rows, beams, steps), jnp.int32)
    start = Beams(
        at=jnp.int32(0),
        ids=blank,
        score=jnp.tile(
            jnp.where(jnp.arange(beams) == 0, 0.0, FAR)[None], (rows, 1)
        ),  # at first all beams are one
        done_ids=blank,
        done_score=jnp.full((rows, beams), FAR),
        open=jnp.ones((rows, 1), bool),
        cache=cache,
    )
    return jax.lax.while_loop(unfinished, step, start).done_ids[:, 0]
