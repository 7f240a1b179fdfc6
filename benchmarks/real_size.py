"""Networks and batches of real size with random weights: what benchmarks run on. Nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from transformers import DistilBertConfig, PretrainedConfig, T5Config

from serac_jax.batch import EditBatch, Examples, Tokens
from serac_jax.editors import Editor
from serac_jax.editors import scope as scopes
from serac_jax.editors.serac import Options, serac
from serac_jax.models import NETWORKS, Model, abstract, convert
from serac_jax.models.decoding import Decoding

# Widths of the original's question answering batch, 10 edits (special tokens included).
EDITS, QUESTION, QUERY, LABEL, PREFIX, CONTEXT = 10, 12, 13, 4, 14, 18

SMALL_T5: Any = T5Config.from_dict({"vocab_size": 32128, "num_decoder_layers": 6, "decoder_start_token_id": 0})  # t5-small
DISTILBERT = DistilBertConfig(vocab_size=28996)  # distilbert-base-cased


def network(hf: PretrainedConfig, output: str = "") -> Model:
    """A network without weights, and without a tokenizer: nothing here is in words."""
    found = NETWORKS[hf.model_type]
    module = found.module(found.config(hf.to_dict(), output, 0.0, jnp.float32, False))
    return Model(hf.model_type, Path(), module, found, None, Decoding(), output, 0)  # type: ignore[arg-type]: no tokenizer


def random_model(hf: PretrainedConfig, output: str = "", seed: int = 0) -> tuple[Model, Any]:
    model = network(hf, output)
    rng = np.random.default_rng(seed)
    leaves = {path: jnp.asarray(rng.normal(0, 0.02, leaf.shape) + path.endswith("scale"), jnp.float32) for path, leaf in abstract(model.module).items()}
    return model, convert.unflatten(leaves)


def tokens(width: int, vocab: int, rng: np.random.Generator) -> Tokens:
    return Tokens(jnp.asarray(rng.integers(5, vocab, (EDITS, width)), jnp.int32), jnp.ones((EDITS, width), bool))


def batch(seed: int = 0) -> EditBatch:
    """A batch as wide as the original's, every position real."""
    rng = np.random.default_rng(seed)

    def examples(question: int, scope: int, prefix: int) -> Examples:
        labels = jnp.asarray(rng.integers(5, 32000, (EDITS, LABEL)), jnp.int32)
        return Examples(tokens(question, 32000, rng), tokens(scope, 28000, rng), tokens(prefix, 32000, rng), labels, jnp.ones((EDITS, LABEL)))

    each, no = jnp.arange(EDITS), jnp.zeros(EDITS, bool)
    return EditBatch(examples(QUESTION, CONTEXT, PREFIX), examples(QUERY, QUERY, 0), each, ~no, no, examples(QUERY, QUERY, 0), each, no)


def editor() -> tuple[Editor, Model, Any, Any]:
    """SERAC with a T5-small base and counterfactual and a DistilBERT scope classifier: (editor, base, its parameters, what is learned)."""
    base, base_params = random_model(SMALL_T5)
    counterfactual, counterfactual_params = random_model(SMALL_T5, seed=1)
    classifier, classifier_params = random_model(DISTILBERT, "cls", seed=2)
    made = serac(base, scopes.embedding(classifier), classifier_params, counterfactual, counterfactual_params, 0, Options())
    return made, base, base_params, {"scope": classifier_params, "counterfactual": counterfactual_params}
