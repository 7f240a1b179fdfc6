"""Fine-tuning: descends the loss of the edits themselves."""

from __future__ import annotations

from serac_jax.core.fields import COUNT, NATURAL, NOT_NEGATIVE, POSITIVE, Field, Fields, one_of
from serac_jax.editors.finetune.finetune_editor import OPTIMIZERS, Options, finetune
from serac_jax.editors.protocol import Built, Setup

FIELDS: Fields = {
    "optimizer": Field("rmsprop", "the optimizer of an edit", one_of(*OPTIMIZERS)),
    "lr": Field(5e-6, "learning rate of an edit; gradients are clipped at train.clip", POSITIVE),
    "steps": Field(
        100,
        "most loss evaluations per edit; stops as soon as every edit of the batch is right",
        COUNT,
    ),
    "rank": Field(
        None, "rank of each kernel's change (LoRA, Hu et al. 2022); by default full", COUNT, int
    ),
    "init_std": Field(
        0.01, "standard deviation of the low-rank factor that does not start at 0", NOT_NEGATIVE
    ),
    "locality_batches": Field(
        0,
        "batches of out-of-scope training queries whose KL is added, one a step in turn; 0: none",
        NATURAL,
    ),
    "locality_rows": Field(1, "queries in each of these batches", COUNT),
    "cedit": Field(1e-2, "weight of the edit loss relative to that KL", NOT_NEGATIVE),
}


def build(setup: Setup) -> Built:
    """The editor of a config."""
    config, chosen = setup.config, setup.config.finetune
    options = Options(
        chosen.optimizer,
        chosen.lr,
        chosen.steps,
        config.train.clip,
        chosen.rank,
        chosen.init_std,
        config.seed,
        chosen.cedit,
    )
    nearby = (
        setup.outside(chosen.locality_batches, chosen.locality_rows)
        if chosen.locality_batches
        else None
    )
    return Built(finetune(setup.base, tuple(config.inner), options, nearby), {})
