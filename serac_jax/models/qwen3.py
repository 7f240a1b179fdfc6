"""Qwen3 (Yang et al. 2025): Llama with normalised queries and keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from serac_jax.models import llama, qwen2
from serac_jax.models.causal import CausalConfig
from serac_jax.models.network import Architecture


def config_from_hf(hf: Mapping[str, Any], *how: Any) -> CausalConfig:
    """Reads the attributes of a Hugging Face Qwen3 configuration."""
    config = llama.config_from_hf(hf, *how)
    return replace(config, qk_norm=True, attending=qwen2.windowed(config.attending, hf))


NETWORK = qwen2.NETWORK._replace(
    config=config_from_hf,
    attributes=dict(qwen2.NETWORK.attributes) | {"head_dim": 128},
    rules=(
        *llama.RULES,
        ("model.layers.{i}.self_attn.{p}_norm.weight", "block_{i}/attention/{p}_norm/scale"),
    ),
    architecture=Architecture("Qwen3ForCausalLM"),
)
