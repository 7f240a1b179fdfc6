"""Fetches what a config needs, models and data, for machines without a network."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from serac_jax.cli.command import Command
from serac_jax.cli.options import configured, launch, parse, parser
from serac_jax.core.console import say
from serac_jax.core.types import Config

ABOUT = """Fetch the models and data that a config needs, and check them. Afterwards the same config
runs with HF_HUB_OFFLINE=1.

Models go to the Hugging Face cache (HF_HOME), data to data.cache. Every weight is read once and
compared with its network by name and shape; every data file is parsed."""


def run(options: Namespace) -> int:
    """`serac download`."""
    one = parser("download", ABOUT)
    one.add_argument(
        "--mirror",
        metavar="FOLDER",
        help="a folder of models, each under its name, as FOLDER/google/t5-large-ssm-nq (default:"
        " the Hugging Face Hub)",
    )
    chosen = parse(one, options.rest)
    config = configured(chosen)
    return launch(lambda: download(config, chosen.mirror))


def download(config: Config, mirror: str | None) -> None:
    """Fetches and checks everything that a config names."""
    import jax

    from serac_jax import models
    from serac_jax.models import hub
    from serac_jax.runtime import program
    from serac_jax.training import experiment

    def check(name: str, **options: Any) -> Any:
        """A model as `models.load` gives it, with shapes in the place of its weights."""
        if mirror:
            hub.adopt(name, Path(mirror).expanduser())
        model, params = models.load(
            name,
            **options,
            place=lambda path, array: jax.ShapeDtypeStruct(array.shape, array.dtype),
        )
        weights = sum(leaf.size for leaf in jax.tree.leaves(params))
        size = sum(file.stat().st_size for file in model.folder.iterdir() if file.is_file())
        show(name, model.folder, f"{weights / 1e6:.1f} M weights, {size / 1e6:.1f} MB")
        return model, params

    run = experiment.build(config, program.cache_folder(config), check)
    splits = {config.eval.split}
    if run.editor.loss:
        splits |= {config.data.train_split, config.data.val_split}
    needs = {split: run.task.needs(split) for split in sorted(splits)}
    for split, found in needs.items():
        show(f"{config.task} {split}", found.folder, f"{found.rows} rows")
    for embedder in {found.embedder for found in needs.values() if found.embedder}:
        check(embedder, output="mean")
    say("everything is there; with HF_HUB_OFFLINE=1 nothing more is fetched")


def show(what: str, where: Path, size: str) -> None:
    """Prints a line about something that is there."""
    say(f"{what:<40}  {size:<28}  {where}", flush=True)


COMMANDS = {"download": Command(run, None, "download zsre_rep --mirror=/shared/models")}
