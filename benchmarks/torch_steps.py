"""Training steps of SERAC, MEND and ENN in PyTorch, with the modules of `transformers`, random
weights, and the texts of a batch of ours.

Each comes in two kinds: only what its loss needs, and what a step of the PyTorch original computes.
    The original's also has:

* SERAC: the base model on the out-of-scope queries twice and on those in scope once (sentiment
  editing: twice); the counterfactual model given the retrieved edits of both sides; every stored
  edit read by the scope classifier for each side, and with cross-attention every pair of an edit
  and a query.
* MEND: the gradient of the edit loss for every weight. ENN: the unedited model once more. Both, in
    sentiment editing: the unedited model in scope.
* Every opinion's question read for itself.

Rows are padded to the longest of the batch. Every step ends with adding its gradient to the mean of
an optimizer step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.real_size import DISTILBERT, Experiment
from benchmarks.torch_batches import Batch, Rows, added, answers, kl, loss_of, module, padded


def serac(
    experiment: Experiment, batch: Batch, original: bool
) -> tuple[Callable[[], None], list[Any]]:
    cross, alike = experiment.cross_attention, 1 if original else batch.inside.alike
    kind = (
        transformers.DistilBertForSequenceClassification if cross else transformers.DistilBertModel
    )
    classifier, counterfactual = kind(DISTILBERT), module(experiment.counterfactual)
    base = module(experiment.base) if original else None
    learned = [*classifier.parameters(), *counterfactual.parameters()]
    edits, inside, outside = batch.scopes

    def pairs(of: list[int], queries: Rows) -> torch.Tensor:
        """Log-similarities of pairs that the classifier reads together."""
        ids, mask = padded(
            [edits[edit] + query[1:] for edit, query in zip(of, queries, strict=True)]
        )
        return classifier(input_ids=ids, attention_mask=mask).logits.log_softmax(-1)[:, 0]

    def vectors(rows: Rows) -> torch.Tensor:
        ids, mask = padded(rows)
        return classifier(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]

    def every(queries: Rows) -> torch.Tensor:
        """Log-similarities of every query and every edit, as the original computes them."""
        if cross:
            count = len(edits)
            return pairs(
                [*range(count)] * len(queries), [query for query in queries for _ in range(count)]
            ).view(-1, count)
        return -((vectors(edits)[None] - vectors(queries)[:, None]).norm(2, -1) ** 2)

    def similarities() -> tuple[torch.Tensor, torch.Tensor]:
        if original:
            return every(inside)[range(len(inside)), batch.edit_of], every(outside).diag()
        of = batch.edit_of[::alike]
        if cross:
            both = pairs([*of, *range(len(edits))], [*inside[::alike], *outside])
            return both[: len(of)], both[len(of) :]
        stored = vectors(edits)
        return -(stored[of] - vectors(inside[::alike])).square().sum(-1), -(
            stored - vectors(outside)
        ).square().sum(-1)

    def step() -> None:
        if base is not None:
            with torch.no_grad():
                sentiment = not bool(batch.wanted.all())
                for queries in (
                    batch.outside,
                    batch.inside,
                    batch.outside,
                    *([batch.inside] if sentiment else []),
                ):
                    answers(base, queries, False)
        positive, negative = similarities()
        if original:
            answers(
                counterfactual, batch.gold, False
            )  # given the retrieved edits, which are as long
            answers(counterfactual, batch.retrieved, False)
        answer_loss = loss_of(
            answers(counterfactual, batch.gold, not original), batch.inside, batch.wanted
        )
        added(
            0.1 * answer_loss - positive.mean() - torch.log(1 - negative.exp() + 1e-7).mean(),
            learned,
        )

    return step, learned


def inner(model: Any) -> dict[str, Any]:
    """The weights that MEND and ENN change: the feed-forward layers of the last blocks, two of each
    stack, three of BERT."""
    config = model.config
    if config.model_type == "bert":
        layers = [
            f"bert.encoder.layer.{number}.{part}"
            for number in range(9, 12)
            for part in ("intermediate.dense", "output.dense")
        ]
    elif config.model_type == "t5":
        depth = config.num_layers
        where = (
            (stack, number, place)
            for stack, place in (("encoder", 1), ("decoder", 2))
            for number in range(depth - 2, depth)
        )
        layers = [
            f"{stack}.block.{number}.layer.{place}.DenseReluDense.{part}"
            for stack, number, place in where
            for part in ("wi", "wo")
        ]
    else:
        layers = [
            f"model.{stack}.layers.{number}.{part}"
            for stack in ("encoder", "decoder")
            for number in (6, 7)
            for part in ("fc1", "fc2")
        ]
    return {f"{layer}.weight": model.get_submodule(layer) for layer in layers}


class LowRank(torch.nn.Module):
    """One of MEND's layers: x + relu(scale · (x·down·up + bias) + shift), with a scale and a shift
    for every kernel."""

    def __init__(self, width: int, kernels: int):
        super().__init__()
        rank = min(width, 1920)
        self.down, self.up = (
            torch.nn.Parameter(torch.randn(*shape) * 0.02)
            for shape in ((width, rank), (rank, width))
        )
        self.bias, self.scale, self.shift = (
            torch.nn.Parameter(torch.zeros(*shape))
            for shape in ((width,), (kernels, width), (kernels, width))
        )

    def forward(self, x: torch.Tensor, which: int) -> torch.Tensor:
        return x + torch.relu(
            (x @ self.down @ self.up + self.bias) * self.scale[which] + self.shift[which]
        )


def unedited(base: Any, batch: Batch, original: bool) -> None:
    """In sentiment editing the original's metrics read the unedited model's answers in scope."""
    if original and not bool(batch.wanted.all()):
        with torch.no_grad():
            answers(base, batch.inside, False)


def mend(
    experiment: Experiment, batch: Batch, original: bool
) -> tuple[Callable[[], None], list[Any]]:
    base = module(experiment.base)
    layers = inner(base)
    shapes: dict[Any, list[str]] = {}
    for name, layer in layers.items():
        shapes.setdefault(tuple(layer.weight.shape), []).append(name)
    networks = {
        shape: [LowRank(sum(shape), len(names)) for _ in range(2)]
        for shape, names in shapes.items()
    }
    rates = torch.nn.Parameter(torch.full((len(layers),), 1e-4))
    learned = [
        *(
            parameter
            for pair in networks.values()
            for layer in pair
            for parameter in layer.parameters()
        ),
        rates,
    ]
    found: dict[str, list[Any]] = {}
    for name, layer in layers.items():
        layer.register_forward_hook(
            lambda layer, inputs, output, name=name: found.__setitem__(name, [inputs[0], output])
        )

    def step() -> None:
        with torch.no_grad():
            before = answers(base, batch.outside, False)
        edit_loss = loss_of(
            answers(base, batch.edits, False),
            batch.edits,
            torch.ones(len(batch.edits.inputs), dtype=torch.bool),
        )
        caught = {name: list(found[name]) for name in layers}
        if original:
            for _, output in caught.values():
                output.retain_grad()
            edit_loss.backward()
            deltas = [output.grad for _, output in caught.values()]
            base.zero_grad()
        else:
            deltas = torch.autograd.grad(edit_loss, [output for _, output in caught.values()])
        changed = {}
        for number, ((name, (x, _)), delta) in enumerate(zip(caught.items(), deltas, strict=True)):
            shape, weight = tuple(layers[name].weight.shape), layers[name].weight
            row = torch.cat([x.detach().flatten(0, -2), delta.flatten(0, -2)], -1)
            for layer in networks[shape]:
                row = layer(row, shapes[shape].index(name))
            changed[name] = (
                weight.detach() - rates[number] * row[:, x.shape[-1] :].T @ row[:, : x.shape[-1]]
            )
        unedited(base, batch, original)
        answer_loss = loss_of(
            answers(base, batch.inside, not original, changed), batch.inside, batch.wanted
        )
        added(
            0.1 * answer_loss
            + kl(before, answers(base, batch.outside, False, changed), batch.outside),
            learned,
        )

    for parameter in base.parameters():
        parameter.requires_grad_(original)
    if not original:  # the gradient of an output needs something before it that has one
        next(
            base.get_submodule(name.removesuffix(".weight")) for name in layers
        ).weight.requires_grad_(True)
    return step, learned


def enn(
    experiment: Experiment, batch: Batch, original: bool
) -> tuple[Callable[[], None], list[Any]]:
    base, first = module(experiment.base), module(experiment.base)
    kernels = {name: layer.weight for name, layer in inner(base).items()}
    rates = torch.nn.Parameter(torch.full((len(kernels),), 1e-2))
    learned = [*base.parameters(), rates]

    @sdpa_kernel(SDPBackend.MATH)  # fused attention has no second derivative
    def step() -> None:
        edit_loss = loss_of(
            answers(base, batch.edits, False),
            batch.edits,
            torch.ones(len(batch.edits.inputs), dtype=torch.bool),
        )
        slopes = torch.autograd.grad(edit_loss, list(kernels.values()), create_graph=True)
        changed = {
            name: kernel - rate * slope
            for (name, kernel), rate, slope in zip(kernels.items(), rates, slopes, strict=True)
        }
        unedited(base, batch, original)
        with torch.no_grad():
            start = answers(first, batch.outside, False)
            if original:
                answers(base, batch.outside, False)
        own = answers(base, batch.outside, False)
        answer_loss = loss_of(
            answers(base, batch.inside, not original, changed), batch.inside, batch.wanted
        )
        loss = 0.1 * answer_loss + kl(
            own.detach(), answers(base, batch.outside, False, changed), batch.outside
        )
        added(loss + kl(start, own, batch.outside), learned)

    return step, learned


STEPS = {"rep": serac, "gtn": mend, "enn": enn}
