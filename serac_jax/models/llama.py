"""Llama (Touvron et al. 2023; Llama 3, Grattafiori et al. 2024): networks of `llama` checkpoints,
such as SmolLM2, in linen.

A causal decoder with RMS norms, rotary positions, grouped queries and a gated feed-forward layer.
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

from serac_jax.core.batch import Tokens, splice, spread
from serac_jax.models.cache import Cache, Pair, written
from serac_jax.models.layers import ACTIVATIONS, RMSNorm, known_activation
from serac_jax.models.linear import Dropout, Embed, Linear, at_least_float32, masked
from serac_jax.models.network import Architecture, Network, WeightError


@dataclass(frozen=True)
class LlamaConfig:
    vocab: int
    width: int
    mlp_width: int
    layers: int
    heads: int
    groups: int  # of heads that share keys and values
    head_width: int
    frequencies: tuple[float, ...]  # of rotary positions
    positions: int
    eps: float
    activation: str
    tied: bool  # the output layer is the embedding
    eos: tuple[int, ...]
    dropout: float
    dtype: Any
    remat: bool


def config_from_hf(
    hf: Mapping[str, Any], output: str, dropout: float, dtype: Any, remat: bool
) -> LlamaConfig:
    """Reads the attributes of a Hugging Face Llama configuration, whose only output is ""."""
    heads, eos = hf["num_attention_heads"], hf["eos_token_id"]
    head_width = hf["head_dim"] or hf["hidden_size"] // heads
    # Older versions of `transformers` write rope_theta and rope_scaling.
    rope = {"rope_theta": hf["rope_theta"]} | (hf["rope_scaling"] or {})
    return LlamaConfig(
        vocab=hf["vocab_size"],
        width=hf["hidden_size"],
        mlp_width=hf["intermediate_size"],
        layers=hf["num_hidden_layers"],
        heads=heads,
        groups=hf["num_key_value_heads"] or heads,
        head_width=head_width,
        frequencies=rotary_frequencies(head_width, rope | (hf["rope_parameters"] or {})),
        positions=hf["max_position_embeddings"],
        eps=hf["rms_norm_eps"],
        activation=known_activation(hf["hidden_act"]),
        tied=hf["tie_word_embeddings"],
        eos=(eos,) if isinstance(eos, int) else tuple(eos),
        dropout=dropout,
        dtype=dtype,
        remat=remat,
    )


def rotary_frequencies(width: int, rope: Mapping[str, Any]) -> tuple[float, ...]:
    """Radians per position of each pair of a head's entries (Su et al. 2021), with Llama 3's
    scaling where it is asked for. Raises WeightError for other kinds of scaling."""
    powers = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    found = np.float32(1.0) / np.float32(rope["rope_theta"]) ** powers
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind == "llama3":
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        turns = rope["original_max_position_embeddings"] * found / np.float32(2 * np.pi)
        smooth = np.clip((turns - low) / (high - low), 0, 1)
        found = ((1 - smooth) / rope["factor"] + smooth) * found
    elif kind != "default":
        raise WeightError(
            f"config.json asks for rotary positions of type {kind!r}, which is not implemented;"
            " implemented are 'default' and 'llama3'"
        )
    return tuple(float(frequency) for frequency in found)


ATTRIBUTES = {
    "vocab_size": 32000,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "head_dim": None,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "rope_parameters": None,
    "tie_word_embeddings": False,
    "eos_token_id": (2,),
}
INERT = frozenset(("attention_dropout", "is_llama_config", "pretraining_tp"))
FIXED = {"attention_bias": False, "mlp_bias": False, "rope_interleaved": False}

# Hugging Face key ↔ parameter path; kernels are transposed (placeholders: convert.py).
RULES = (
    ("model.embed_tokens.weight", "shared/embedding"),
    ("model.layers.{i}.self_attn.{p}_proj.weight", "block_{i}/attention/{p}/kernel"),
    ("model.layers.{i}.input_layernorm.weight", "block_{i}/attention_norm/scale"),
    ("model.layers.{i}.mlp.gate_proj.weight", "block_{i}/mlp/wi_0/kernel"),
    ("model.layers.{i}.mlp.up_proj.weight", "block_{i}/mlp/wi_1/kernel"),
    ("model.layers.{i}.mlp.down_proj.weight", "block_{i}/mlp/wo/kernel"),
    ("model.layers.{i}.post_attention_layernorm.weight", "block_{i}/mlp_norm/scale"),
    ("model.norm.weight", "final_norm/scale"),
    ("lm_head.weight", "lm_head/kernel"),
)
IGNORED = (r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",)  # a buffer


def rotated(
    x: Float[Array, "n l h d"], position: Int[Array, "m l"], frequencies: tuple[float, ...]
) -> Float[Array, "n l h d"]:
    """Heads with rotary positions; entry i is paired with entry i + d/2."""
    angle = position[:, :, None, None].astype(jnp.float32) * jnp.asarray(
        frequencies, jnp.float32
    ).reshape(1, 1, 1, -1)
    cos, sin = jnp.cos(angle).astype(x.dtype), jnp.sin(angle).astype(x.dtype)
    first, second = jnp.split(x, 2, -1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], -1)


class Attention(nn.Module):
    config: LlamaConfig

    def setup(self):
        cfg = self.config
        self.q = Linear(cfg.heads * cfg.head_width, dtype=cfg.dtype)
        self.k, self.v = (Linear(cfg.groups * cfg.head_width, dtype=cfg.dtype) for _ in range(2))
        self.o = Linear(cfg.width, dtype=cfg.dtype)
        self.drop = Dropout(cfg.dropout)

    def split(self, x: Float[Array, "n l e"]) -> Float[Array, "n l h d"]:
        return x.reshape(*x.shape[:2], -1, self.config.head_width)

    def keys_values(self, x: Float[Array, "n l e"], position: Int[Array, "m l"]) -> Pair:
        keys = rotated(self.split(self.k(x)), position, self.config.frequencies)
        return keys, self.split(self.v(x))

    def __call__(
        self, x: Array, position: Array, keys_values: Pair, seen: Bool[Array, "n 1 q l"]
    ) -> Float[Array, "n q e"]:
        keys, values = keys_values
        cfg, (rows, length) = self.config, x.shape[:2]
        q = rotated(self.split(self.q(x)), position, cfg.frequencies)
        q = q.reshape(rows, length, cfg.groups, -1, cfg.head_width)  # "n q g r d"
        scores = jnp.einsum("nqgrd,nlgd->ngrql", q, keys)
        scores = at_least_float32(scores) * cfg.head_width**-0.5
        weights = jax.nn.softmax(masked(scores, seen[:, None])).astype(cfg.dtype)
        mixed = jnp.einsum("ngrql,nlgd->nqgrd", self.drop(weights), values)
        return self.o(mixed.reshape(rows, length, -1))


class MLP(nn.Module):
    config: LlamaConfig

    def setup(self):
        cfg = self.config
        self.wi_0, self.wi_1 = (Linear(cfg.mlp_width, dtype=cfg.dtype) for _ in range(2))
        self.wo = Linear(cfg.width, dtype=cfg.dtype)

    def __call__(self, x: Float[Array, "n l e"]) -> Float[Array, "n l e"]:
        return self.wo(ACTIVATIONS[self.config.activation](self.wi_0(x)) * self.wi_1(x))


class Block(nn.Module):
    config: LlamaConfig

    def setup(self):
        cfg = self.config
        self.attention_norm, self.attention = RMSNorm(cfg.eps, cfg.dtype), Attention(cfg)
        self.mlp_norm, self.mlp = RMSNorm(cfg.eps, cfg.dtype), MLP(cfg)

    def __call__(self, x: Array, position: Array, seen: Array) -> tuple[Array, Pair]:
        """All positions at once; returns their keys and values, too."""
        y = self.attention_norm(x)
        own = self.attention.keys_values(y, position)
        return self.layers(x, y, position, own, seen), own

    def step(self, x: Array, length: Array, own: Pair, seen: Array) -> tuple[Array, Pair]:
        """One position per row: its keys and values join the cache behind `length` others."""
        y, position = self.attention_norm(x), length[:, None]
        own = written(own, self.attention.keys_values(y, position), length)
        return self.layers(x, y, position, own, seen), own

    def layers(self, x: Array, y: Array, position: Array, own: Pair, seen: Array) -> Array:
        x = x + self.attention(y, position, own, seen)
        return x + self.mlp(self.mlp_norm(x))


class Llama(nn.Module):
    """Decoder and output layer; every method is called through `module.apply`."""

    config: LlamaConfig

    def setup(self):
        cfg = self.config
        self.shared = Embed(cfg.vocab, cfg.width, dtype=cfg.dtype)
        block = nn.remat(Block) if cfg.remat else Block
        self.block = [block(cfg) for _ in range(cfg.layers)]
        self.final_norm = RMSNorm(cfg.eps, cfg.dtype)
        if not cfg.tied:
            self.lm_head = Linear(cfg.vocab, dtype=cfg.dtype)

    def __call__(
        self, tokens: Tokens, labels: Int[Array, "n t"], at: Int[Array, " p"] | None = None
    ) -> Array:
        """Logits of each label given the input and the labels before it, "n t v"; with `at`, of
        those positions only, "p 1 v".

        Input and labels are read as one sequence. Where there are more rows of labels than of
        tokens, each of these is read with as many of those, in turn. `at`: see `Examples`.
        """
        asked = spread(Tokens(tokens.ids, tokens.mask), len(labels))
        answered = Tokens(labels[:, :-1], jnp.ones(labels[:, :-1].shape, bool))
        states = self.encode(splice(asked, answered, 0))
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

    def read(self, tokens: Tokens) -> tuple[Float[Array, "n l e"], tuple[Pair, ...]]:
        """The last hidden states, and every layer's keys and values."""
        length = self.fitting(tokens.ids.shape[1])
        position = jnp.arange(length)[None]
        seen = jnp.tril(jnp.ones((length, length), bool))[None, None]
        seen = seen & tokens.mask[:, None, None, :]
        x, own = self.shared(tokens.ids), []
        for block in self.block:
            x, pair = block(x, position, seen)
            own.append(pair)
        return self.final_norm(x), tuple(own)

    def output(self, x: Float[Array, "n t e"]) -> Float[Array, "n t v"]:
        return at_least_float32(self.shared.attend(x) if self.config.tied else self.lm_head(x))

    def start(self, tokens: Tokens, room: int) -> tuple[Cache, Int[Array, " n"]]:
        """Reads the prompt. Returns a cache with room for so many more tokens, which holds all of a
        row but its last token, and that token, which `decode` takes first."""
        _, pairs = self.read(tokens)
        self.fitting(tokens.ids.shape[1] + room)
        wide = ((0, 0), (0, room), (0, 0), (0, 0))
        own = tuple((jnp.pad(keys, wide), jnp.pad(values, wide)) for keys, values in pairs)
        length = jnp.maximum(tokens.mask.sum(-1, dtype=jnp.int32) - 1, 0)
        return Cache(own, length), jnp.take_along_axis(tokens.ids, length[:, None], 1)[:, 0]

    def decode(self, cache: Cache, token: Int[Array, " n"]) -> tuple[Cache, Float[Array, "n v"]]:
        """Logits of the token that follows `token` in each row."""
        x, own = self.shared(token[:, None]), []
        for block, pair in zip(self.block, cache.own, strict=True):
            x, pair = block.step(x, cache.length, pair, cache.seen)
            own.append(pair)
        cache = cache._replace(own=tuple(own), length=cache.length + 1)
        return cache, self.output(self.final_norm(x))[:, 0]

    def fitting(self, length: int) -> int:
        """The length. Raises WeightError where it is more than the network was made for."""
        if length > self.config.positions:
            raise WeightError(
                f"a text padded to {length} tokens is longer than the {self.config.positions}"
                " positions of the network"
            )
        return length


NETWORK = Network(
    module=Llama,
    config=config_from_hf,
    attributes=ATTRIBUTES,
    fixed=FIXED,
    inert=INERT,
    rules=RULES,
    copies=lambda config: {"lm_head.weight": "model.embed_tokens.weight"} if config.tied else {},
    ignored=IGNORED,
    special_tokens={},
    architecture=Architecture("LlamaForCausalLM"),
    sampled=True,
    template="question_answer",
)
