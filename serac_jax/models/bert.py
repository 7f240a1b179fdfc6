"""BERT (Devlin et al. 2019) and DistilBERT (Sanh et al. 2019), with or without a classifier head.

Both are one network: DistilBERT has no token types and no pooler, other weight names, and another
head. A checkpoint without a head serves as an embedding scope classifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from serac_jax.core.batch import Tokens
from serac_jax.models.layers import ACTIVATIONS, fitting, known_activation, stacked
from serac_jax.models.linear import Dropout, Embed, Linear, at_least_float32, masked
from serac_jax.models.network import Architecture, Network
from serac_jax.models.packing import Packing, packing


@dataclass(frozen=True)
class BertConfig:
    vocab: int
    width: int
    mlp_width: int
    layers: int
    heads: int
    positions: int
    types: int  # token types; 0 for DistilBERT
    eps: float
    activation: str
    # "cls": the first token's state; "pooler": the same through a tanh layer; "mean": the mean over
    # real tokens; "head": class logits
    output: str
    # DistilBERT's head: linear + relu over the first token's state, instead of BERT's pooler
    relu_head: bool
    labels: int  # outputs of the head; 1: the logit of the second of two classes
    dropout: float
    dtype: Any
    remat: bool


def bert_from_hf(
    hf: Mapping[str, Any], output: str, dropout: float, dtype: Any, remat: bool
) -> BertConfig:
    """Reads a Hugging Face BERT configuration."""
    return BertConfig(
        vocab=hf["vocab_size"],
        width=hf["hidden_size"],
        mlp_width=hf["intermediate_size"],
        layers=hf["num_hidden_layers"],
        heads=hf["num_attention_heads"],
        positions=hf["max_position_embeddings"],
        types=hf["type_vocab_size"],
        eps=hf["layer_norm_eps"],
        activation=known_activation(hf["hidden_act"]),
        output=output,
        relu_head=False,
        labels=len(hf["id2label"]),
        dropout=dropout,
        dtype=dtype,
        remat=remat,
    )


def distilbert_from_hf(
    hf: Mapping[str, Any], output: str, dropout: float, dtype: Any, remat: bool
) -> BertConfig:
    """Reads a Hugging Face DistilBERT configuration."""
    return BertConfig(
        vocab=hf["vocab_size"],
        width=hf["dim"],
        mlp_width=hf["hidden_dim"],
        layers=hf["n_layers"],
        heads=hf["n_heads"],
        positions=hf["max_position_embeddings"],
        types=0,
        eps=1e-12,
        activation=known_activation(hf["activation"]),
        output=output,
        relu_head=True,
        labels=len(hf["id2label"]),
        dropout=dropout,
        dtype=dtype,
        remat=remat,
    )


TWO_CLASSES = {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}, "num_labels": None}
BERT_ATTRIBUTES = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "hidden_act": "gelu",
} | TWO_CLASSES
BERT_INERT = frozenset(
    """attention_probs_dropout_prob directionality hidden_dropout_prob pooler_fc_size
    pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head pooler_type""".split()
)
DISTILBERT_ATTRIBUTES = {
    "vocab_size": 30522,
    "dim": 768,
    "hidden_dim": 3072,
    "n_layers": 6,
    "n_heads": 12,
    "max_position_embeddings": 512,
    "activation": "gelu",
} | TWO_CLASSES
DISTILBERT_INERT = frozenset(("attention_dropout", "dropout", "qa_dropout", "seq_classif_dropout"))
SPECIAL_TOKENS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}

# Hugging Face key ↔ parameter path; kernels are transposed (placeholders: convert.py).
BERT_RULES = (
    ("embeddings.word_embeddings.weight", "words/embedding"),
    ("embeddings.position_embeddings.weight", "positions/embedding"),
    ("embeddings.token_type_embeddings.weight", "types/embedding"),
    ("embeddings.LayerNorm.{w}", "norm/{w}"),
    ("encoder.layer.{i}.attention.self.query.{w}", "block_{i}/attention/q/{w}"),
    ("encoder.layer.{i}.attention.self.key.{w}", "block_{i}/attention/k/{w}"),
    ("encoder.layer.{i}.attention.self.value.{w}", "block_{i}/attention/v/{w}"),
    ("encoder.layer.{i}.attention.output.dense.{w}", "block_{i}/attention/o/{w}"),
    ("encoder.layer.{i}.attention.output.LayerNorm.{w}", "block_{i}/attention_norm/{w}"),
    ("encoder.layer.{i}.intermediate.dense.{w}", "block_{i}/wi/{w}"),
    ("encoder.layer.{i}.output.dense.{w}", "block_{i}/wo/{w}"),
    ("encoder.layer.{i}.output.LayerNorm.{w}", "block_{i}/mlp_norm/{w}"),
    ("pooler.dense.{w}", "pooler/{w}"),
    ("classifier.{w}", "head/{w}"),
)
DISTILBERT_RULES = (
    ("embeddings.word_embeddings.weight", "words/embedding"),
    ("embeddings.position_embeddings.weight", "positions/embedding"),
    ("embeddings.LayerNorm.{w}", "norm/{w}"),
    ("transformer.layer.{i}.attention.q_lin.{w}", "block_{i}/attention/q/{w}"),
    ("transformer.layer.{i}.attention.k_lin.{w}", "block_{i}/attention/k/{w}"),
    ("transformer.layer.{i}.attention.v_lin.{w}", "block_{i}/attention/v/{w}"),
    ("transformer.layer.{i}.attention.out_lin.{w}", "block_{i}/attention/o/{w}"),
    ("transformer.layer.{i}.sa_layer_norm.{w}", "block_{i}/attention_norm/{w}"),
    ("transformer.layer.{i}.ffn.lin1.{w}", "block_{i}/wi/{w}"),
    ("transformer.layer.{i}.ffn.lin2.{w}", "block_{i}/wo/{w}"),
    ("transformer.layer.{i}.output_layer_norm.{w}", "block_{i}/mlp_norm/{w}"),
    ("pre_classifier.{w}", "pre_head/{w}"),
    ("classifier.{w}", "head/{w}"),
)
# Heads of other tasks, and buffers.
BERT_IGNORED = (r"embeddings\.position_ids", r"cls\..*")
DISTILBERT_IGNORED = (
    r"embeddings\.position_ids",
    r"vocab_(transform|layer_norm|projector)\..*",
    r"qa_outputs\..*",
)


class Attention(nn.Module):
    config: BertConfig

    def setup(self):
        self.q, self.k, self.v, self.o = (
            Linear(self.config.width, True, self.config.dtype) for _ in range(4)
        )
        self.drop = Dropout(self.config.dropout)

    def __call__(
        self,
        kept: Float[Array, "r p e"],
        x: Float[Array, "s m e"],
        bias: Float[Array, "n 1 1 l"],
        own: Packing,
        packed: Packing,
    ) -> Float[Array, "r p e"]:
        """The positions `kept`, packed by `own`, attend to those of `x`."""

        def split(y: Array, packed: Packing) -> Array:
            y = packed.lay_out(y)
            return y.reshape(*y.shape[:2], self.config.heads, -1)

        q, k, v = split(self.q(kept), own), split(self.k(x), packed), split(self.v(x), packed)
        scores = jnp.einsum("nqhd,nlhd->nhql", q, k) * jnp.asarray(q.shape[-1] ** -0.5, q.dtype)
        weights = jax.nn.softmax(at_least_float32(scores) + bias).astype(self.config.dtype)
        mixed = jnp.einsum("nhql,nlhd->nqhd", self.drop(weights), v)
        return self.o(own.pack(mixed.reshape(*mixed.shape[:2], -1)))


class Block(nn.Module):
    config: BertConfig

    def setup(self):
        cfg = self.config
        self.attention, self.attention_norm = Attention(cfg), nn.LayerNorm(cfg.eps, dtype=cfg.dtype)
        self.wi, self.wo = (
            Linear(cfg.mlp_width, True, cfg.dtype),
            Linear(cfg.width, True, cfg.dtype),
        )
        self.mlp_norm = nn.LayerNorm(cfg.eps, dtype=cfg.dtype)
        self.drop = Dropout(cfg.dropout)

    def __call__(self, x: Array, bias: Array, packed: Packing, keep: int | None) -> Array:
        """With `keep`, only so many first positions of every row, which are not packed any more."""
        kept, own = (
            (x, packed)
            if keep is None
            else (packed.lay_out(x)[:, :keep], Packing(packed.mask[:, :keep]))
        )
        x = self.attention_norm(kept + self.drop(self.attention(kept, x, bias, own, packed)))
        return self.mlp_norm(
            x + self.drop(self.wo(ACTIVATIONS[self.config.activation](self.wi(x))))
        )


class Bert(nn.Module):
    """Encoder and, where the configuration has one, classification head."""

    config: BertConfig

    def setup(self):
        cfg = self.config
        self.words, self.positions = (
            Embed(cfg.vocab, cfg.width, dtype=cfg.dtype),
            Embed(cfg.positions, cfg.width, dtype=cfg.dtype),
        )
        if cfg.types:
            self.types = Embed(cfg.types, cfg.width, dtype=cfg.dtype)
        self.norm = nn.LayerNorm(cfg.eps, dtype=cfg.dtype)
        block = stacked(Block, cfg.remat, "__call__", static=(4,))
        self.block = [block(cfg) for _ in range(cfg.layers)]
        if cfg.output == "head":
            self.head = Linear(cfg.labels, True, cfg.dtype)
        if cfg.output == "head" and cfg.relu_head:
            self.pre_head = Linear(cfg.width, True, cfg.dtype)
        elif cfg.output in ("head", "pooler"):
            self.pooler = Linear(cfg.width, True, cfg.dtype)
        self.drop = Dropout(cfg.dropout)

    def __call__(
        self, tokens: Tokens, labels: Int[Array, "m t"] | None = None
    ) -> Float[Array, "n 1 v"] | Float[Array, "n d"]:
        """With a head, its class logits, as an answer of one position; else one vector a text.
        `labels` are not read."""
        return (
            self.classify(tokens)[:, None] if self.config.output == "head" else self.embed(tokens)
        )

    def encode(self, tokens: Tokens, keep: int | None = None) -> Float[Array, "n l e"]:
        """The last hidden states; of the first `keep` positions only, for which the last layer then
        does less work."""
        fitting(tokens.ids.shape[1], self.config.positions)
        packed = packing(tokens)
        x = self.words(packed.pack(tokens.ids)) + self.positions(packed.columns)
        if self.config.types:
            x = x + self.types(jnp.zeros((1, 1), jnp.int32))
        x = self.drop(self.norm(x))
        bias = masked(jnp.zeros((), jnp.float32), tokens.mask[:, None, None, :])
        for block in self.block[:-1]:
            x = block(x, bias, packed, None)
        x = self.block[-1](x, bias, packed, keep)
        return packed.lay_out(x) if keep is None else x

    def embed(self, tokens: Tokens) -> Float[Array, "n d"]:
        """One vector a text, as `output` says."""
        if self.config.output == "mean":
            weight = tokens.mask.astype(self.config.dtype)[..., None]
            return (self.encode(tokens) * weight).sum(1) / jnp.maximum(weight.sum(1), 1)
        first = self.encode(tokens, keep=1)[:, 0]
        return jnp.tanh(self.pooler(first)) if self.config.output == "pooler" else first

    def classify(self, tokens: Tokens) -> Float[Array, "n v"]:
        """Logits of the classes, at least two: a head with the single logit z says [0, z], whose
        softmax is the sigmoid of z."""
        first = self.encode(tokens, keep=1)[:, 0]
        x = (
            jax.nn.relu(self.pre_head(first))
            if self.config.relu_head
            else jnp.tanh(self.pooler(first))
        )
        logits = at_least_float32(self.head(self.drop(x)))
        return (
            jnp.concatenate([jnp.zeros_like(logits), logits], -1)
            if self.config.labels == 1
            else logits
        )


OPTIONAL = ("pooler", "pre_head", "head")
OUTPUTS = ("cls", "pooler", "mean", "head")
BERT = Network(
    module=Bert,
    config=bert_from_hf,
    attributes=BERT_ATTRIBUTES,
    fixed={"position_embedding_type": "absolute"},
    inert=BERT_INERT,
    rules=BERT_RULES,
    ignored=BERT_IGNORED,
    optional=OPTIONAL,
    special_tokens=SPECIAL_TOKENS,
    architecture=Architecture("BertModel"),
    head=Architecture("BertForSequenceClassification", "bert.", ("classifier.",)),
    outputs=OUTPUTS,
)
DISTILBERT = Network(
    module=Bert,
    config=distilbert_from_hf,
    attributes=DISTILBERT_ATTRIBUTES,
    fixed={"sinusoidal_pos_embds": False},
    inert=DISTILBERT_INERT,
    rules=DISTILBERT_RULES,
    ignored=DISTILBERT_IGNORED,
    optional=OPTIONAL,
    special_tokens=SPECIAL_TOKENS,
    architecture=Architecture("DistilBertModel"),
    head=Architecture(
        "DistilBertForSequenceClassification", "distilbert.", ("classifier.", "pre_classifier.")
    ),
    outputs=OUTPUTS,
)
