"""FLOPs of the matrix products that SERAC's loss and its gradient need, counted by hand: thrice the forward pass (Kaplan et al. 2020, section 2.1)."""

from __future__ import annotations

from typing import Any

from serac_jax.batch import EditBatch, Examples
from serac_jax.models import Model


def dense(rows: int, *pairs: tuple[int, int]) -> int:
    """Of `rows` vectors through matrices of these sizes."""
    return sum(2 * rows * a * b for a, b in pairs)


def attention(rows: int, queries: int, keys: int, width: int) -> int:
    """Of scores, and of mixing values by them."""
    return 2 * 2 * rows * queries * keys * width


def needed(batch: EditBatch, classifier: Model, counterfactual: Model, cross_attention: bool) -> int:
    """Of a step on this batch, padding included, where the scope classifier is a BERT of which only the first token's state is read."""
    asked, edits, outside = batch.asked, batch.edits, batch.outside
    rows, beyond = asked.inputs.ids.shape[0], outside.scope.ids.shape[0]
    if cross_attention:
        pair = batch.layout.context or edits.scope.ids.shape[1] + asked.scope.ids.shape[1] - 1
        scope = read(classifier, rows + beyond, pair)
    else:
        scope = sum(read(classifier, *tokens.ids.shape) for tokens in (edits.scope, asked.scope, outside.scope))
    context = batch.layout.context or edits.prefix.ids.shape[1] + asked.inputs.ids.shape[1]
    return 3 * (scope + answer(counterfactual, rows, context, batch.inside, batch.layout.labelled))


def answer(model: Model, rows: int, width: int, queries: Examples, labelled: int | None) -> int:
    """Of the logits of every label, or of so many, given so many rows of input of this width."""
    config: Any = model.module.config
    if model.output == "head":
        return read(model, rows, width)
    written, labels = queries.labels.shape
    answered = labelled or written * labels
    encoder, decoder = (config, config) if hasattr(config, "head_width") else (config.encoder, config.decoder)
    inner = config.heads * config.head_width if hasattr(config, "head_width") else config.width
    layers = (config.encoder_layers, config.decoder_layers) if hasattr(config, "head_width") else (encoder.layers, decoder.layers)
    projection = (config.width, inner)
    mlps = [[(config.width, stack.mlp_width)] * (3 if getattr(config, "gated", False) else 2) for stack in (encoder, decoder)]
    encoded = dense(rows * width, *[projection] * 4, *mlps[0]) + attention(rows, width, width, inner)
    own = dense(written * labels, *[projection] * 4) + attention(written, labels, labels, inner)
    cross = dense(written * labels, *[projection] * 2) + dense(rows * width, *[projection] * 2) + attention(written, labels, width, inner)
    return layers[0] * encoded + layers[1] * (own + cross + dense(written * labels, *mlps[1])) + dense(answered, (config.width, config.vocab))


def read(model: Model, rows: int, width: int) -> int:
    """Of the first token's state of texts of this width: the last layer computes no other."""
    config: Any = model.module.config
    square, mlp = (config.width, config.width), [(config.width, config.mlp_width)] * 2
    full = dense(rows * width, *[square] * 4, *mlp) + attention(rows, width, width, config.width)
    last = dense(rows * width, *[square] * 2) + dense(rows, *[square] * 2, *mlp) + attention(rows, 1, width, config.width)
    head = dense(rows, square) if config.output in ("head", "pooler") else 0
    return (config.layers - 1) * full + last + head
