"""ENN: gradient descent with learned rates on a base model that is trained to be edited."""

from __future__ import annotations

from serac_jax.core.fields import COUNT, FINITE, NOT_NEGATIVE, Field, Fields
from serac_jax.editors.enn.enn_editor import Options, enn
from serac_jax.editors.protocol import Built, Setup

FIELDS: Fields = {
    "steps": Field(1, "gradient steps per edit", COUNT),
    "edit_lr": Field(
        1e-2, "initial rate of every kernel's descent; learned at train.lr_lr", FINITE
    ),
    "first_order": Field(False, "treat an edit's gradient as a constant in training"),
    "train_base": Field(True, "train a copy of the base model too, not only the rates of edits"),
    "cbase": Field(
        1.0, "weight of what training changes in the copy's own out-of-scope answers", NOT_NEGATIVE
    ),
    "remat": Field(
        True, "recompute an edit's steps in the backward pass instead of storing activations"
    ),
}


def build(setup: Setup) -> Built:
    """The editor of a config."""
    config, base, train = setup.config, setup.base, setup.config.train
    options = Options(
        **config.enn, cedit=train.cedit, cloc=train.cloc, unlikelihood=train.unlikelihood
    )
    editor = enn(base.with_dropout(train.dropout), tuple(config.inner), options)
    return Built(editor, {"base": base} if options.train_base else {})
