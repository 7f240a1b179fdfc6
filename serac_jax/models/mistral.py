"""Mistral (Jiang et al. 2023): Llama whose layers attend to a window of the last positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from serac_jax.models import llama
from serac_jax.models.causal import CausalConfig
from serac_jax.models.network import Architecture


def config_from_hf(hf: Mapping[str, Any], *how: Any) -> CausalConfig:
    """Reads the attributes of a Hugging Face Mistral configuration."""
    config = llama.config_from_hf(hf, *how)
    windowed = (kind._replace(window=hf["sliding_window"]) for kind in config.attending)
    return replace(config, attending=tuple(windowed))


NETWORK = llama.NETWORK._replace(
    config=config_from_hf,
    attributes=llama.ATTRIBUTES
    | {
        "intermediate_size": 14336,
        "num_key_value_heads": 8,
        "max_position_embeddings": 131072,
        "sliding_window": 4096,
    },
    nullable=frozenset(("sliding_window",)),  # null: no window
    architecture=Architecture("MistralForCausalLM"),
)
