"""Small configurations and models that several tests share."""

import functools
import json
import re
import shutil

from safetensors.numpy import load_file, save_file

from serac_jax import presets
from tests.conftest import MODELS, TEMPORARY


def config_of(**fields):
    """The :mini config of SERAC on zsRE with some fields changed."""
    config = presets.preset("zsre_rep:mini")
    config.update_from_flattened_dict(fields)
    return config.lock()


@functools.cache
def one_layer(name):
    """A copy of a tiny model with its first layer only: it compiles in half of the time."""
    folder = shutil.copytree(MODELS / name, TEMPORARY / "one-layer" / name)
    config = json.loads((folder / "config.json").read_text())
    layers = {
        key: 1
        for key in config
        if key in ("num_layers", "num_decoder_layers", "num_hidden_layers", "n_layers")
    }
    (folder / "config.json").write_text(json.dumps(config | layers))
    tensors = load_file(folder / "model.safetensors")
    kept = {
        key: array
        for key, array in tensors.items()
        if not re.match(
            r"((distil)?bert\.)?(encoder|decoder|transformer)\.(block|layer)\.[1-9]\.", key
        )
    }
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return str(folder)


def tiny():
    """Fields that name one-layer models."""
    return {
        "base.name": one_layer("t5-tiny"),
        "serac.counterfactual": one_layer("t5-tiny"),
        "serac.scope": one_layer("distilbert-tiny-cased"),
    }
