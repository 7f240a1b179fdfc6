"""The experiments of Mitchell et al. 2022: what each changes of the defaults, at full size and
":mini", with shipped models and data."""

from configs import common
from serac_jax.core.errors import UserError
from serac_jax.core.types import Config


def sized(size: str) -> Config:
    """The defaults; for "mini" what every small run shares: minutes on a CPU, without network."""
    config = common.get_config()
    if size not in ("full", "mini"):
        raise UserError(f"there is no variant :{size} of a config; use :mini or nothing")
    if size == "mini":
        config.data.dir = "mini"
        config.train.accumulate = 1
        config.train.log_every = 50
        config.train.val_every = 100
        config.train.val_batches = 20
        config.eval.split = "test"
    return config


def zsre(size: str) -> Config:
    """Question answering."""
    config = sized(size)
    if size == "mini":
        config.base.name = "mini/base"
        config.inner = (r"(encoder|decoder)/block_\d/mlp/(wi(_[01])?|wo)/kernel",)
        config.serac.counterfactual = "mini/counterfactual"
        config.serac.scope = "mini/scope"
        config.serac.pool = "mean"
        config.data.text_widths = (40,)
        config.data.label_widths = (16,)
        config.data.context_widths = ()
        config.data.text_fill = config.data.context_fill = config.data.label_fill = ()
        config.train.steps = 300  # the shipped models have learned most of it from other questions
    return config


def zsre_hard(config: Config, size: str) -> Config:
    """An editor's question answering, with implied and yes/no questions in scope too, and questions
    near an edit out of scope."""
    config.data.implications = True
    config.data.yes_no = True
    config.data.hard_negatives = "sentence-transformers/all-MiniLM-L6-v2"
    config.data.hard_negative_rate = 0.5
    if size == "mini":
        config.data.hard_negatives = "mini/scope"
        config.data.hard_negative_neighbors = (
            22  # a split has hundreds of questions, not a hundred thousand
        )
        config.data.hard_negative_exclude = 2
    return config


def sent(size: str) -> Config:
    """Sentiment of a dialogue model on a topic."""
    config = sized(size)
    config.task = "sent"
    config.base.name = "facebook/blenderbot_small-90M"
    config.serac.counterfactual = "facebook/blenderbot_small-90M"
    config.inner = (r"(encoder|decoder)/block_[67]/(wi|wo)/kernel",)
    config.data.val_split = "val"
    config.eval.split = "val"
    config.data.text_widths = (16, 16, 24, 32, 96)
    config.data.label_widths = (24, 32, 32, 64, 96)  # of opinions
    config.data.edit_label_widths = (8,)  # of sentiments
    config.data.context_widths = (32, 40, 48, 64, 200)
    config.data.text_fill = (0.8, 0.78, 0.6, 0.43, 0.4)
    config.data.context_fill = (0.82, 0.7, 0.6, 0.4, 0.3)
    config.data.label_fill = (0.7, 0.6, 0.6, 0.37, 0.4)
    config.train.edits = 5
    config.eval.edits = 5
    if size == "mini":
        config.base.name = "mini/sent_base"
        config.serac.counterfactual = "mini/sent_counterfactual"
        config.serac.scope = "mini/sent_scope"
        config.serac.pool = "mean"
        config.inner = (r"(encoder|decoder)/block_\d/(wi|wo)/kernel",)
        config.data.text_widths = (24,)
        config.data.label_widths = (32,)
        config.data.context_widths = ()
        config.data.text_fill = config.data.context_fill = config.data.label_fill = ()
        config.data.opinions = 10
        config.data.questions = 10
        config.eval.split = "test"
        config.train.steps = 100
    return config


def fnli(size: str) -> Config:
    """Fact checking."""
    config = sized(size)
    config.task = "fnli"
    config.base.name = "bert-base-uncased"
    config.base.checkpoint = (  # of the original's archive: BERT trained on FEVER, with its head
        "data/fever/FC_model.ckpt"
    )
    config.serac.counterfactual = "bert-base-uncased"
    config.inner = (r"block_(9|10|11)/(wi|wo)/kernel",)
    config.data.text_widths = (32, 48, 64, 80, 96, 120)  # of passages
    config.data.query_widths = (24, 24, 32, 40, 48, 120)  # of claims
    config.data.context_widths = (48, 64, 88, 112, 128, 240)
    config.data.text_fill = (0.75, 0.68, 0.66, 0.58, 0.53, 0.5)
    config.data.context_fill = (0.75, 0.73, 0.6, 0.5, 0.46, 0.31)
    if size == "mini":
        config.base.name = "mini/fnli_base"
        config.base.checkpoint = ""
        config.serac.counterfactual = "mini/fnli_counterfactual"
        config.serac.scope = "mini/fnli_scope"
        config.serac.pool = "mean"
        config.inner = (r"block_\d/(wi|wo)/kernel",)
        config.data.text_widths = (64,)
        config.data.query_widths = ()
        config.data.context_widths = ()
        config.data.text_fill = config.data.context_fill = config.data.label_fill = ()
        config.train.steps = 100
    return config
