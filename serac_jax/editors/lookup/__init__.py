"""Lookup cache: the stored answer of the nearest edit, by mean encoder states."""

from __future__ import annotations

from serac_jax.core.fields import FINITE, NOT_NEGATIVE, Field, Fields
from serac_jax.editors.lookup.lookup_editor import Options, lookup
from serac_jax.editors.protocol import Built, Setup

FIELDS: Fields = {
    "threshold": Field(
        1.0,
        "Euclidean distance of mean encoder states within which a query gets the stored answer",
        NOT_NEGATIVE,
    ),
    "exact_match": Field(True, "an edit answers its own words, wherever their key lies"),
    "onehot_logit": Field(1.0, "logit of a stored answer's tokens; all other logits are 0", FINITE),
    "mask_keys": Field(True, "average real tokens only; the original averages padding too"),
}


def build(setup: Setup) -> Built:
    """The editor of a config."""
    return Built(lookup(setup.base, Options(**setup.config.lookup)), {})
