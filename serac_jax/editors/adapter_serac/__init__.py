"""SERAC for causal language models: two low-rank adapters and a frozen model.

Mitchell et al. 2022 with a reader that shares the base model's weights and judges scope, too."""

from __future__ import annotations

from serac_jax.core.fields import BELOW_ONE, COUNT, PATTERNS, POSITIVE, SHARE, Field, Fields, one_of
from serac_jax.editors.adapter_serac.adapter_serac_editor import Networks, Options, adapter_serac
from serac_jax.editors.adapter_serac.judge import judge
from serac_jax.editors.protocol import Built, Setup, Thresholds
from serac_jax.editors.serac.reader import Reader
from serac_jax.text.templates import TEMPLATES

FIELDS: Fields = {
    "encoder": Field(
        "sentence-transformers/all-MiniLM-L6-v2", "the sentence encoder, which proposes edits"
    ),
    "pool": Field("mean", "pooling of its vectors", one_of("cls", "pooler", "mean")),
    "encoder_rank": Field(16, "rank of the encoder's adapter", COUNT),
    "reader_rank": Field(16, "rank of the reader's adapter", COUNT),
    "encoder_layers": Field(
        (r"block_\d+/.*",),
        "layers of the encoder that get adapters: patterns of whole paths",
        PATTERNS,
    ),
    "reader_layers": Field(
        (r"block_\d+/.*",),
        "layers of the base model that get adapters: patterns of whole paths",
        PATTERNS,
    ),
    "dropout": Field(0.0, "rate of dropout in the adapters", BELOW_ONE),
    "temperature": Field(0.05, "of the encoder's contrastive loss", POSITIVE),
    "proposals": Field(4, "edits of each question that the reader judges", COUNT),
    "border": Field(0.3, "edits whose cosine with a question is lower are not proposed", SHARE),
    "threshold": Field(0.5, "an edit answers where its score is above this", SHARE),
}


def build(setup: Setup) -> Built:
    """The editor of a config, with the sentence encoder that the config names."""
    config, base = setup.config, setup.base
    chosen, train = config.adapter_serac, config.train
    encoder, encoder_params = setup.load(chosen.encoder, output=chosen.pool)
    lead = TEMPLATES[setup.template](base.tokenizer).lead
    options = Options(
        thresholds=Thresholds(chosen.threshold, chosen.threshold),
        proposals=chosen.proposals,
        border=chosen.border,
        temperature=chosen.temperature,
        dropout=chosen.dropout,
        cedit=train.cedit,
        cloc=train.cloc,
    )
    editor = adapter_serac(
        Networks(judge(Reader(base, lead)), encoder, options),
        encoder_params,
        (tuple(chosen.encoder_layers), tuple(chosen.reader_layers)),
        (chosen.encoder_rank, chosen.reader_rank),
    )
    return Built(editor, {"encoder": encoder, "reader": base}, encoder.tokenizer, True)
