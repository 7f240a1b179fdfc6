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
    "data.text_widths": (40,),
    "data.label_widths": (16,),
    "data.context_widths": (),
    "data.text_fill": (),
    "data.context_fill": (),
    "data.label_fill": (),
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
            "data.text_widths": (32, 48, 64, 80, 96, 120),  # of passages
            "data.query_widths": (24, 24, 32, 40, 48, 120),  # of claims
            "data.context_widths": (48, 64, 88, 112, 128, 240),
            "data.text_fill": (0.75, 0.68, 0.66, 0.58, 0.53, 0.5),
            "data.context_fill": (0.75, 0.73, 0.6, 0.5, 0.46, 0.31),
        },
        {
            "train.steps": 100,
            "data.text_widths": (64,),
            "data.query_widths": (),
            "data.context_widths": (),
            "data.text_fill": (),
            "data.context_fill": (),
            "data.label_fill": (),
        },
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
            "data.text_widths": (16, 16, 24, 32, 96),
            "data.label_widths": (24, 32, 32, 64, 96),  # of opinions
            "data.edit_label_widths": (8,),  # of sentiments
            "data.context_widths": (32, 40, 48, 64, 200),
            "data.text_fill": (0.8, 0.78, 0.6, 0.43, 0.4),
            "data.context_fill": (0.82, 0.7, 0.6, 0.4, 0.3),
            "data.label_fill": (0.7, 0.6, 0.6, 0.37, 0.4),
        },
        {
            "data.opinions": 10,
            "data.questions": 10,
            "eval.split": "test",
            "train.steps": 100,
            "data.text_widths": (24,),
            "data.label_widths": (32,),
            "data.context_widths": (),
            "data.text_fill": (),
            "data.context_fill": (),
            "data.label_fill": (),
        },
    ),
}
