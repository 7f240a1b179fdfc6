"""Compiles a config's real programs for accelerators that are not there, and tells what they need
of them.

    python -m serac_jax.cli.aot --config=configs/zsre_rep.py --topology=v5e:2x4
    [--config.mesh.model=8] [--json=FILE]

From shapes alone (`ahead.py`): of the models only configurations and tokenizers are fetched, of the
    data nothing is read. The TPU's
compiler comes with `pip install -r requirements-tpu.txt` and needs no TPU. With --topology=cuda:8
the same programs are lowered for 8 GPUs, which shows that they can be. A GPU's compiler needs a
GPU, so their memory is an estimate: what a program holds is certain, its temporaries are as the
CPU's compiler plans them.

Batches are as large and as wide as the config lets them be. Memory is what one device needs while
the programs take turns: the frozen base model, what is learned with both moments of Adam and the
mean gradient, the batch, and the temporaries of the largest. The exit status is 1 where that does
not fit."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import jax
from absl import flags
from ml_collections import config_flags

from serac_jax.runtime import program
from serac_jax.training.ahead import abstract, chips, compile_all, verdict, weights

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file of configs/, with :mini for the small variant.", lock_config=True
)
TOPOLOGY = flags.DEFINE_string(
    "topology", "v5e:2x4", "Chips: v5e:2x4, v4:2x2x1, v5p:2x2x1, v6e:2x4 …, or cuda:COUNT."
)
MIRROR = flags.DEFINE_string(
    "mirror",
    None,
    "A folder of models, each under its name; by default the Hugging Face cache and Hub.",
)
JSON = flags.DEFINE_string("json", None, "A file to which the figures are written too.")
flags.mark_flag_as_required("config")


def main() -> None:
    config, (platform, _, count) = CONFIG.value, TOPOLOGY.value.partition(":")
    if platform == "cuda":
        jax.config.update("jax_num_cpu_devices", int(count or 1))
    devices = jax.devices("cpu") if platform == "cuda" else chips(TOPOLOGY.value)
    run, params = abstract(config, program.cache_folder(config), devices, MIRROR.value)
    print(
        f"{len(devices)} × {platform}, mesh {dict(run.mesh.shape)}, {weights(run.base_params):.0f}"
        " M weights to edit"
    )
    found = compile_all(config, run, params, platform == "cuda")
    print(verdict(found))
    if JSON.value:
        Path(JSON.value).write_text(json.dumps(found, indent=2) + "\n")
    if not found["fits"]:
        sys.exit(1)


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # a chip that is there is left alone
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # nor is one looked for in the network
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # several of these may compile at once
    program.run(main)
