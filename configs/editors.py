"""What the runs of an editor change of an experiment, where that is more than its name."""

from serac_jax.core.types import Config


def mend(config: Config, size: str) -> Config:
    """MEND, with the rates of the original; small runs edit one fact at a time."""
    config.editor = "mend"
    config.train.lr = 1e-6
    config.train.lr_lr = 1e-4
    if size == "mini":
        config.train.edits = config.eval.edits = 1
        config.mend.rank = 64
        config.mend.edit_lr = 1e-3
        config.train.lr = 3e-5
        config.train.steps = 600
        config.train.val_every = 200
        config.train.val_batches = 0
    return config


def enn(config: Config, size: str) -> Config:
    """ENN; small runs edit one fact at a time."""
    config.editor = "enn"
    config.train.lr_lr = 1e-3
    if size == "mini":
        config.enn.edit_lr = 0.1
        config.train.lr = 1e-4
        config.train.lr_lr = 3e-4
        config.train.val_batches = 100
        config.train.edits = config.eval.edits = 1
    return config
