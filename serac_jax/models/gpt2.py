"""GPT-2 (Radford et al. 2019): learned positions, layer norms, one kernel for queries, keys and
values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from serac_jax.models.causal import Attending, Causal, CausalConfig
from serac_jax.models.layers import known_activation
from serac_jax.models.llama import ends
from serac_jax.models.network import Architecture, Network


def config_from_hf(
    hf: Mapping[str, Any], output: str, dropout: float, dtype: Any, remat: bool
) -> CausalConfig:
    """Reads the attributes of a Hugging Face GPT-2 configuration, whose only output is ""."""
    width, heads, layers = hf["n_embd"], hf["n_head"], hf["n_layer"]
    return CausalConfig(
        vocab=hf["vocab_size"],
        width=width,
        mlp_width=hf["n_inner"] or 4 * width,
        layers=layers,
        heads=heads,
        groups=heads,
        head_width=width // heads,
        attending=(Attending(),) * layers,
        positions=hf["n_positions"],
        eps=hf["layer_norm_epsilon"],
        activation=known_activation(hf["activation_function"]),
        tied=True,
        eos=ends(hf),
        dropout=dropout,
        dtype=dtype,
        remat=remat,
        attention_scale=(width // heads) ** -0.5,
        learned_positions=True,
        fused=True,
        gated=False,
        layer_norm=True,
        qkv_bias=True,
        o_bias=True,
        mlp_bias=True,
    )


ATTRIBUTES = {
    "vocab_size": 50257,
    "n_positions": 1024,
    "n_embd": 768,
    "n_layer": 12,
    "n_head": 12,
    "n_inner": None,
    "activation_function": "gelu_new",
    "layer_norm_epsilon": 1e-5,
    "eos_token_id": 50256,
}
FIXED = {
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "reorder_and_upcast_attn": False,
    "tie_word_embeddings": True,
}
INERT = frozenset(
    """attn_pdrop embd_pdrop resid_pdrop n_ctx summary_type summary_use_proj summary_activation
    summary_proj_to_labels summary_first_dropout""".split()
)
SPECIAL_TOKENS = {
    "bos_token": "<|endoftext|>",
    "eos_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
}
RULES = (
    ("wte.weight", "shared/embedding"),
    ("wpe.weight", "positions/embedding"),
    ("h.{i}.ln_1.{w}", "block_{i}/attention_norm/{w}"),
    ("h.{i}.attn.c_attn.{w}", "block_{i}/attention/qkv/{w}"),
    ("h.{i}.attn.c_proj.{w}", "block_{i}/attention/o/{w}"),
    ("h.{i}.ln_2.{w}", "block_{i}/mlp_norm/{w}"),
    ("h.{i}.mlp.c_fc.{w}", "block_{i}/mlp/wi/{w}"),
    ("h.{i}.mlp.c_proj.{w}", "block_{i}/mlp/wo/{w}"),
    ("ln_f.{w}", "final_norm/{w}"),
)

NETWORK = Network(
    module=Causal,
    config=config_from_hf,
    attributes=ATTRIBUTES,
    fixed=FIXED,
    inert=INERT,
    rules=RULES,
    transposed=False,
    copies=lambda config: {"lm_head.weight": "wte.weight"},
    ignored=(r"h\.\d+\.attn\.(masked_)?bias",),  # buffers
    special_tokens=SPECIAL_TOKENS,
    architecture=Architecture("GPT2LMHeadModel", "transformer."),
    sampled=True,
    template="question_answer",
)
