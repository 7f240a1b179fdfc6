"""Compiles a config's real programs for accelerators that are not there, and tells what they need of them.

    python -m serac_jax.aot --config=configs/zsre_rep.py --topology=v5e:2x4 [--config.mesh.model=8] [--json=FILE]

From shapes alone (`ahead.py`); of the data nothing is read. The TPU's compiler comes with `pip install libtpu` and needs no TPU. With
--topology=cuda:8 the same programs are lowered for 8 GPUs, which shows that they can be; their memory is not known before a GPU's
compiler has seen them.

Batches are as large and as wide as the config lets them be. Memory is what one chip holds while the largest program runs: the
frozen base model, what is learned with both moments of Adam and the mean gradient, the batch, and temporaries.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import jax
from absl import flags
from ml_collections import config_flags

from serac_jax import cli
from serac_jax.ahead import abstract, chips, compile_for_tpus, lower_for_gpus, weights

CONFIG = config_flags.DEFINE_config_file("config", None, "A file of configs/, with :mini for the small variant.", lock_config=True)
TOPOLOGY = flags.DEFINE_string("topology", "v5e:2x4", "Chips: v5e:2x4, v4:2x2x1, v5p:2x2x1, v6e:2x4 …, or cuda:COUNT.")
MIRROR = flags.DEFINE_string("mirror", None, "A folder of models, each under its name; by default the Hugging Face cache and Hub.")
JSON = flags.DEFINE_string("json", None, "A file to which the figures are written too.")
flags.mark_flag_as_required("config")


def main() -> None:
    config, (platform, _, count) = CONFIG.value, TOPOLOGY.value.partition(":")
    if platform == "cuda":
        jax.config.update("jax_num_cpu_devices", int(count or 1))
    devices = jax.devices("cpu") if platform == "cuda" else chips(TOPOLOGY.value)
    run, params = abstract(config, cli.cache_folder(config), devices, MIRROR.value)
    print(f"{len(devices)} × {platform}, mesh {dict(run.mesh.shape)}, {weights(run.base_params):.0f} M weights to edit")
    if platform == "cuda":
        lower_for_gpus(config, run, params)
        return
    found = compile_for_tpus(config, run, params)
    if JSON.value:
        Path(JSON.value).write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # a chip that is there is left alone
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # nor is one looked for in the network
    cli.run(main)
