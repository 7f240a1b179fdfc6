"""Checks, without the hardware, whether a config fits: compiles its programs for other devices."""

from __future__ import annotations

import os
from argparse import Namespace
from pathlib import Path

from serac_jax.cli.command import FAILED, OK, Command
from serac_jax.cli.options import configured, launch, parse, parser
from serac_jax.core import files
from serac_jax.core.console import say, say_lines

ABOUT = """Check, without the hardware, whether a config fits: compile its programs for the chips of
--topology, and print what each needs of one. The exit status is 1 where it does not fit.

Nothing runs. Of the models only configurations and tokenizers are fetched; of the data nothing is
read: batches are as large and as wide as the config lets them be. The TPU's compiler comes with
`pip install -r requirements-tpu.txt` and needs no TPU. With cuda:8 the programs are lowered for 8
GPUs. A GPU's compiler needs a GPU, so memory is an estimate: what a program holds is certain, its
temporaries are as the CPU's compiler plans them.

Memory is what one device needs while the programs take turns: the frozen base model, what is
learned with both moments of Adam and the mean gradient, the batch, and the largest temporaries."""


def run(options: Namespace) -> int:
    """`serac aot`."""
    one = parser("aot", ABOUT)
    one.add_argument(
        "--topology",
        default="v5e:2x4",
        metavar="CHIPS",
        help="v5e:2x4 (default), v4:2x2x1, v5p:2x2x1, v6e:2x4, …, or cuda:COUNT",
    )
    one.add_argument(
        "--mirror",
        metavar="FOLDER",
        help="a folder of models, each under its name (default: the Hugging Face cache and Hub)",
    )
    one.add_argument(
        "--programs",
        metavar="LIST",
        default="",
        help="only these of train,update,edit,evaluate,generate (all)",
    )
    one.add_argument("--json", metavar="FILE", help="write the figures to this file too")
    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # leaves a chip that is there alone
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")  # and looks for none in the network
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # several may compile at once
    chosen = parse(one, options.rest)
    config = configured(chosen)
    found = {"fits": False}

    def main() -> None:
        import jax

        from serac_jax.runtime import program
        from serac_jax.training import ahead

        platform, _, count = chosen.topology.partition(":")
        if platform == "cuda":
            jax.config.update("jax_num_cpu_devices", int(count or 1))
        devices = jax.devices("cpu") if platform == "cuda" else ahead.chips(chosen.topology)
        cache = program.cache_folder(config)
        run, params = ahead.abstract(config, cache, devices, chosen.mirror)
        say(
            f"{len(devices)} × {platform}, mesh {dict(run.mesh.shape)},"
            f" {ahead.weights(run.base_params):.0f} M weights to edit"
        )
        only = [name for name in chosen.programs.split(",") if name]
        found.update(ahead.compile_all(config, run, params, platform == "cuda", only))
        say_lines(ahead.verdict(found))
        if chosen.json:
            files.write_json(Path(chosen.json), found)

    launch(main)
    return OK if found["fits"] else FAILED


COMMANDS = {"aot": Command(run, None, "aot zsre_rep --topology=v5e:2x4")}
