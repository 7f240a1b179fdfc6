"""Llama (Touvron et al. 2023; Llama 3, Grattafiori et al. 2024): networks of `llama` checkpoints,
such as SmolLM2.

A causal decoder with RMS norms, rotary positions, grouped queries and a gated feed-forward layer.
Its relatives read their configurations with `config_from_hf`, and change it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serac_jax.models.causal import Attending, Causal, CausalConfig
from serac_jax.models.layers import known_activation
from serac_jax.models.network import Architecture, Network, WeightError
from serac_jax.models.rotary import rotary


def config_from_hf(
    hf: Mapping[str, Any], output: str, dropout: float, dtype: Any, remat: bool
) -> CausalConfig:
    """Reads the attributes of a Hugging Face configuration, whose only output is ""."""
    heads, layers = hf["num_attention_heads"], hf["num_hidden_layers"]
    head_width = hf["head_dim"] or hf["hidden_size"] // heads
    # Older versions of `transformers` write rope_theta and rope_scaling.
    rope = {"rope_theta": hf["rope_theta"]} | (hf["rope_scaling"] or {})
    rope |= hf["rope_parameters"] or {}
    attending = Attending(rotary(head_width, rope, hf["max_position_embeddings"]))
    return CausalConfig(
        vocab=hf["vocab_size"],
        width=hf["hidden_size"],
        mlp_width=hf["intermediate_size"],
        layers=layers,
        heads=heads,
        groups=hf["num_key_value_heads"] or heads,
        head_width=head_width,
        attending=(attending,) * layers,
        positions=hf["max_position_embeddings"],
        eps=hf["rms_norm_eps"],
        activation=known_activation(hf["hidden_act"]),
        tied=hf["tie_word_embeddings"],
        eos=ends(hf),
        dropout=dropout,
        dtype=dtype,
        remat=remat,
        attention_scale=head_width**-0.5,
        qkv_bias=hf["attention_bias"],
        o_bias=hf["attention_bias"],
        mlp_bias=hf["mlp_bias"],
    )


def ends(hf: Mapping[str, Any]) -> tuple[int, ...]:
    """The ids that end an answer. Raises WeightError where the configuration names none."""
    eos = hf["eos_token_id"]
    if eos is None:
        raise WeightError("config.json names no eos_token_id, so an answer has no end; add one")
    return (eos,) if isinstance(eos, int) else tuple(eos)


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
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
    "eos_token_id": (2,),
}
INERT = frozenset(("attention_dropout", "is_llama_config", "pretraining_tp"))
FIXED = {"rope_interleaved": False}

# Hugging Face key ↔ parameter path; kernels are transposed (placeholders: convert.py).
RULES = (
    ("model.embed_tokens.weight", "shared/embedding"),
    ("model.layers.{i}.self_attn.{p}_proj.{w}", "block_{i}/attention/{p}/{w}"),
    ("model.layers.{i}.input_layernorm.weight", "block_{i}/attention_norm/scale"),
    ("model.layers.{i}.mlp.gate_proj.{w}", "block_{i}/mlp/wi_0/{w}"),
    ("model.layers.{i}.mlp.up_proj.{w}", "block_{i}/mlp/wi_1/{w}"),
    ("model.layers.{i}.mlp.down_proj.{w}", "block_{i}/mlp/wo/{w}"),
    ("model.layers.{i}.post_attention_layernorm.weight", "block_{i}/mlp_norm/scale"),
    ("model.norm.weight", "final_norm/scale"),
    ("lm_head.weight", "lm_head/kernel"),
)
IGNORED = (r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq",)  # a buffer


def copies(config: CausalConfig) -> dict[str, str]:
    """Keys of weights that must equal another key's."""
    return {"lm_head.weight": "model.embed_tokens.weight"} if config.tied else {}


NETWORK = Network(
    module=Causal,
    config=config_from_hf,
    attributes=ATTRIBUTES,
    fixed=FIXED,
    inert=INERT,
    rules=RULES,
    copies=copies,
    ignored=IGNORED,
    special_tokens={},
    architecture=Architecture("LlamaForCausalLM"),
    sampled=True,
    template="question_answer",
)
