"""The decoder of causal language models, of which every network is a variant.

A variant is a `CausalConfig`: the file of a network reads it from a Hugging Face configuration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from serac_jax.core.arrays import AnyArray
from serac_jax.core.batch import Tokens, splice, spread
from serac_jax.models.cache import Cache, Pair, Prefix, written
from serac_jax.models.layers import ACTIVATIONS, LayerNorm, RMSNorm, fitting, stacked
from serac_jax.models.linear import Dropout, Embed, Linear, at_least_float32, masked
from serac_jax.models.packing import NOTHING_PACKED, Packing, packing
from serac_jax.models.rotary import Rotary, Turn, turn, turned


class Attending(NamedTuple):
    """How a layer attends.

    Attributes:
        rotary: its rotary positions; None: none.
        window: the number of last positions that it attends to, its own included; None: all.
    """

    rotary: Rotary | None = None
    window: int | None = None


@dataclass(frozen=True)
class CausalConfig:
    """A variant of the decoder.

    Attributes:
        groups: of heads that share keys and values.
        attending: one a layer.
        positions: the longest text.
        tied: whether the output layer is the embedding.
        eos: the ids that end an answer.
        interleaved: see `rotary.turned`.
        attention_scale: of the products of queries and keys.
        embedding_scale: of the embeddings that the first layer reads.
        learned_positions: whether embeddings of positions are added.
        fused: whether one kernel gives queries, keys and values.
        gated: whether the feed-forward layer is gated.
        layer_norm: whether norms subtract the mean, and have biases (Ba et al. 2016).
        unit_offset: whether a norm multiplies by 1 + its weights.
        qk_norm: whether queries and keys are normalised.
        sandwich: whether attention's and the feed-forward layer's outputs are normalised too.
        parallel: whether both read the same normalised input.
    """

    vocab: int
    width: int
    mlp_width: int
    layers: int
    heads: int
    groups: int
    head_width: int
    attending: tuple[Attending, ...]
    positions: int
    eps: float
    activation: str
    tied: bool
    eos: tuple[int, ...]
    dropout: float
    dtype: Any
    remat: bool
    attention_scale: float
    embedding_scale: float = 1.0
    interleaved: bool = False
    learned_positions: bool = False
    fused: bool = False
    gated: bool = True
    layer_norm: bool = False
    unit_offset: bool = False
    qk_norm: bool = False
    sandwich: bool = False
    parallel: bool = False
    qkv_bias: bool = False
    o_bias: bool = False
    mlp_bias: bool = False
    head_bias: bool = False


class View(NamedTuple):
    """What a pass through a layer needs to know of positions: the keys that each query sees, how
    heads are turned, and which positions are computed."""

    seen: Bool[Array, "n 1 q l"]
    turn: Turn | None
    packing: Packing = NOTHING_PACKED


def norm(config: CausalConfig) -> nn.Module:
    if config.layer_norm:
        return LayerNorm(config.eps, config.dtype)
    return RMSNorm(config.eps, config.dtype, config.unit_offset)


class Attention(nn.Module):
    config: CausalConfig

    def setup(self):
        cfg = self.config
        mine, shared = cfg.heads * cfg.head_width, cfg.groups * cfg.head_width
        if cfg.fused:
            self.qkv = Linear(mine + 2 * shared, cfg.qkv_bias, cfg.dtype)
        else:
            self.q = Linear(mine, cfg.qkv_bias, cfg.dtype)
            self.k, self.v = (Linear(shared, cfg.qkv_bias, cfg.dtype) for _ in range(2))
        if cfg.qk_norm:
            self.q_norm, self.k_norm = norm(cfg), norm(cfg)
        self.o = Linear(cfg.width, cfg.o_bias, cfg.dtype)
        self.drop = Dropout(cfg.dropout)

    def heads(self, x: Float[Array, "n l e"], turn: Turn | None) -> tuple[Array, Pair]:
        """Queries, and keys with values, of every position."""
        cfg = self.config
        if cfg.fused:
            bounds = (cfg.heads * cfg.head_width, (cfg.heads + cfg.groups) * cfg.head_width)
            found = jnp.split(self.qkv(x), bounds, -1)
        else:
            found = [self.q(x), self.k(x), self.v(x)]
        q, k, v = (part.reshape(*x.shape[:2], -1, cfg.head_width) for part in found)
        if cfg.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        if turn is not None:
            q, k = (turned(x, turn, cfg.interleaved) for x in (q, k))
        return q, (k, v)

    def __call__(
        self, q: Float[Array, "n q h d"], keys_values: Pair, view: View
    ) -> Float[Array, "n q e"] | Float[Array, "1 p e"]:
        mixed = self.mixed(q, *keys_values, view.seen)
        return self.o(view.packing.pack(mixed))

    @nn.remat  # what is kept for a gradient would be as large as the square of a text
    def mixed(
        self,
        q: Float[Array, "n q h d"],
        keys: Float[Array, "n l g d"],
        values: Float[Array, "n l g d"],
        seen: Bool[Array, "n 1 q l"],
    ) -> Float[Array, "n q e"]:
        """The values that each query sees, by how well their keys fit."""
        cfg = self.config
        heads = q.reshape(*q.shape[:2], cfg.groups, -1, cfg.head_width)  # "n q g r d"
        scores = jnp.einsum("nqgrd,nlgd->ngrql", heads, keys)
        scores = at_least_float32(scores) * cfg.attention_scale
        weights = jax.nn.softmax(masked(scores, seen[:, None])).astype(cfg.dtype)
        mixed = jnp.einsum("ngrql,nlgd->nqgrd", self.drop(weights), values)
        return mixed.reshape(*q.shape[:2], -1)


class MLP(nn.Module):
    config: CausalConfig

    def setup(self):
        cfg = self.config
        if cfg.gated:
            self.wi_0, self.wi_1 = (
                Linear(cfg.mlp_width, cfg.mlp_bias, cfg.dtype) for _ in range(2)
            )
        else:
            self.wi = Linear(cfg.mlp_width, cfg.mlp_bias, cfg.dtype)
        self.wo = Linear(cfg.width, cfg.mlp_bias, cfg.dtype)

    def __call__(self, x: Float[Array, "n l e"]) -> Float[Array, "n l e"]:
        activation = ACTIVATIONS[self.config.activation]
        if self.config.gated:
            return self.wo(activation(self.wi_0(x)) * self.wi_1(x))
        return self.wo(activation(self.wi(x)))


class Block(nn.Module):
    config: CausalConfig
    attention_kind = Attention  # a network may have its own

    def setup(self):
        cfg = self.config
        self.attention_norm, self.attention = norm(cfg), self.attention_kind(cfg)
        self.mlp = MLP(cfg)
        if not cfg.parallel:
            self.mlp_norm = norm(cfg)
        if cfg.sandwich:
            self.attention_out_norm, self.mlp_out_norm = norm(cfg), norm(cfg)

    def __call__(self, x: Array, view: View, prefix: Pair | None = None) -> tuple[Array, Pair]:
        """All positions at once, behind those of a prefix; returns the keys and values of all."""
        y = self.attention_norm(x)
        heads = self.attention.heads(y, view.turn)
        q, own = jax.tree.map(view.packing.lay_out_heads, heads)
        if prefix is not None:
            own = behind(prefix, own)
        return self.layers(x, y, self.attention(q, own, view)), own

    def step(self, x: Array, length: Array, own: Pair, view: View) -> tuple[Array, Pair]:
        """One position per row: its keys and values join the cache behind `length` others."""
        y = self.attention_norm(x)
        q, new = self.attention.heads(y, view.turn)
        own = written(own, new, length)
        return self.layers(x, y, self.attention(q, own, view)), own

    def layers(self, x: Array, y: Array, mixed: Array) -> Array:
        """What follows attention; `y`: the input of attention."""
        cfg = self.config
        if cfg.parallel:
            return x + mixed + self.mlp(y)
        x = x + (self.attention_out_norm(mixed) if cfg.sandwich else mixed)
        added = self.mlp(self.mlp_norm(x))
        return x + (self.mlp_out_norm(added) if cfg.sandwich else added)


class Causal(nn.Module):
    """Decoder and output layer; every method is called through `module.apply`."""

    config: CausalConfig
    block_kind = Block  # a network may have its own

    def setup(self):
        cfg = self.config
        self.shared = Embed(cfg.vocab, cfg.width, dtype=cfg.dtype)
        if cfg.learned_positions:
            self.positions = Embed(cfg.positions, cfg.width, dtype=cfg.dtype)
        block = stacked(self.block_kind, cfg.remat, "__call__", "step")
        alike = replace(cfg, attending=())  # which is told by a `View`, and takes long to compare
        self.block = [block(alike) for _ in range(cfg.layers)]
        self.final_norm = norm(cfg)
        if not cfg.tied:
            self.lm_head = Linear(cfg.vocab, cfg.head_bias, cfg.dtype)

    def __call__(
        self, tokens: Tokens, labels: Int[Array, "n t"], at: Int[Array, " p"] | None = None
    ) -> Array:
        """Logits of each label given the input and the labels before it, "n t v"; with `at`, of
        those positions only, "p 1 v".

        Input and labels are read as one sequence. Where there are more rows of labels than of
        tokens, each of these is read with as many of those, in turn. `at`: see `Examples`.
        """
        asked = spread(Tokens(tokens.ids, tokens.mask), len(labels))
        before = jnp.ones(labels.shape, bool)  # of what is wanted
        if at is not None:
            before = jnp.zeros(labels.size, bool).at[at].set(True, mode="drop")
        answered = Tokens(labels[:, :-1], before.reshape(labels.shape)[:, 1:])
        text = splice(asked, answered, 0)
        if tokens.real is not None and len(tokens.ids) == len(labels):
            count = tokens.real.size + (labels.size if at is None else at.size)
            text = only_real(text, min(count, text.mask.size))
        states = self.encode(text)
        last = asked.mask.sum(-1, dtype=jnp.int32)[:, None] - 1  # of the input
        where = jnp.maximum(last + jnp.arange(labels.shape[1])[None], 0)
        states = jnp.take_along_axis(states, where[:, :, None], 1)
        if at is not None:
            rows = states.reshape(-1, states.shape[-1])
            states = jnp.take(rows, at, axis=0, mode="fill", fill_value=0)[:, None]
        return self.output(states)

    def encode(self, tokens: Tokens) -> Float[Array, "n l e"]:
        """The last hidden states."""
        return self.read(tokens)[0]

    def read(
        self, tokens: Tokens, prefix: Prefix = ()
    ) -> tuple[Float[Array, "n l e"], tuple[Pair, ...]]:
        """The last hidden states, and every layer's keys and values, those of the prefix too.

        Args:
            prefix: of a text that all rows continue; all positions are computed then.
        """
        rows, held = len(tokens.ids), prefix[0][0].shape[1] if prefix else 0
        length = fitting(held + tokens.ids.shape[1], self.config.positions)
        layout = NOTHING_PACKED if prefix else packing(tokens)
        position = jnp.arange(held, length)[None]
        mask = jnp.concatenate([jnp.ones((rows, held), bool), tokens.mask], 1)
        views = self.views(position, length, mask[:, None, None, :], layout)
        x = self.embed(layout.pack(tokens.ids), position if prefix else layout.columns)
        own: list[Pair] = []
        befores = prefix or (None,) * len(self.block)
        for block, kind, before in zip(self.block, self.config.attending, befores, strict=True):
            x, pair = block(x, views[kind], before)
            own.append(pair)
        return layout.lay_out(self.final_norm(x)), tuple(own)

    def views(
        self,
        position: Int[Array, "m q"],
        length: int,
        mask: Bool[AnyArray, "n 1 1 l"] | None = None,
        layout: Packing = NOTHING_PACKED,
    ) -> dict[Attending, View]:
        """What each kind of layer needs to know of the queries' positions.

        Args:
            length: the number of keys. mask: true on those that are real; None: all.
            layout: which positions are computed.
        """
        columns = position if layout.at is None else layout.columns
        distance = position[:, None, :, None] - jnp.arange(length)[None, None, None]
        found = {}
        for kind in dict.fromkeys(self.config.attending):
            seen = distance >= 0
            if kind.window is not None and kind.window < length:
                seen = seen & (distance < kind.window)
            found[kind] = View(
                seen if mask is None else seen & mask,
                kind.rotary and turn(kind.rotary, columns, self.config.dtype),
                layout,
            )
        return found

    def embed(self, ids: Int[Array, "n l"], position: Int[Array, "m l"]) -> Float[Array, "n l e"]:
        cfg, x = self.config, self.shared(ids)
        if cfg.embedding_scale != 1.0:
            x = x * jnp.asarray(cfg.embedding_scale, x.dtype)
        return x + self.positions(position) if cfg.learned_positions else x

    def output(self, x: Float[Array, "n t e"]) -> Float[Array, "n t v"]:
        return at_least_float32(self.shared.attend(x) if self.config.tied else self.lm_head(x))

    def start(
        self, tokens: Tokens, room: int, prefix: Prefix = ()
    ) -> tuple[Cache, Int[Array, " n"]]:
        """Reads the prompt, behind a prefix. Returns a cache with room for so many more tokens,
        which holds all of a row but its last token, and that token, which `decode` takes first."""
        cache, _, last = self.prefill(tokens, room, prefix)
        return cache._replace(length=cache.length - 1), last

    def prefill(
        self, tokens: Tokens, room: int, prefix: Prefix = ()
    ) -> tuple[Cache, Float[Array, "n v"], Int[Array, " n"]]:
        """As `start`, with all tokens in the cache. Returns also the logits of the next token."""
        states, pairs = self.read(tokens, prefix)
        held = prefix[0][0].shape[1] if prefix else 0
        fitting(held + tokens.ids.shape[1] + room, self.config.positions)
        wide = ((0, 0), (0, room), (0, 0), (0, 0))
        own = tuple((jnp.pad(keys, wide), jnp.pad(values, wide)) for keys, values in pairs)
        length = jnp.maximum(tokens.mask.sum(-1, dtype=jnp.int32), 1)
        last = length[:, None] - 1
        token = jnp.take_along_axis(tokens.ids, last, 1)[:, 0]
        logits = self.output(jnp.take_along_axis(states, last[:, :, None], 1))[:, 0]
        return Cache(own, held + length), logits, token

    def decode(self, cache: Cache, token: Int[Array, " n"]) -> tuple[Cache, Float[Array, "n v"]]:
        """Logits of the token that follows `token` in each row."""
        position = cache.length[:, None]
        views = self.views(position, cache.room)
        x, own = self.embed(token[:, None], position), []
        for block, kind, pair in zip(self.block, self.config.attending, cache.own, strict=True):
            x, pair = block.step(x, cache.length, pair, views[kind])
            own.append(pair)
        cache = cache._replace(own=tuple(own), length=cache.length + 1)
        return cache, self.output(self.final_norm(x))[:, 0]


def behind(prefix: Pair, own: Pair) -> Pair:
    """Keys and values of rows that all continue a prefix, with those of the prefix."""

    def joined(before: Array, after: Array) -> Array:
        repeated = jnp.broadcast_to(before, (len(after), *before.shape[1:]))
        return jnp.concatenate([repeated, after], 1)

    (keys, values), (own_keys, own_values) = prefix, own
    return joined(keys, own_keys), joined(values, own_values)


def only_real(tokens: Tokens, count: int) -> Tokens:
    """The same tokens, of which networks compute only real ones, at most `count`."""
    places = jnp.nonzero(tokens.mask.reshape(-1), size=count, fill_value=tokens.mask.size)[0]
    return tokens._replace(real=places)
