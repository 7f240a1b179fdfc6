"""A batch of ours in PyTorch: models of `transformers` with random weights, the texts of the batch,
answers, losses, and the mean of the gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from torch.func import functional_call
from torch.nn import functional

from benchmarks.real_size import NAMED
from serac_jax.core.batch import EditBatch

Rows = list[list[int]]
CLASSES = {
    "t5": transformers.T5ForConditionalGeneration,
    "blenderbot-small": transformers.BlenderbotSmallForConditionalGeneration,
    "bert": transformers.BertForSequenceClassification,
}


def module(name: str) -> Any:
    config = NAMED[name]
    made = CLASSES[config.model_type](config).train()
    for part in made.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.0
    for field in ("dropout", "attention_dropout", "activation_dropout"):
        for part in made.modules():
            if isinstance(getattr(part, field, None), float):
                setattr(part, field, 0.0)
    return made


def rows_of(tokens: Any) -> Rows:
    return [
        row[mask].tolist()
        for row, mask in zip(np.asarray(tokens.ids), np.asarray(tokens.mask), strict=True)
    ]


def padded(rows: Rows, fill: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    width = max(map(len, rows))
    ids, mask = (
        torch.full((len(rows), width), fill),
        torch.zeros(len(rows), width, dtype=torch.long),
    )
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
        mask[number, : len(row)] = 1
    return ids, mask


@dataclass
class Queries:
    """Questions and the answers asked for; `alike` answers in a row share a question."""

    inputs: Rows
    labels: torch.Tensor
    alike: int = 1

    def before(self, contexts: Rows) -> Queries:
        """Each behind its context."""
        return Queries(
            [context + row for context, row in zip(contexts, self.inputs, strict=True)],
            self.labels,
            self.alike,
        )


def answers(model: Any, queries: Queries, shared: bool, weights: Any = None) -> torch.Tensor:
    """Logits of the labels, "n t v". weights: in the place of some of the model's.

    shared: questions that several answers share are read once, and logits are of real labels only,
        "p v".
    """

    def run(part: Any, prefix: str, **inputs: Any) -> Any:
        own = {
            name.removeprefix(prefix): leaf
            for name, leaf in (weights or {}).items()
            if name.startswith(prefix)
        }
        return functional_call(part, own, (), inputs) if own else part(**inputs)

    step = queries.alike if shared else 1
    ids, mask = padded(queries.inputs[::step])
    if isinstance(model, transformers.BertForSequenceClassification):
        return run(model, "", input_ids=ids, attention_mask=mask).logits
    encoder, prefix = (
        (model.encoder, "encoder.")
        if hasattr(model, "encoder")
        else (model.model.encoder, "model.encoder.")
    )
    states = run(
        encoder, prefix, input_ids=ids, attention_mask=mask
    ).last_hidden_state.repeat_interleave(step, 0)
    mask = mask.repeat_interleave(step, 0)
    labels = queries.labels.clamp(min=0)
    start = torch.cat([torch.zeros_like(labels[:, :1]), labels[:, :-1]], 1)
    real = (
        (lambda layer, inputs: inputs[0][queries.labels >= 0])
        if shared
        else (lambda layer, inputs: None)
    )
    with model.get_output_embeddings().register_forward_pre_hook(real):
        return run(
            model, "", encoder_outputs=(states,), attention_mask=mask, decoder_input_ids=start
        ).logits


def loss_of(logits: torch.Tensor, queries: Queries, wanted: torch.Tensor) -> torch.Tensor:
    if logits.shape[-1] == 1:
        return functional.binary_cross_entropy_with_logits(
            logits[:, 0], queries.labels[:, 0].float()
        )
    real = queries.labels >= 0
    wanted, labels = wanted[:, None].expand(real.shape)[real], queries.labels[real]
    log_probs = logits.log_softmax(-1)
    chosen = (log_probs if logits.dim() == 2 else log_probs[real]).gather(-1, labels[:, None])[:, 0]
    loss = -chosen[wanted].mean()
    return loss if wanted.all() else loss - torch.log(1 - chosen[~wanted].exp() + 1e-7).mean()


def kl(before: torch.Tensor, after: torch.Tensor, queries: Queries) -> torch.Tensor:
    if before.dim() == 2:
        before, after = (
            torch.cat([torch.zeros_like(logits), logits], -1) for logits in (before, after)
        )
        return (
            (before.softmax(-1) * (before.log_softmax(-1) - after.log_softmax(-1))).sum(-1).mean()
        )
    return (
        (before.softmax(-1) * (before.log_softmax(-1) - after.log_softmax(-1)))
        .sum(-1)[queries.labels >= 0]
        .mean()
    )


class Batch:
    """The texts of a batch of ours."""

    def __init__(self, batch: EditBatch):
        def queries(part: Any, alike: int = 1) -> Queries:
            labels = [
                row[weight > 0].tolist()
                for row, weight in zip(
                    np.asarray(part.labels), np.asarray(part.weight), strict=True
                )
            ]
            return Queries(rows_of(part.inputs), padded(labels, -100)[0], alike)

        self.edits, self.inside, self.outside = (
            queries(batch.edits),
            queries(batch.inside, batch.layout.alike),
            queries(batch.outside),
        )
        self.scopes = [rows_of(part.scope) for part in (batch.edits, batch.inside, batch.outside)]
        self.prefixes, self.edit_of, self.wanted = (
            rows_of(batch.edits.prefix),
            np.asarray(batch.edit_of).tolist(),
            torch.tensor(np.asarray(batch.wanted)),
        )
        self.gold = self.inside.before([self.prefixes[edit] for edit in self.edit_of])
        self.retrieved = self.outside.before(self.prefixes)


def added(loss: torch.Tensor, learned: list[Any]) -> None:
    """Adds the gradient to the mean, unless it is not finite."""
    gradients = torch.autograd.grad(loss, learned, allow_unused=True)
    if all(bool(leaf.isfinite().all()) for leaf in gradients if leaf is not None):
        for parameter, gradient in zip(learned, gradients, strict=True):
            if gradient is not None:
                parameter.grad = (
                    gradient / 10 if parameter.grad is None else parameter.grad + gradient / 10
                )
