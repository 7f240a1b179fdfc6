"""The experiments of Mitchell et al. 2022: the task, its models, and what else each changes."""

from __future__ import annotations

from typing import Any, NamedTuple

Changes = dict[str, Any]  # values by the full name of a field

# What every small run shares: shipped data, minutes on a CPU, no network.
MINI: Changes = {
    "data.dir": "mini",
    "train.accumulate": 1,
    "train.log_every": 50,
    "train.val_every": 100,
    "train.val_batches": 20,
    "eval.split": "test",
}


class Preset(NamedTuple):
    """An experiment, full and small.

    bases: the models (`bases.BASES`) of the full and of the small variant.
    full: what it changes of the defaults, in both variants.
    mini: what the small variant changes besides.
    """

    about: str
    bases: tuple[str, str]
    full: Changes
    mini: Changes


ZSRE_MINI: Changes = {
    "train.steps": 300,  # the shipped models have learned most of it from other questions
    "data.question_tokens": 40,
    "data.answer_tokens": 16,
    "data.sizes": 1,
}
EXPERIMENTS: dict[str, Preset] = {
    "zsre": Preset("zsRE question answering", ("t5-large", "mini-t5"), {}, ZSRE_MINI),
    "zsre_hard": Preset(
        "zsRE with implied and yes/no questions in scope, and questions near an edit out of scope",
        ("t5-large", "mini-t5"),
        {
            "data.implications": True,
            "data.yes_no": True,
            "data.hard_negatives": "sentence-transformers/all-MiniLM-L6-v2",
            "data.hard_negative_rate": 0.5,
        },
        ZSRE_MINI
        | {
            "data.hard_negatives": "mini/scope",
            # a split has hundreds of questions, not a hundred thousand
            "data.hard_negative_neighbors": 22,
            "data.hard_negative_exclude": 2,
        },
    ),
    "fnli": Preset(
        "fact checking (VitaminC)",
        ("bert-base", "mini-bert"),
        {
            "task": "fnli",
            "data.question_tokens": 120,  # of passages and claims
        },
        {
            "train.steps": 100,
            "data.question_tokens": 64,
            "data.sizes": 1,
        },
    ),
    "facts": Preset(
        "facts of the shipped world and of public data sets, on a causal language model",
        ("smollm2", "smollm2"),
        {
            "task": "facts",
            "data.question_tokens": 64,
            "data.answer_tokens": 48,  # an editor of the run reads and says as many
            "data.edit_answer_tokens": 96,
            "data.sizes": 4,
            "train.edits": 12,
            "train.accumulate": 1,
            "train.lr": 5e-4,
            "train.clip": 1.0,
            "train.cedit": 1.0,
            "train.schedule": "linear",
            "train.steps": 800,
            "train.log_every": 20,
            "train.val_every": 200,
            "train.val_batches": 4,
            "train.save_every": 50,
            "eval.split": "test",
        },
        {"train.steps": 40, "train.val_every": 20},
    ),
    "sent": Preset(
        "the sentiment of a dialogue model on a topic (ConvSent)",
        ("blenderbot-90m", "mini-blenderbot"),
        {
            "task": "sent",
            "data.val_split": "val",
            "eval.split": "val",
            "train.edits": 5,
            "eval.edits": 5,
            "data.question_tokens": 96,
            "data.answer_tokens": 96,  # of opinions
            "data.edit_answer_tokens": 8,  # of sentiments
            "data.sizes": 5,
        },
        {
            "data.opinions": 10,
            "data.questions": 10,
            "eval.split": "test",
            "train.steps": 100,
            "data.question_tokens": 24,
            "data.answer_tokens": 32,
            "data.sizes": 1,
        },
    ),
}
