"""Qwen2 (Yang et al. 2024) and Qwen2.5: Llama with biases of queries, keys and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from serac_jax.models import llama
from serac_jax.models.causal import Attending, CausalConfig
from serac_jax.models.network import Architecture, WeightError


def config_from_hf(hf: Mapping[str, Any], *how: Any) -> CausalConfig:
    """Reads the attributes of a Hugging Face Qwen2 configuration."""
    config = llama.config_from_hf(hf, *how)
    return replace(config, qkv_bias=True, attending=windowed(config.attending, hf))


def windowed(attending: tuple[Attending, ...], hf: Mapping[str, Any]) -> tuple[Attending, ...]:
    """The layers with the windows of a Hugging Face configuration."""
    if not hf["use_sliding_window"]:
        return attending
    window = hf["sliding_window"] or 4096
    sliding = [number >= hf["max_window_layers"] for number in range(len(attending))]
    if hf["layer_types"]:
        known_types(hf["layer_types"])
        sliding = [kind == "sliding_attention" for kind in hf["layer_types"]]
    return tuple(
        kind._replace(window=window) if slides else kind
        for kind, slides in zip(attending, sliding, strict=True)
    )


def known_types(layers: Sequence[str]) -> None:
    """Raises WeightError where a layer attends in a way that is not implemented."""
    for kind in layers:
        if kind not in ("sliding_attention", "full_attention"):
            raise WeightError(
                f"config.json lists {kind!r} among its layer_types, which is not implemented"
            )


NETWORK = llama.NETWORK._replace(
    config=config_from_hf,
    attributes=llama.ATTRIBUTES
    | {
        "vocab_size": 151936,
        "intermediate_size": 22016,
        "num_key_value_heads": 32,
        "max_position_embeddings": 32768,
        "use_sliding_window": False,
        "sliding_window": None,
        "max_window_layers": 28,
        "layer_types": None,
        "eos_token_id": None,
    },
    architecture=Architecture("Qwen2ForCausalLM"),
)
