"""Blenderbot small (Roller et al. 2021): networks of `blenderbot-small` checkpoints, in linen.

An encoder-decoder with learned positions and layer norm after every sum. Its decoder normalises the
embeddings before it adds the positions, its encoder after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from serac_jax.core.batch import Tokens, spread
from serac_jax.models.blenderbot_tokenizer import SPECIAL_TOKENS, read_codec
from serac_jax.models.cache import Cache, Pair, blank, written
from serac_jax.models.layers import ACTIVATIONS, fitting, known_activation, stacked
from serac_jax.models.linear import Dropout, Embed, Linear, at_least_float32, masked
from serac_jax.models.network import Architecture, Network
from serac_jax.models.packing import NOTHING_PACKED, Packing, packing


@dataclass(frozen=True)
class BlenderbotConfig:
    vocab: int
    width: int
    positions: int
    encoder: StackConfig
    decoder: StackConfig
    activation: str
    scaled: bool  # embeddings are multiplied by √width
    start: int  # first decoder input
    eos: int
    dropout: float
    dtype: Any
    remat: bool


@dataclass(frozen=True)
class StackConfig:
    layers: int
    heads: int
    mlp_width: int


def config_from_hf(
    hf: Mapping[str, Any], output: str, dropout: float, dtype: Any, remat: bool
) -> BlenderbotConfig:
    """Reads a Hugging Face Blenderbot-small configuration; the only `output` is ""."""
    encoder, decoder = (
        StackConfig(hf[f"{side}_layers"], hf[f"{side}_attention_heads"], hf[f"{side}_ffn_dim"])
        for side in ("encoder", "decoder")
    )
    return BlenderbotConfig(
        vocab=hf["vocab_size"],
        width=hf["d_model"],
        positions=hf["max_position_embeddings"],
        encoder=encoder,
        decoder=decoder,
        activation=known_activation(hf["activation_function"]),
        scaled=hf["scale_embedding"],
        start=hf["decoder_start_token_id"],
        eos=hf["eos_token_id"],
        dropout=dropout,
        dtype=dtype,
        remat=remat,
    )


ATTRIBUTES = {
    "vocab_size": 50265,
    "d_model": 512,
    "max_position_embeddings": 512,
    "encoder_layers": 8,
    "decoder_layers": 8,
    "encoder_attention_heads": 16,
    "decoder_attention_heads": 16,
    "encoder_ffn_dim": 2048,
    "decoder_ffn_dim": 2048,
    "activation_function": "gelu",
    "scale_embedding": False,
    "decoder_start_token_id": 1,
    "eos_token_id": 2,
}
# Training options, and another name of encoder_layers.
INERT = frozenset(
    """activation_dropout attention_dropout decoder_layerdrop dropout encoder_layerdrop init_std
    num_hidden_layers""".split()
)
# Attributes of published configurations that `transformers` no longer has.
FIXED = {
    "add_bias_logits": False,
    "add_final_layer_norm": False,
    "do_blenderbot_90_layernorm": True,
    "extra_layer_norm": False,
    "extra_pos_embeddings": 0,
    "force_bos_token_to_be_generated": False,
    "layernorm_variant": "xlm",
    "normalize_before": False,
    "normalize_embedding": True,
    "static_position_embeddings": False,
}

# Hugging Face key ↔ parameter path; kernels are transposed (placeholders: convert.py).
RULES = (
    ("model.shared.weight", "shared/embedding"),
    ("final_logits_bias", "output_bias"),
    ("model.{s}.embed_positions.weight", "{s}/positions/embedding"),
    ("model.{s}.layernorm_embedding.{w}", "{s}/norm/{w}"),
    ("model.{s}.layers.{i}.self_attn.out_proj.{w}", "{s}/block_{i}/self_attention/o/{w}"),
    ("model.{s}.layers.{i}.self_attn.{p}_proj.{w}", "{s}/block_{i}/self_attention/{p}/{w}"),
    ("model.{s}.layers.{i}.self_attn_layer_norm.{w}", "{s}/block_{i}/self_norm/{w}"),
    (
        "model.decoder.layers.{i}.encoder_attn.out_proj.{w}",
        "decoder/block_{i}/cross_attention/o/{w}",
    ),
    (
        "model.decoder.layers.{i}.encoder_attn.{p}_proj.{w}",
        "decoder/block_{i}/cross_attention/{p}/{w}",
    ),
    ("model.decoder.layers.{i}.encoder_attn_layer_norm.{w}", "decoder/block_{i}/cross_norm/{w}"),
    ("model.{s}.layers.{i}.fc1.{w}", "{s}/block_{i}/wi/{w}"),
    ("model.{s}.layers.{i}.fc2.{w}", "{s}/block_{i}/wo/{w}"),
    ("model.{s}.layers.{i}.final_layer_norm.{w}", "{s}/block_{i}/mlp_norm/{w}"),
)
COPIES: dict[str, str] = dict.fromkeys(
    ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight", "lm_head.weight"),
    "model.shared.weight",
)


class Attention(nn.Module):
    config: BlenderbotConfig
    heads: int

    def setup(self):
        self.q, self.k, self.v, self.o = (
            Linear(self.config.width, True, self.config.dtype) for _ in range(4)
        )
        self.drop = Dropout(self.config.dropout)

    def split(self, x: Float[Array, "n l e"]) -> Float[Array, "n l h d"]:
        return x.reshape(*x.shape[:2], self.heads, -1)

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
        q = self.split(packed.lay_out(self.q(x)))
        scores = jnp.einsum("nqhd,nlhd->nhql", q * jnp.asarray(q.shape[-1] ** -0.5, q.dtype), keys)
        weights = jax.nn.softmax(at_least_float32(scores) + bias).astype(self.config.dtype)
        mixed = jnp.einsum("nhql,nlhd->nqhd", self.drop(weights), values)
        return self.o(packed.pack(mixed.reshape(*mixed.shape[:2], -1)))


class Block(nn.Module):
    config: BlenderbotConfig
    stack: StackConfig
    decoder: bool

    def setup(self):
        cfg, heads = self.config, self.stack.heads
        self.self_attention, self.self_norm = (
            Attention(cfg, heads),
            nn.LayerNorm(1e-5, dtype=cfg.dtype),
        )
        if self.decoder:
            self.cross_attention, self.cross_norm = (
                Attention(cfg, heads),
                nn.LayerNorm(1e-5, dtype=cfg.dtype),
            )
        self.wi, self.wo = (
            Linear(self.stack.mlp_width, True, cfg.dtype),
            Linear(cfg.width, True, cfg.dtype),
        )
        self.mlp_norm = nn.LayerNorm(1e-5, dtype=cfg.dtype)
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
        return self.layers(
            x, self.self_attention.keys_values(x, packed), bias, cross, encoded_bias, packed
        )

    def step(
        self, x: Array, length: Array, bias: Array, own: Pair, cross: Pair, encoded_bias: Array
    ) -> tuple[Array, Pair]:
        """Processes one position per row, whose keys and values go to position `length` of the
        cache."""
        own = written(own, self.self_attention.keys_values(x), length)
        return self.layers(x, own, bias, cross, encoded_bias), own

    def layers(
        self,
        x: Array,
        own: Pair,
        bias: Array,
        cross: Pair | None,
        encoded_bias: Any,
        packed: Packing = NOTHING_PACKED,
    ) -> Array:
        x = self.self_norm(x + self.drop(self.self_attention(x, own, bias, packed)))
        if cross is not None:
            x = self.cross_norm(x + self.drop(self.cross_attention(x, cross, encoded_bias, packed)))
        return self.mlp_norm(
            x + self.drop(self.wo(ACTIVATIONS[self.config.activation](self.wi(x))))
        )


class Stack(nn.Module):
    config: BlenderbotConfig
    decoder: bool

    def setup(self):
        cfg = self.config
        stack = cfg.decoder if self.decoder else cfg.encoder
        block = stacked(Block, cfg.remat, "__call__", "step")
        self.block = [block(cfg, stack, self.decoder) for _ in range(stack.layers)]
        self.positions = Embed(cfg.positions, cfg.width, dtype=cfg.dtype)
        self.norm = nn.LayerNorm(1e-5, dtype=cfg.dtype)
        self.drop = Dropout(cfg.dropout)

    def embed(self, x: Float[Array, "n l e"], position: Int[Array, "m l"]) -> Float[Array, "n l e"]:
        where = self.positions(position)
        return self.drop(self.norm(x) + where if self.decoder else self.norm(x + where))

    def __call__(
        self,
        x: Array,
        packed: Packing,
        encoded: Array | None = None,
        encoded_packed: Packing = NOTHING_PACKED,
    ) -> Array:
        rows, length = len(packed.mask), fitting(packed.mask.shape[1], self.config.positions)
        seen = packed.mask[:, None, None, :]
        if self.decoder:
            seen = seen & jnp.tril(jnp.ones((length, length), bool))[None, None]
        bias = masked(jnp.zeros((), jnp.float32), seen)
        encoded_bias = (
            None
            if encoded is None
            else masked(
                jnp.zeros((), jnp.float32), spread(encoded_packed.mask, rows)[:, None, None, :]
            )
        )
        x = self.embed(x, packed.columns)
        for block in self.block:
            x = block(x, bias, packed, encoded, encoded_bias, encoded_packed)
        return x

    def start(self, encoded: Array, mask: Bool[Array, "n l"], room: int) -> Cache:
        """A cache for an encoded input, with room for so many output positions."""
        heads, width = self.config.decoder.heads, self.config.width
        cross = tuple(block.cross_attention.keys_values(encoded) for block in self.block)
        empty = blank(
            len(mask),
            fitting(room, self.config.positions),
            len(self.block),
            heads,
            width // heads,
            self.config.dtype,
        )
        return empty._replace(encoded=cross, mask=mask)

    def step(self, x: Float[Array, "n 1 e"], cache: Cache) -> tuple[Cache, Array]:
        assert cache.mask is not None  # as `start` made it
        bias = masked(jnp.zeros((), jnp.float32), cache.seen)
        encoded_bias = masked(jnp.zeros((), jnp.float32), cache.mask[:, None, None, :])
        x, own = self.embed(x, cache.length[:, None]), []
        for block, mine, cross in zip(self.block, cache.own, cache.encoded, strict=True):
            x, mine = block.step(x, cache.length, bias, mine, cross, encoded_bias)
            own.append(mine)
        return cache._replace(own=tuple(own), length=cache.length + 1), x


class Blenderbot(nn.Module):
    """Encoder, decoder and output layer; methods are called through `module.apply`."""

    config: BlenderbotConfig

    def setup(self):
        cfg = self.config
        self.shared = Embed(cfg.vocab, cfg.width, dtype=cfg.dtype)
        self.encoder, self.decoder = Stack(cfg, False), Stack(cfg, True)
        self.output_bias = self.param("output_bias", nn.initializers.zeros, (1, cfg.vocab))

    def __call__(
        self,
        tokens: Tokens,
        labels: Int[Array, "n t"],
        label_mask: Bool[Array, "n t"] | None = None,
        at: Array | None = None,
    ) -> Array:
        """Teacher forcing: the logits of each label given the labels before it.

        Args:
          labels: If there are more rows of labels than of tokens, consecutive rows of labels share
            a row of tokens.
          label_mask: Hides decoder positions. Not needed for padding at the end, which the causal
            mask hides.
          at: Compute these positions only, see `Examples`.

        Returns:
          "n t v", or "p 1 v" with `at`.
        """
        start = jnp.full((labels.shape[0], 1), self.config.start, labels.dtype)
        inputs = jnp.concatenate([start, labels[:, :-1]], -1)
        return self.logits_after(
            inputs, jnp.ones(inputs.shape, bool) if label_mask is None else label_mask, tokens, at
        )

    def logits_after(
        self,
        inputs: Int[Array, "n t"],
        mask: Bool[Array, "n t"],
        tokens: Tokens,
        at: Array | None = None,
    ) -> Array:
        """The logits that follow each decoder input, or those at positions `at`."""
        packed = Packing(mask, at)
        x = self.decoder(
            self.embed(packed.pack(inputs)), packed, self.read(tokens), packing(tokens)
        )
        return self.output(packed.apart(x))

    def encode(self, tokens: Tokens) -> Float[Array, "n l e"]:
        """The encoder's last hidden states."""
        return packing(tokens).lay_out(self.read(tokens))

    def read(self, tokens: Tokens) -> Array:
        """The encoder's last hidden states, still packed."""
        return self.encoder(self.embed(packing(tokens).pack(tokens.ids)), packing(tokens))

    def embed(self, ids: Int[Array, "n l"]) -> Float[Array, "n l e"]:
        x = self.shared(ids)
        return x * jnp.asarray(self.config.width**0.5, x.dtype) if self.config.scaled else x

    def output(self, x: Float[Array, "n t e"]) -> Float[Array, "n t v"]:
        return (
            at_least_float32(self.shared.attend(x)) + jax.lax.stop_gradient(self.output_bias)[None]
        )  # a constant of the checkpoint, never trained

    def start(self, tokens: Tokens, room: int) -> tuple[Cache, Int[Array, " n"]]:
        """Reads the input. Returns a cache with room for so many output positions, and the token
        that `decode` takes first."""
        cache = self.decoder.start(self.encode(tokens), tokens.mask, room)
        return cache, jnp.full(len(tokens.ids), self.config.start, jnp.int32)

    def decode(self, cache: Cache, token: Int[Array, " n"]) -> tuple[Cache, Float[Array, "n v"]]:
        """Logits of the token that follows `token` in each row."""
        cache, x = self.decoder.step(self.embed(token[:, None]), cache)
        return cache, self.output(x)[:, 0]


NETWORK = Network(
    module=Blenderbot,
    config=config_from_hf,
    attributes=ATTRIBUTES,
    fixed=FIXED,
    inert=INERT,
    rules=RULES,
    copies=lambda config: COPIES,
    special_tokens=SPECIAL_TOKENS,
    codec=read_codec,
    architecture=Architecture("BlenderbotSmallForConditionalGeneration"),
)
