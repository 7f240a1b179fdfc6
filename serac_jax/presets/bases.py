"""The models of an experiment: the base model, and SERAC's two networks for it."""

from __future__ import annotations

from typing import Any

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
        "base.template": "turns",
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
}
