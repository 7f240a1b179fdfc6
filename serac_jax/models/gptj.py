"""GPT-J (Wang and Komatsuzaki 2021): attention and the feed-forward layer read the same input, and
a part of each head has rotary positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from serac_jax.models import gpt2
from serac_jax.models.causal import Attending, CausalConfig
from serac_jax.models.network import Architecture
from serac_jax.models.rotary import rotary


def config_from_hf(hf: Mapping[str, Any], *how: Any) -> CausalConfig:
    """Reads the attributes of a Hugging Face GPT-J configuration."""
    config = gpt2.config_from_hf(hf, *how)
    turned = rotary(hf["rotary_dim"], {"rope_theta": 10000.0}, config.positions)
    return replace(
        config,
        attending=(Attending(turned),) * config.layers,
        interleaved=True,
        tied=False,
        learned_positions=False,
        fused=False,
        parallel=True,
        qkv_bias=False,
        o_bias=False,
        head_bias=True,
    )


ATTRIBUTES = gpt2.ATTRIBUTES | {
    "vocab_size": 50400,
    "n_positions": 2048,
    "n_embd": 4096,
    "n_layer": 28,
    "n_head": 16,
    "rotary_dim": 64,
}
RULES = (
    ("wte.weight", "shared/embedding"),
    ("h.{i}.ln_1.{w}", "block_{i}/attention_norm/{w}"),
    ("h.{i}.attn.out_proj.weight", "block_{i}/attention/o/kernel"),
    ("h.{i}.attn.{p}_proj.weight", "block_{i}/attention/{p}/kernel"),
    ("h.{i}.mlp.fc_in.{w}", "block_{i}/mlp/wi/{w}"),
    ("h.{i}.mlp.fc_out.{w}", "block_{i}/mlp/wo/{w}"),
    ("ln_f.{w}", "final_norm/{w}"),
    ("lm_head.{w}", "lm_head/{w}"),
)

NETWORK = gpt2.NETWORK._replace(
    config=config_from_hf,
    attributes=ATTRIBUTES,
    fixed={"scale_attn_weights": True, "rotary": True, "tie_word_embeddings": False},
    rules=RULES,
    transposed=True,
    copies=lambda config: {},
    architecture=Architecture("GPTJForCausalLM", "transformer.", ("lm_head.",)),
)
