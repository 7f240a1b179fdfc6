"""MEND: networks that turn a layer's inputs and output gradients into an update of its kernel."""

from __future__ import annotations

from serac_jax.core.fields import COUNT, FINITE, NATURAL, Field, Fields, one_of
from serac_jax.editors.mend.mend_editor import Options, mend
from serac_jax.editors.protocol import Built, Setup

FIELDS: Fields = {
    "combine": Field(True, "one network reads x and δ together; else one each"),
    "one_sided": Field(False, "without combine: a network for the narrower of x and δ only"),
    "x_only": Field(False, "without combine: a network for x only"),
    "delta_only": Field(False, "without combine: a network for δ only"),
    "shared": Field(
        True, "kernels of one shape share networks, each with its own scales and shifts"
    ),
    "norm": Field(True, "normalise x and δ by their running moments"),
    "init": Field(
        "id", "layers start as the identity; or 'xavier': at random", one_of("id", "xavier")
    ),
    "n_hidden": Field(1, "hidden layers", NATURAL),
    "rank": Field(1920, "rank of every layer's matrix", COUNT),
    "act": Field("relu", "activation; there is no other", one_of("relu")),
    "mlp_class": Field("IDMLP", "kind of network; the original's others cannot be built"),
    "descent": Field(
        True, "subtract the update; False: add it, and the networks have to learn the sign"
    ),
    "edit_lr": Field(1e-4, "initial rate of every kernel's update; learned at train.lr_lr", FINITE),
}


def build(setup: Setup) -> Built:
    """The editor of a config."""
    config, train = setup.config, setup.config.train
    options = Options(
        **config.mend, cedit=train.cedit, cloc=train.cloc, unlikelihood=train.unlikelihood
    )
    return Built(mend(setup.base, tuple(config.inner), options), {})
