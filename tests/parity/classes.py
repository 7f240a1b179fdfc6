"""What differs where the edited model is a fact checker: BERT with a single logit, whose answers
are two classes here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from serac_jax.core.batch import EditBatch, Examples, Tokens
from serac_jax.core.losses import edit_loss, locality_loss, token_log_probs, weighted_mean
from serac_jax.editors.protocol import Aux, Editor
from serac_jax.editors.serac.loss import Options
from serac_jax.models import Model, convert
from serac_jax.text.tokens import pad, suffix_token_count
from tests.parity.precision import load, real
from tests.parity.recorded import Reader, ids_of, words


def checks_facts(config: dict[str, Any]) -> bool:
    return config["model"]["class_name"] == "BertClassifier"


def load_checker(config: dict[str, Any], root: Path) -> tuple[Model, Any]:
    """The fact checker: the weights are in a file of their own, whose path is another one where the
    cases were recorded."""
    return load(
        root / config["model"]["name"],
        output="head",
        checkpoint=str(root / Path(config["model"]["pt"]).name),
    )


def load_counterfactual(config: dict[str, Any], root: Path) -> tuple[Model, Any]:
    """The counterfactual model with the recorded head: the original's is drawn at random."""
    model, params = load(
        root / config["model"]["small_name"], output="head", labels=1, fresh=("head",)
    )
    head = convert.read_safetensors(root / "replacement_head.safetensors")
    drawn = {"kernel": head["classifier.weight"]().T, "bias": head["classifier.bias"]()}
    return model, params | {"head": jax.tree.map(real, drawn)}


class ClassReader(Reader):
    """Reads batches whose labels are classes, and whose contexts do not state an answer. A query
    without a label counts all the same."""

    def examples(self, recorded: dict[str, Any], edit: bool) -> Examples:
        inputs, labels = recorded["input_ids"].astype(np.int32), recorded["labels"].reshape(-1, 1)
        texts, scope = words(self.base, inputs), pad([[] for _ in inputs], 0)
        prefix = pad(
            [
                self.base(text)["input_ids"][: -suffix_token_count(self.base)] if edit else []
                for text in texts
            ],
            inputs.shape[1] if edit else 0,
        )
        if self.scope:
            scope = ids_of(
                self.scope,
                [f"{text}{self.scope.sep_token * 2}" for text in texts] if edit else texts,
            )
        ours = Examples(
            Tokens(inputs, recorded["attention_mask"].astype(bool)),
            scope,
            prefix,
            np.maximum(labels, 0).astype(np.int32),
            np.ones(labels.shape, np.float32),
        )
        return jax.tree.map(np.asarray, ours)

    def batch(self, recorded: dict[str, Any], limit: int | None) -> EditBatch:
        """A batch that asks nothing in scope has a padding row there."""
        if len(recorded["pos_pairs"]):
            return super().batch(recorded, limit)
        filler = {name: array[:1] for name, array in recorded["loc"].items()}
        batch = super().batch(
            recorded | {"edit_outer": filler, "pos_pairs": np.zeros((1, 2), int)}, limit
        )
        return batch._replace(
            inside=batch.inside._replace(weight=np.zeros_like(batch.inside.weight))
        )


def logit(logits: Array) -> Array:
    """The single logit "n 1" that was recorded where ours are those of two classes."""
    return logits[:, :, 1]


def mean_probability(logits: Array, queries: Examples) -> Array:
    """The original averages probabilities of classes, where for words it takes the probability of
    the average."""
    return weighted_mean(jnp.exp(token_log_probs(logits, queries.labels)), queries.weight)


def misread(mixed: Array) -> Array:
    """A soft mixture as the original reads it: the logarithm of a probability where a logit should
    be."""
    return jnp.concatenate([jnp.zeros_like(mixed[..., 1:]), mixed[..., 1:]], -1)


def misread_loss(editor: Editor, base: Model, options: Options) -> Any:
    """The loss through the mixture, with the mixture misread as in the original."""

    def loss(params: Any, base_params: Any, batch: EditBatch, key: None) -> tuple[Array, Aux]:
        edited = editor.edit(params, editor.start(params, base_params, batch.edits), batch.edits)
        inside, outside = (
            misread(editor.apply(params, edited, queries))
            for queries in (batch.inside, batch.outside)
        )
        kl = locality_loss(base.logits(base_params, batch.outside), outside, batch.outside)
        return options.cedit * edit_loss(
            inside, batch.inside, batch.wanted
        ) + options.cloc * kl, Aux({})

    return loss
