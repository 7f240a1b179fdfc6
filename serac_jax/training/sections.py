"""The config of a run: every field, its default, its meaning and the values it accepts.

Editors and tasks describe their own fields in their folders; this module adds the rest and
composes them. Presets change a few of them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from serac_jax.core.errors import UserError
from serac_jax.core.fields import (
    AXIS,
    BELOW_ONE,
    COUNT,
    DTYPE,
    NATURAL,
    NOT_NEGATIVE,
    PATTERNS,
    POSITIVE,
    Field,
    Fields,
    one_of,
)
from serac_jax.core.types import Config
from serac_jax.tasks import neighbours
from serac_jax.text.templates import TEMPLATES
from serac_jax.training.registry import EDITORS, TASKS

TOP: Fields = {
    "task": Field("zsre", "the data and its scores", one_of(*TASKS)),
    "editor": Field(
        "serac", "the method; its options are in the section of its name", one_of(*EDITORS)
    ),
    "seed": Field(0, "of everything that is random", NATURAL),
    "inner": Field(
        (),
        "kernels of the base model that editors of weights change: patterns of whole paths; by"
        " default those of the last feed-forward layers",
        PATTERNS,
    ),
}
BASE: Fields = {
    "name": Field(
        "google/t5-large-ssm-nq",
        "the frozen model to edit: a Hugging Face name, a folder, or a shipped model (mini/…)",
    ),
    "checkpoint": Field(
        "", "weights to read instead of those of base.name, e.g. the original's FC_model.ckpt"
    ),
    "template": Field(
        "",
        "how edits and questions are put together for it; empty: as its network declares",
        one_of("", *TEMPLATES),
    ),
    "dtype": Field(
        "float32",
        "of the computation; bfloat16 halves activation memory on accelerators",
        DTYPE,
    ),
    "param_dtype": Field(
        "float32",
        "of the weights, as they are held; bfloat16 halves their memory, for editors that leave"
        " them as they are",
        DTYPE,
    ),
}
DATA: Fields = {
    "dir": Field(
        "",
        "folder with zsre/ (and nq/); mini: the shipped data; empty: the original's archive,"
        " downloaded once",
    ),
    "cache": Field(
        "",
        "for downloads and prepared data; empty: $XDG_CACHE_HOME/serac_jax or ~/.cache/serac_jax",
    ),
    "train_split": Field("train", "split to train on"),
    "val_split": Field("dev", "split that decides which checkpoint is the best"),
    "question_tokens": Field(32, "most tokens of a question; longer ones are cut", COUNT),
    "answer_tokens": Field(
        64, "most tokens of an answer; a longer one is an error, or in sentiment editing cut", COUNT
    ),
    "edit_answer_tokens": Field(
        0, "most tokens of an edit's answer; 0: as data.answer_tokens", NATURAL
    ),
    "sizes": Field(
        6,
        "sizes of batches, measured from the data; each compiles a program. 1: every batch is as"
        " wide as these limits",
        COUNT,
    ),
    "workers": Field(0, "processes that prepare batches; 0: threads", NATURAL),
}
TRAIN: Fields = {
    "steps": Field(1_000_000, "most batches", NATURAL),
    "edits": Field(10, "edits in a batch, applied at once", COUNT),
    "accumulate": Field(10, "batches per optimizer step", COUNT),
    "lr": Field(1e-5, "learning rate (Adam)", POSITIVE),
    "schedule": Field(
        "constant",
        "of the learning rate; linear: falls to 0 at train.steps",
        one_of("constant", "linear"),
    ),
    "lr_lr": Field(0.0, "learning rate (Adam) of learned edit rates (MEND, ENN)", NOT_NEGATIVE),
    "clip": Field(100.0, "largest global norm of the gradient", POSITIVE),
    "cedit": Field(0.1, "weight of the edit loss", NOT_NEGATIVE),
    "cloc": Field(1.0, "weight of the locality or scope loss", NOT_NEGATIVE),
    "unlikelihood": Field(True, "also make unwanted answers less likely (sentiment editing)"),
    "dropout": Field(0.0, "rate of every dropout layer of what is trained", BELOW_ONE),
    "log_every": Field(100, "steps between log lines", COUNT),
    "val_every": Field(
        5000,
        "steps between validations; each writes a checkpoint, and so does the last step",
        COUNT,
    ),
    "save_every": Field(
        1000, "steps between further checkpoints; a killed run repeats at most so many", COUNT
    ),
    "val_batches": Field(
        50, "batches of train.edits rows that a validation reads; 0: the whole split", NATURAL
    ),
    "patience": Field(40_000, "stop after so many steps without a better validation loss", COUNT),
    "profile": Field(0, "compiled steps to profile into the run's folder", NATURAL),
    "init_from": Field("", "another run's folder, whose best parameters training starts from"),
}
EVAL: Fields = {
    "split": Field("dev", "split to evaluate on"),
    "edits": Field(10, "edits applied at once", COUNT),
    "batches": Field(0, "most batches; 0: the whole split", NATURAL),
    "resamples": Field(1000, "bootstrap resamples behind every 95% interval", COUNT),
    "examples": Field(6, "before/after examples to print", NATURAL),
}
MESH: Fields = {
    "data": Field(-1, "devices over which a batch is split; -1: all that are left", AXIS),
    "fsdp": Field(
        1,
        "devices over which a batch is split too, each of which holds a part of every weight and"
        " of its moments",
        AXIS,
    ),
    "model": Field(1, "devices over which every model and its computation are split", AXIS),
}
LOG: Fields = {
    "tensorboard": Field(True, "write event files to the run's folder"),
    "wandb": Field("", "a Weights & Biases project (needs `pip install wandb`); empty: off"),
}


def data_fields() -> Fields:
    """The section "data": common fields, then each task's own."""
    fields = {**DATA, **neighbours.FIELDS}
    for name, task in TASKS.items():
        if taken := sorted(fields.keys() & task.FIELDS.keys()):
            raise ValueError(f"the task {name!r} defines data.{taken[0]}, which exists already")
        fields |= task.FIELDS
    return fields


SECTIONS: dict[str, Fields] = {
    "": TOP,
    "base": BASE,
    **{name: editor.FIELDS for name, editor in EDITORS.items()},
    "data": data_fields(),
    "train": TRAIN,
    "eval": EVAL,
    "mesh": MESH,
    "log": LOG,
}
FIELDS: Fields = {  # by full name, such as "train.lr"
    f"{section}.{name}" if section else name: field
    for section, fields in SECTIONS.items()
    for name, field in fields.items()
}
RETIRED: frozenset[str] = frozenset()  # fields of earlier versions that nothing reads any more


def defaults() -> Config:
    """The default of every field: Mitchell et al. 2022, question answering with SERAC."""
    config = ConfigDict()
    for section, fields in SECTIONS.items():
        values = {name: initial(field) for name, field in fields.items()}
        if section:
            config[section] = ConfigDict(values)
        else:
            config.update(values)
    return config


def initial(field: Field) -> Any:
    return field.default if field.kind is None else placeholder(field.kind)


def check(config: Config) -> None:
    """Raises UserError for the first field that is unknown, missing, of another type or out of
    range."""
    given = flat(config)
    if unknown := sorted(given.keys() - FIELDS.keys()):
        raise UserError(f"a config has no field {unknown[0]}{near(unknown[0], FIELDS)}")
    for name, field in FIELDS.items():
        if name not in given:
            raise UserError(f"the config lacks the field {name}")
        value, kind = given[name], field.kind or type(field.default)
        if not (fits := is_a(kind, value)) and value is None and field.default is None:
            continue
        if not fits or (field.rule and value != field.default and not field.rule.holds(value)):
            says = field.rule.says if field.rule else f"a value of type {kind.__name__}"
            raise UserError(f"{name}={value!r:.60}: expected {says}")


def is_a(kind: type, value: Any) -> bool:
    """Whether a value is of a field's type. A whole number is also a float; a bool is no number."""
    kinds = (int, float) if kind is float else kind
    return isinstance(value, kinds) and (kind is bool or not isinstance(value, bool))


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """A nested config as {"train.lr": …}."""
    fields: dict[str, Any] = {}
    for key, value in tree.items():
        nested = hasattr(value, "items")
        fields |= flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return fields


def near(name: str, names: Iterable[str]) -> str:
    """What might have been meant, as the end of a message."""
    found = get_close_matches(name, list(names), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(found)}?" if found else ""
