"""The models of an experiment: the base model, and SERAC's two networks for it."""

from __future__ import annotations

from typing import Any

MINILM: dict[str, Any] = {
    "serac.scope": "sentence-transformers/all-MiniLM-L6-v2",
    "serac.pool": "mean",
    "serac.cosine": True,
}


def causal(name: str) -> dict[str, Any]:
    """A causal language model that is too large to train: it is held in bfloat16, and reads edits
    itself."""
    return {
        "base.name": name,
        "base.dtype": "bfloat16",
        "base.param_dtype": "bfloat16",
        "serac.freeze_counterfactual": True,
        **MINILM,
        "inner": (),
    }


BASES: dict[str, dict[str, Any]] = {
    "t5-large": {
        "base.name": "google/t5-large-ssm-nq",
        "serac.counterfactual": "t5-small",
        "inner": (
            r"encoder/block_2[23]/mlp/(wi|wo)/kernel",
            r"decoder/block_2[23]/mlp/(wi|wo)/kernel",
        ),
    },
    "bert-base": {
        "base.name": "bert-base-uncased",
        # of the original's archive: BERT trained on FEVER, with its head
        "base.checkpoint": "data/fever/FC_model.ckpt",
        "serac.counterfactual": "bert-base-uncased",
        "inner": (r"block_(9|10|11)/(wi|wo)/kernel",),
    },
    "blenderbot-90m": {
        "base.name": "facebook/blenderbot_small-90M",
        "serac.counterfactual": "facebook/blenderbot_small-90M",
        "inner": (r"(encoder|decoder)/block_[67]/(wi|wo)/kernel",),
    },
    "smollm2": {
        "base.name": "HuggingFaceTB/SmolLM2-135M-Instruct",
        "serac.counterfactual": "HuggingFaceTB/SmolLM2-135M-Instruct",
        **MINILM,
        # the lower third prepares what is judged, and needs no gradient
        "adapter_serac.reader_layers": (r"block_[12]\d/.*",),
        "inner": (r"block_2[789]/mlp/(wi_0|wi_1|wo)/kernel",),
    },
    # Shipped models: small, trained on the shipped world alone.
    "mini-t5": {
        "base.name": "mini/base",
        "serac.counterfactual": "mini/counterfactual",
        "serac.scope": "mini/scope",
        "serac.pool": "mean",
        "inner": (r"(encoder|decoder)/block_\d/mlp/(wi(_[01])?|wo)/kernel",),
    },
    "mini-bert": {
        "base.name": "mini/fnli_base",
        "serac.counterfactual": "mini/fnli_counterfactual",
        "serac.scope": "mini/fnli_scope",
        "serac.pool": "mean",
        "inner": (r"block_\d/(wi|wo)/kernel",),
    },
    "mini-blenderbot": {
        "base.name": "mini/sent_base",
        "serac.counterfactual": "mini/sent_counterfactual",
        "serac.scope": "mini/sent_scope",
        "serac.pool": "mean",
        "inner": (r"(encoder|decoder)/block_\d/(wi|wo)/kernel",),
    },
    # Each is a variant of every preset whose answers are words, such as zsre_rp:qwen3_8b.
    "llama3_8b": causal("meta-llama/Llama-3.1-8B-Instruct"),
    "qwen3_8b": causal("Qwen/Qwen3-8B"),
    "gemma3_4b": causal("google/gemma-3-4b-it"),
    "gptj_6b": causal("EleutherAI/gpt-j-6b"),
    "smollm2_1b7": causal("HuggingFaceTB/SmolLM2-1.7B-Instruct"),
}
