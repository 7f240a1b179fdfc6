"""Fetches what a config needs, models and data, into the caches, and checks it: for machines that
have a network, before others that have none.

    python -m serac_jax.cli.download --config=configs/zsre_rep.py [--mirror=FOLDER]
    [--config.FIELD=VALUE …]

Models go to the Hugging Face cache (HF_HOME), data to `data.cache`. Every weight is read once,
compared with its network by name and shape, and forgotten; every data file is parsed. Afterwards
the same config runs with HF_HUB_OFFLINE=1.

With --mirror, models come from a folder that has them under their names
(FOLDER/google/t5-large-ssm-nq), not from the Hub."""

from pathlib import Path
from typing import Any

import jax
from absl import flags
from ml_collections import config_flags

from serac_jax import models
from serac_jax.core.types import Params
from serac_jax.models import Model, hub
from serac_jax.runtime import program
from serac_jax.training import experiment

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file of configs/, with :mini for the small variant.", lock_config=True
)
MIRROR = flags.DEFINE_string(
    "mirror", None, "A folder of models, each under its name; by default the Hugging Face Hub."
)
flags.mark_flag_as_required("config")


def main() -> None:
    config = CONFIG.value
    run = experiment.build(config, program.cache_folder(config), check)
    splits = {config.eval.split} | (
        {config.data.train_split, config.data.val_split} if run.editor.loss else set()
    )
    needs = {split: run.task.needs(split) for split in sorted(splits)}
    for split, found in needs.items():
        tell(f"{config.task} {split}", found.folder, f"{found.rows} rows")
    for embedder in {found.embedder for found in needs.values() if found.embedder}:
        check(embedder, output="mean")
    print("everything is there; with HF_HUB_OFFLINE=1 nothing more is fetched")


def check(name: str, **options: Any) -> tuple[Model, Params]:
    """A model as `models.load` gives it, with shapes in the place of its weights."""
    if MIRROR.value:
        hub.adopt(name, Path(MIRROR.value).expanduser())
    model, params = models.load(
        name, **options, place=lambda path, array: jax.ShapeDtypeStruct(array.shape, array.dtype)
    )
    weights = sum(leaf.size for leaf in jax.tree.leaves(params))
    size = sum(file.stat().st_size for file in model.folder.iterdir() if file.is_file())
    tell(name, model.folder, f"{weights / 1e6:.1f} M weights, {size / 1e6:.1f} MB")
    return model, params


def tell(what: str, where: Path, size: str) -> None:
    print(f"{what:<40}  {size:<28}  {where}", flush=True)


if __name__ == "__main__":
    program.run(main)
