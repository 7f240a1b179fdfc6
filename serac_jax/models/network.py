"""What a network declares so that models of its type can be loaded, run and saved.

A new network is one file with its module, its configuration, its table of Hugging Face names and
one `Network`, and one line in `networks.NETWORKS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn

from serac_jax.core.errors import UserError
from serac_jax.text.tokenizer import Codec

Rules = tuple[tuple[str, str], ...]  # Hugging Face key ↔ parameter path (see `convert`)


class WeightError(UserError):
    """A model's configuration, weights, tokenizer and network do not fit together."""


class Architecture(NamedTuple):
    """The name under which `transformers` saves a network, and its prefix of the body's weights.

    unprefixed: how the keys of weights outside of the body begin.
    """

    name: str
    prefix: str = ""
    unprefixed: tuple[str, ...] = ()


class Network(NamedTuple):
    """How one Hugging Face `model_type` becomes a module.

    Attributes:
        module: builds the module from its configuration.
        config: (attributes, output, dropout, dtype, remat) -> the module's configuration.
        attributes: the attributes of config.json that `config` reads, with the values that
            `transformers` gives them where config.json does not.
        fixed: attributes that are accepted only at this value, the one that is implemented.
        nullable: attributes whose null means something else than their absence.
        inert: attributes that change nothing in what the network computes.
        rules: the table of Hugging Face keys and parameter paths, see `convert.from_hf`.
        transposed: whether Hugging Face keeps kernels as (out, in), as `torch.nn.Linear` does.
        ignored: see `convert.from_hf`.
        optional: see `convert.from_hf`.
        copies: (configuration) -> keys of weights that must equal another key's.
        special_tokens: by role, the special tokens of tokenizers that do not name theirs.
        architecture: how a network without a head is saved.
        head: how one with a head is saved.
        outputs: what the network can be read for, "" being answers in words (`pretrained.load`).
        sampled: whether its folders ask for sampling, in place of which answers are decoded
            greedily.
        codec: reads the files of a tokenizer that has no tokenizer.json; None: `transformers` does.
        template: how edits and questions are put together, a name in `text.templates.TEMPLATES`.
    """

    module: Callable[[Any], nn.Module]
    config: Callable[[Mapping[str, Any], str, float, Any, bool], Any]
    attributes: Mapping[str, Any]
    rules: Rules
    special_tokens: Mapping[str, str]
    architecture: Architecture
    head: Architecture | None = None
    fixed: Mapping[str, Any] = {}
    nullable: frozenset[str] = frozenset()
    inert: frozenset[str] = frozenset()
    transposed: bool = True
    copies: Callable[[Any], dict[str, str]] = lambda config: {}
    ignored: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ("",)
    sampled: bool = False
    codec: Callable[[Path], Codec] | None = None
    template: str = "plain"
