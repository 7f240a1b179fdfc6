"""FLOPs of the matrix products that SERAC's loss and its gradient need, counted by hand: thrice the
forward pass (Kaplan et al. 2020, section 2.1)."""

from __future__ import annotations

from typing import Any

from serac_jax.core.batch import EditBatch, room
from serac_jax.models import Model


def dense(rows: int, *pairs: tuple[int, int]) -> int:
    """Of `rows` vectors through matrices of these sizes."""
    return sum(2 * rows * a * b for a, b in pairs)


def attention(rows: int, queries: int, keys: int, width: int) -> int:
    """Of scores, and of mixing values by them."""
    return 2 * 2 * rows * queries * keys * width


def needed(
    batch: EditBatch, classifier: Model, counterfactual: Model, cross_attention: bool
) -> int:
    """Of a step on this batch, the padding that it computes included, where the scope classifier is
    a BERT of which only the first token's state is read."""
    asked, edits, outside = batch.asked, batch.edits, batch.outside
    fills = batch.layout.text_fill, batch.layout.context_fill, batch.layout.label_fill
    text, both, label = (1.0 if fill is None else fill for fill in fills)
    rows, beyond, edits_read = (
        asked.inputs.ids.shape[0],
        outside.scope.ids.shape[0],
        edits.scope.ids.shape[0],
    )
    if cross_attention:
        pair = batch.layout.context or edits.scope.ids.shape[1] + asked.scope.ids.shape[1] - 1
        scope = read(classifier, rows + beyond, pair, both)
    else:
        scope = read(classifier, edits_read, edits.scope.ids.shape[1], text) + read(
            classifier, rows + beyond, asked.scope.ids.shape[1], text
        )
    context = batch.layout.context or edits.prefix.ids.shape[1] + asked.inputs.ids.shape[1]
    return 3 * (
        scope + answer(counterfactual, rows, context, both, batch.inside.labels.shape, label)
    )


def answer(
    model: Model, rows: int, width: int, text: float, written: tuple[int, ...], label: float
) -> int:
    """Of the logits of answers, so many and so long, given so many rows of input of this width;
    `text`, `label`: the share of both that is computed."""
    config: Any = model.module.config
    if model.output == "head":
        return read(model, rows, width, text)
    answers, labels = written
    computed, answered = room(rows * width, text), room(answers * labels, label)
    encoder, decoder = (
        (config, config) if hasattr(config, "head_width") else (config.encoder, config.decoder)
    )
    inner = config.heads * config.head_width if hasattr(config, "head_width") else config.width
    layers = (
        (config.encoder_layers, config.decoder_layers)
        if hasattr(config, "head_width")
        else (encoder.layers, decoder.layers)
    )
    projection = (config.width, inner)
    mlps = [
        [(config.width, stack.mlp_width)] * (3 if getattr(config, "gated", False) else 2)
        for stack in (encoder, decoder)
    ]
    encoded = dense(computed, *[projection] * 4, *mlps[0]) + attention(rows, width, width, inner)
    own = dense(answered, *[projection] * 4) + attention(answers, labels, labels, inner)
    cross = (
        dense(answered, *[projection] * 2)
        + dense(computed, *[projection] * 2)
        + attention(answers, labels, width, inner)
    )
    return (
        layers[0] * encoded
        + layers[1] * (own + cross + dense(answered, *mlps[1]))
        + dense(answered, (config.width, config.vocab))
    )


def read(model: Model, rows: int, width: int, text: float) -> int:
    """Of the first token's state of texts of this width, of which so large a share is computed: the
    last layer computes no other."""
    config: Any = model.module.config
    square, mlp, computed = (
        (config.width, config.width),
        [(config.width, config.mlp_width)] * 2,
        room(rows * width, text),
    )
    full = dense(computed, *[square] * 4, *mlp) + attention(rows, width, width, config.width)
    last = (
        dense(computed, *[square] * 2)
        + dense(rows, *[square] * 2, *mlp)
        + attention(rows, 1, width, config.width)
    )
    head = dense(rows, square) if config.output in ("head", "pooler") else 0
    return (config.layers - 1) * full + last + head
