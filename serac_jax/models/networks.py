"""The networks that are implemented, by Hugging Face `model_type`."""

from __future__ import annotations

from serac_jax.models import (
    bert,
    blenderbot,
    gemma3,
    gpt2,
    gptj,
    llama,
    mistral,
    qwen2,
    qwen3,
    t5,
)
from serac_jax.models.network import Network

NETWORKS: dict[str, Network] = {
    "t5": t5.NETWORK,
    "bert": bert.BERT,
    "distilbert": bert.DISTILBERT,
    "blenderbot-small": blenderbot.NETWORK,
    "llama": llama.NETWORK,
    "mistral": mistral.NETWORK,
    "qwen2": qwen2.NETWORK,
    "qwen3": qwen3.NETWORK,
    "gemma3_text": gemma3.NETWORK,
    "gpt2": gpt2.NETWORK,
    "gptj": gptj.NETWORK,
}
