"""What a training step of the PyTorch original computes, on networks of real size with random weights.

Base model: out-of-scope queries twice, in-scope queries once. Scope classifier: every stored edit and query, for both
sides. Counterfactual model: the retrieved and the gold edit in scope, the retrieved one out of scope. Then one backward pass, and adding up gradients.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from transformers import DistilBertModel, T5ForConditionalGeneration

from benchmarks.real_size import CONTEXT, DISTILBERT, EDITS, LABEL, PREFIX, QUERY, SMALL_T5


def make_step() -> Callable[[], None]:
    torch.manual_seed(0)
    base, counterfactual = T5ForConditionalGeneration(SMALL_T5).train(), T5ForConditionalGeneration(SMALL_T5).train()
    classifier = DistilBertModel(DISTILBERT).train()
    for model in (base, counterfactual, classifier):
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    rng = np.random.default_rng(0)

    def ids(width: int, vocab: int) -> torch.Tensor:
        return torch.tensor(rng.integers(5, vocab, (EDITS, width)))

    inside, outside, contexts = ids(QUERY, 32000), ids(QUERY, 32000), ids(PREFIX + QUERY, 32000)
    scope_edits, scope_inside, scope_outside = ids(CONTEXT, 28000), ids(QUERY, 28000), ids(QUERY, 28000)
    labels = ids(LABEL, 32000)
    learned = [*classifier.parameters(), *counterfactual.parameters()]

    def similarities(queries: torch.Tensor) -> torch.Tensor:
        stored, asked = (classifier(input_ids=side).last_hidden_state[:, 0] for side in (scope_edits, queries))
        return -((stored[None] - asked[:, None]).norm(2, -1) ** 2)

    def step() -> None:
        with torch.no_grad():
            base(input_ids=outside, labels=labels)
            base(input_ids=inside, labels=labels)
            base(input_ids=outside, labels=labels)
        positive = similarities(scope_inside).diag()
        counterfactual(input_ids=contexts, labels=labels)  # given the retrieved edits
        answer = counterfactual(input_ids=contexts, labels=labels).loss
        negative = similarities(scope_outside).diag()
        counterfactual(input_ids=contexts, labels=labels)
        loss = 0.1 * answer - positive.mean() - torch.log(1 - negative.exp() + 1e-7).mean()
        for parameter, gradient in zip(learned, torch.autograd.grad(loss, learned, allow_unused=True), strict=True):
            if gradient is None:
                continue
            if gradient.isnan().any().item() or gradient.isinf().any().item():
                continue
            parameter.grad = gradient / 10 if parameter.grad is None else parameter.grad + gradient / 10

    return step
