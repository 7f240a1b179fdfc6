"""The editors of the paper's tables: what each changes of an experiment."""

from __future__ import annotations

from typing import NamedTuple

from serac_jax.presets.experiments import Changes


class Method(NamedTuple):
    """An editor's preset.

    full: what it changes in both variants.
    mini: what the small variant changes besides.
    tuned: what the small variant of one experiment changes besides, by its name.
    """

    about: str
    full: Changes
    mini: Changes
    tuned: dict[str, Changes]


# A preset is EXPERIMENT_METHOD: a method's name has no "_".
METHODS: dict[str, Method] = {
    "rep": Method("SERAC", {}, {}, {}),
    "rp": Method(
        "retrieve and prompt: SERAC whose base model reads the edit",
        {"serac.freeze_counterfactual": True},
        {},
        {},
    ),
    "serac": Method(
        "SERAC on low-rank adapters, for causal language models",
        # it learns the form, and needs no examples of it
        {"editor": "adapter_serac", "base.template": "turns"},
        {},
        {},
    ),
    "gtn": Method(
        "MEND",
        {"editor": "mend", "train.lr": 1e-6, "train.lr_lr": 1e-4},
        {
            "train.edits": 1,  # small runs edit one fact at a time
            "eval.edits": 1,
            "mend.rank": 64,
            "mend.edit_lr": 1e-3,
            "train.lr": 3e-5,
            "train.steps": 600,
            "train.val_every": 200,
            "train.val_batches": 0,
        },
        {
            "fnli": {"train.lr": 1e-4, "train.cedit": 0.2, "train.steps": 800},
            # "Sentiment: Positive" alone says little of opinions: the networks have more to learn
            # than in question answering
            "sent": {"train.lr": 3e-4, "train.lr_lr": 1e-3, "train.cedit": 1.0},
        },
    ),
    "enn": Method(
        "ENN",
        {"editor": "enn", "train.lr_lr": 1e-3},
        {
            "train.edits": 1,  # small runs edit one fact at a time
            "eval.edits": 1,
            "enn.edit_lr": 0.1,
            "train.lr": 1e-4,
            "train.lr_lr": 3e-4,
            "train.val_batches": 100,
        },
        {
            "fnli": {
                "train.lr": 3e-4,
                "train.cedit": 1.0,
                "train.steps": 400,
                "train.val_batches": 0,
            },
            # the base model has no opinions yet: those of an edit's sentiment have to be learned
            "sent": {
                "train.lr": 1e-3,
                "train.cedit": 1.0,
                "train.steps": 600,
                "train.val_every": 200,
            },
        },
    ),
    "lu": Method("lookup cache", {"editor": "lookup"}, {}, {"fnli": {"lookup.threshold": 0.5}}),
    "ft": Method(
        "fine-tuning",
        {"editor": "finetune"},
        {"finetune.lr": 3e-4, "finetune.steps": 20},
        {
            "fnli": {"finetune.lr": 5e-5, "finetune.steps": 30},
            "sent": {"finetune.lr": 1e-5},
        },
    ),
}
