"""The networks that are implemented, by Hugging Face `model_type`."""

from __future__ import annotations

from serac_jax.models import bert, blenderbot, llama, t5
from serac_jax.models.network import Network

NETWORKS: dict[str, Network] = {
    "t5": t5.NETWORK,
    "bert": bert.BERT,
    "distilbert": bert.DISTILBERT,
    "blenderbot-small": blenderbot.NETWORK,
    "llama": llama.NETWORK,
}
