"""Gemma 3 (Gemma Team 2025), its text part: most layers attend to a window, and have rotary
positions of their own; every layer's inputs and outputs are normalised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from serac_jax.models import llama, qwen2
from serac_jax.models.causal import Attending, CausalConfig
from serac_jax.models.network import Architecture
from serac_jax.models.rotary import rotary


def config_from_hf(hf: Mapping[str, Any], *how: Any) -> CausalConfig:
    """Reads the attributes of a Hugging Face Gemma 3 text configuration."""
    config = llama.config_from_hf(
        {
            **hf,
            "hidden_act": hf["hidden_activation"],
            "rope_scaling": None,  # of some layers
            "rope_parameters": None,
            "mlp_bias": False,
        },
        *how,
    )
    return replace(
        config,
        attending=attending(hf),
        attention_scale=hf["query_pre_attn_scalar"] ** -0.5,
        embedding_scale=config.width**0.5,
        unit_offset=True,
        qk_norm=True,
        sandwich=True,
    )


def attending(hf: Mapping[str, Any]) -> tuple[Attending, ...]:
    """How each layer attends: one in six to everything, the others to a window."""
    by_type = hf["rope_parameters"] or {}
    everywhere = {"rope_theta": hf["rope_theta"]} | (hf["rope_scaling"] or {})
    nearby = {"rope_theta": hf["rope_local_base_freq"]}
    width, positions = hf["head_dim"], hf["max_position_embeddings"]
    kinds = {
        "full_attention": Attending(
            rotary(width, everywhere | (by_type.get("full_attention") or {}), positions)
        ),
        "sliding_attention": Attending(
            rotary(width, nearby | (by_type.get("sliding_attention") or {}), positions),
            hf["sliding_window"],
        ),
    }
    every = hf["sliding_window_pattern"]
    layers = hf["layer_types"] or [
        "sliding_attention" if number % every else "full_attention"
        for number in range(1, hf["num_hidden_layers"] + 1)
    ]
    qwen2.known_types(layers)
    return tuple(kinds[kind] for kind in layers)


ATTRIBUTES = {
    "vocab_size": 262208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "hidden_activation": "gelu_pytorch_tanh",
    "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-6,
    "query_pre_attn_scalar": 256,
    "rope_theta": 1e6,
    "rope_local_base_freq": 1e4,
    "rope_scaling": None,
    "rope_parameters": None,
    "sliding_window": 4096,
    "sliding_window_pattern": 6,
    "layer_types": None,
    "attention_bias": False,
    "tie_word_embeddings": True,
    "eos_token_id": 1,
}
RULES = (
    *(rule for rule in llama.RULES if "post_attention_layernorm" not in rule[0]),
    ("model.layers.{i}.self_attn.{p}_norm.weight", "block_{i}/attention/{p}_norm/scale"),
    ("model.layers.{i}.post_attention_layernorm.weight", "block_{i}/attention_out_norm/scale"),
    ("model.layers.{i}.pre_feedforward_layernorm.weight", "block_{i}/mlp_norm/scale"),
    ("model.layers.{i}.post_feedforward_layernorm.weight", "block_{i}/mlp_out_norm/scale"),
)

NETWORK = llama.NETWORK._replace(
    config=config_from_hf,
    attributes=ATTRIBUTES,
    fixed={
        "final_logit_softcapping": None,
        "attn_logit_softcapping": None,
        "use_bidirectional_attention": False,
    },
    inert=frozenset(("attention_dropout", "_sliding_window_pattern")),
    rules=RULES,
    ignored=(*llama.IGNORED, r"(model\.)?(vision_tower|multi_modal_projector)\..*"),
    architecture=Architecture("Gemma3ForCausalLM"),
)
