"""T5 v1.0 and v1.1 (Raffel et al. 2020): networks of `t5` checkpoints, in linen.

One class serves both versions: v1.1 has a gated feed-forward layer (`gated`) and an output layer of
its own (not `tied`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from serac_jax.core.batch import Tokens, spread
from serac_jax.models.cache import Cache, Pair, blank, written
from serac_jax.models.layers import ACTIVATIONS, RMSNorm, known_activation, stacked
from serac_jax.models.linear import Dropout, Embed, Linear, at_least_float32, masked
from serac_jax.models.network import Architecture, Network
from serac_jax.models.packing import NOTHING_PACKED, Packing, packing
from serac_jax.models.relative_position import relative_bucket


@dataclass(frozen=True)
class T5Config:
    vocab: int
    width: int
    head_width: int
    mlp_width: int
    encoder_layers: int
    decoder_layers: int
    heads: int
    buckets: int  # of relative positions
    max_distance: int  # beyond it, all positions share one bucket
    eps: float
    activation: str
    gated: bool
    tied: bool  # the output layer is the embedding, and its input is scaled
    start: int  # first decoder input
    eos: int
    dropout: float
    dtype: Any
    remat: bool


def config_from_hf(
    hf: Mapping[str, Any], output: str, dropout: float, dtype: Any, remat: bool
) -> T5Config:
    """Reads the attributes of a Hugging Face T5 configuration, whose only output is "".

    `feed_forward_proj` and `tie_word_embeddings` stand for the attributes that newer versions of
    `transformers` write.
    """
    gate, _, activation = hf["feed_forward_proj"].rpartition("-")
    if hf["feed_forward_proj"] == "gated-gelu":
        activation = "gelu_new"  # as in T5 v1.1
    gated, tied = hf["is_gated_act"], hf["scale_decoder_outputs"]
    return T5Config(
        vocab=hf["vocab_size"],
        width=hf["d_model"],
        head_width=hf["d_kv"],
        mlp_width=hf["d_ff"],
        encoder_layers=hf["num_layers"],
        decoder_layers=hf["num_decoder_layers"] or hf["num_layers"],
        heads=hf["num_heads"],
        buckets=hf["relative_attention_num_buckets"],
        max_distance=hf["relative_attention_max_distance"],
        eps=hf["layer_norm_epsilon"],
        activation=known_activation(hf["dense_act_fn"] or activation),
        gated=gate == "gated" if gated is None else gated,
        tied=hf["tie_word_embeddings"] if tied is None else tied,
        start=hf["decoder_start_token_id"],
        eos=hf["eos_token_id"],
        dropout=dropout,
        dtype=dtype,
        remat=remat,
    )


ATTRIBUTES = {
    "vocab_size": 32128,
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_decoder_layers": None,
    "num_heads": 8,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "relu",
    "dense_act_fn": None,
    "is_gated_act": None,
    "scale_decoder_outputs": None,
    "tie_word_embeddings": True,
    "decoder_start_token_id": 0,
    "eos_token_id": 1,
}
INERT = frozenset(("dropout_rate", "initializer_factor", "n_positions"))
SPECIAL_TOKENS = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

# Hugging Face key ↔ parameter path; kernels are transposed (placeholders: convert.py).
RULES = (
    ("shared.weight", "shared/embedding"),
    ("lm_head.weight", "lm_head/kernel"),
    (
        "{s}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        "{s}/relative_bias/embedding",
    ),
    ("{s}.block.{i}.layer.0.SelfAttention.{p}.weight", "{s}/block_{i}/self_attention/{p}/kernel"),
    ("{s}.block.{i}.layer.0.layer_norm.weight", "{s}/block_{i}/self_norm/scale"),
    (
        "decoder.block.{i}.layer.1.EncDecAttention.{p}.weight",
        "decoder/block_{i}/cross_attention/{p}/kernel",
    ),
    ("decoder.block.{i}.layer.1.layer_norm.weight", "decoder/block_{i}/cross_norm/scale"),
    ("encoder.block.{i}.layer.1.DenseReluDense.{m}.weight", "encoder/block_{i}/mlp/{m}/kernel"),
    ("encoder.block.{i}.layer.1.layer_norm.weight", "encoder/block_{i}/mlp_norm/scale"),
    ("decoder.block.{i}.layer.2.DenseReluDense.{m}.weight", "decoder/block_{i}/mlp/{m}/kernel"),
    ("decoder.block.{i}.layer.2.layer_norm.weight", "decoder/block_{i}/mlp_norm/scale"),
    ("{s}.final_layer_norm.weight", "{s}/final_norm/scale"),
)
COPIES = {
    "encoder.embed_tokens.weight": "shared.weight",
    "decoder.embed_tokens.weight": "shared.weight",
}
TIED_COPIES = COPIES | {"lm_head.weight": "shared.weight"}
IGNORED = (
    r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
)  # carried by early checkpoints, never read


class Attention(nn.Module):
    config: T5Config

    def setup(self):
        width = self.config.heads * self.config.head_width
        self.q, self.k, self.v = (Linear(width, dtype=self.config.dtype) for _ in range(3))
        self.o = Linear(self.config.width, dtype=self.config.dtype)
        self.drop = Dropout(self.config.dropout)

    def split(self, x: Float[Array, "n l e"]) -> Float[Array, "n l h d"]:
        return x.reshape(*x.shape[:2], self.config.heads, self.config.head_width)

    def keys_values(self, x: Float[Array, "n l e"], packed: Packing = NOTHING_PACKED) -> Pair:
        return self.split(packed.lay_out(self.k(x))), self.split(packed.lay_out(self.v(x)))

    def __call__(
        self,
        x: Float[Array, "r p e"],
        keys_values: Pair,
        bias: Float[Array, "#n #h #q l"],
        packed: Packing = NOTHING_PACKED,
    ) -> Float[Array, "r p e"]:
        keys, values = keys_values
        scores = jnp.einsum(
            "nqhd,nlhd->nhql", self.split(packed.lay_out(self.q(x))), keys
        )  # T5 does not scale by √d
        weights = jax.nn.softmax(at_least_float32(scores) + bias).astype(self.config.dtype)
        mixed = jnp.einsum("nhql,nlhd->nqhd", self.drop(weights), values)
        return self.o(packed.pack(mixed.reshape(*mixed.shape[:2], -1)))


class MLP(nn.Module):
    config: T5Config

    def setup(self):
        cfg = self.config
        if cfg.gated:
            self.wi_0, self.wi_1 = (Linear(cfg.mlp_width, dtype=cfg.dtype) for _ in range(2))
        else:
            self.wi = Linear(cfg.mlp_width, dtype=cfg.dtype)
        self.wo = Linear(cfg.width, dtype=cfg.dtype)
        self.drop = Dropout(cfg.dropout)

    def __call__(self, x: Float[Array, "n l e"]) -> Float[Array, "n l e"]:
        act = ACTIVATIONS[self.config.activation]
        hidden = act(self.wi_0(x)) * self.wi_1(x) if self.config.gated else act(self.wi(x))
        return self.wo(self.drop(hidden))


class Block(nn.Module):
    config: T5Config
    decoder: bool

    def setup(self):
        cfg = self.config
        self.self_norm, self.self_attention = RMSNorm(cfg.eps, cfg.dtype), Attention(cfg)
        if self.decoder:
            self.cross_norm, self.cross_attention = RMSNorm(cfg.eps, cfg.dtype), Attention(cfg)
        self.mlp_norm, self.mlp = RMSNorm(cfg.eps, cfg.dtype), MLP(cfg)
        self.drop = Dropout(cfg.dropout)

    def __call__(
        self,
        x: Array,
        bias: Array,
        packed: Packing,
        encoded: Array | None,
        encoded_bias: Array | None,
        encoded_packed: Packing,
    ) -> Array:
        cross = (
            None
            if encoded is None
            else spread(self.cross_attention.keys_values(encoded, encoded_packed), len(packed.mask))
        )
        y = self.self_norm(x)
        return self.layers(
            x, y, self.self_attention.keys_values(y, packed), bias, cross, encoded_bias, packed
        )

    def step(
        self, x: Array, length: Array, bias: Array, own: Pair, cross: Pair, encoded_bias: Array
    ) -> tuple[Array, Pair]:
        """One position per row: its keys and values join the cache behind `length` others."""
        y = self.self_norm(x)
        own = written(own, self.self_attention.keys_values(y), length)
        return self.layers(x, y, own, bias, cross, encoded_bias), own

    def layers(
        self,
        x: Array,
        y: Array,
        own: Pair,
        bias: Array,
        cross: Pair | None,
        encoded_bias: Any,
        packed: Packing = NOTHING_PACKED,
    ) -> Array:
        x = x + self.drop(self.self_attention(y, own, bias, packed))
        if cross is not None:
            x = x + self.drop(self.cross_attention(self.cross_norm(x), cross, encoded_bias, packed))
        return x + self.drop(self.mlp(self.mlp_norm(x)))


class Stack(nn.Module):
    config: T5Config
    decoder: bool

    def setup(self):
        cfg = self.config
        block = stacked(Block, cfg.remat, "__call__", "step")
        count = cfg.decoder_layers if self.decoder else cfg.encoder_layers
        self.block = [block(cfg, self.decoder) for _ in range(count)]
        self.relative_bias = nn.Embed(cfg.buckets, cfg.heads)
        self.final_norm = RMSNorm(cfg.eps, cfg.dtype)
        self.drop = Dropout(cfg.dropout)

    def bias(self, length: int) -> Float[Array, "1 h l l"]:
        """Attention bias of every pair of positions."""
        cfg = self.config
        position = np.arange(length)
        buckets = relative_bucket(
            position[None, :] - position[:, None], not self.decoder, cfg.buckets, cfg.max_distance
        )
        return at_least_float32(self.relative_bias(jnp.asarray(buckets)).transpose(2, 0, 1)[None])

    def __call__(
        self,
        x: Array,
        packed: Packing,
        encoded: Array | None = None,
        encoded_packed: Packing = NOTHING_PACKED,
    ) -> Array:
        seen, (rows, length) = packed.mask[:, None, None, :], packed.mask.shape
        if self.decoder:
            seen = seen & jnp.tril(jnp.ones((length, length), bool))[None, None]
        bias = masked(self.bias(length), seen)
        encoded_bias = (
            None
            if encoded is None
            else masked(
                jnp.zeros((), jnp.float32), spread(encoded_packed.mask, rows)[:, None, None, :]
            )
        )
        x = self.drop(x)
        for block in self.block:
            x = block(x, bias, packed, encoded, encoded_bias, encoded_packed)
        return self.drop(self.final_norm(x))

    def start(self, encoded: Array, mask: Bool[Array, "n l"], room: int) -> Cache:
        """A cache that has read the input, with room for so many output positions."""
        cfg = self.config
        cross = tuple(block.cross_attention.keys_values(encoded) for block in self.block)
        empty = blank(len(mask), room, len(self.block), cfg.heads, cfg.head_width, cfg.dtype)
        return empty._replace(encoded=cross, mask=mask)

    def step(self, x: Float[Array, "n 1 e"], cache: Cache) -> tuple[Cache, Array]:
        assert cache.mask is not None  # as `start` made it
        every = self.bias(cache.room)[0]  # "h q l"
        bias = jnp.take(every, cache.length, axis=1, mode="clip").swapaxes(0, 1)[:, :, None]
        bias = masked(bias, cache.seen)
        encoded_bias = masked(jnp.zeros((), jnp.float32), cache.mask[:, None, None, :])
        own = []
        for block, mine, cross in zip(self.block, cache.own, cache.encoded, strict=True):
            x, mine = block.step(x, cache.length, bias, mine, cross, encoded_bias)
            own.append(mine)
        return cache._replace(own=tuple(own), length=cache.length + 1), self.final_norm(x)


class T5(nn.Module):
    """Encoder, decoder and output layer; every method is called through `module.apply`."""

    config: T5Config

    def setup(self):
        cfg = self.config
        self.shared = Embed(cfg.vocab, cfg.width, dtype=cfg.dtype)
        self.encoder, self.decoder = Stack(cfg, False), Stack(cfg, True)
        if not cfg.tied:
            self.lm_head = Linear(cfg.vocab, dtype=cfg.dtype)

    def __call__(
        self,
        tokens: Tokens,
        labels: Int[Array, "n t"],
        label_mask: Bool[Array, "n t"] | None = None,
        at: Array | None = None,
    ) -> Array:
        """Teacher forcing: logits of each label given the labels before it, "n t v"; with `at`, of
        those positions only, "p 1 v".

        Where there are more rows of labels than of tokens, each of these is read by as many of
        those, in turn. `label_mask` hides decoder positions; without it the causal mask is enough,
        since padding comes last. `at`: see `Examples`."""
        return self.answer(self.read(tokens), packing(tokens), labels, label_mask, at)

    def encode(self, tokens: Tokens) -> Float[Array, "n l e"]:
        """The encoder's last hidden states."""
        return packing(tokens).lay_out(self.read(tokens))

    def answer_after(self, encoded: Array, mask: Bool[Array, "n l"], labels: Array) -> Array:
        """Teacher forcing after what `encode` returned."""
        return self.answer(encoded, Packing(mask), labels)

    def read(self, tokens: Tokens) -> Array:
        """The encoder's last hidden states, still packed."""
        return self.encoder(self.shared(packing(tokens).pack(tokens.ids)), packing(tokens))

    def answer(
        self,
        encoded: Array,
        encoded_packed: Packing,
        labels: Array,
        label_mask: Array | None = None,
        at: Array | None = None,
    ) -> Array:
        inputs = jnp.pad(labels[:, :-1], ((0, 0), (1, 0)), constant_values=self.config.start)
        packed = Packing(jnp.ones(inputs.shape, bool) if label_mask is None else label_mask, at)
        return self.output(
            packed.apart(
                self.decoder(self.shared(packed.pack(inputs)), packed, encoded, encoded_packed)
            )
        )

    def output(self, x: Float[Array, "n t e"]) -> Float[Array, "n t v"]:
        cfg = self.config
        logits = (
            self.shared.attend(x * jnp.asarray(cfg.width**-0.5, x.dtype))
            if cfg.tied
            else self.lm_head(x)
        )
        return at_least_float32(logits)

    def start(self, tokens: Tokens, room: int) -> tuple[Cache, Int[Array, " n"]]:
        """Reads the input. Returns a cache with room for so many output positions, and the token
        that `decode` takes first."""
        cache = self.decoder.start(self.encode(tokens), tokens.mask, room)
        return cache, jnp.full(len(tokens.ids), self.config.start, jnp.int32)

    def decode(self, cache: Cache, token: Int[Array, " n"]) -> tuple[Cache, Float[Array, "n v"]]:
        """Logits of the token that follows `token` in each row."""
        cache, x = self.decoder.step(self.shared(token[:, None]), cache)
        return cache, self.output(x)[:, 0]


NETWORK = Network(
    module=T5,
    config=config_from_hf,
    attributes=ATTRIBUTES,
    inert=INERT,
    rules=RULES,
    copies=lambda config: TIED_COPIES if config.tied else COPIES,
    ignored=IGNORED,
    special_tokens=SPECIAL_TOKENS,
    architecture=Architecture("T5ForConditionalGeneration"),
)
