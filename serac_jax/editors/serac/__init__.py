"""SERAC: edits stay text; a router finds the edit that a question is about, a reader answers by it.

Mitchell et al. 2022, Memory-Based Model Editing at Scale."""

from __future__ import annotations

from typing import Any

from serac_jax.core.errors import UserError
from serac_jax.core.fields import COUNT, NATURAL, SHARE, Field, Fields, one_of
from serac_jax.editors.protocol import Built, Setup, Thresholds
from serac_jax.editors.serac import scope as scopes
from serac_jax.editors.serac.loss import Options
from serac_jax.editors.serac.reader import Reader
from serac_jax.editors.serac.router import Router
from serac_jax.editors.serac.serac_editor import serac
from serac_jax.index.distance import Distance
from serac_jax.models import Model
from serac_jax.text.templates import TEMPLATES, separated

FIELDS: Fields = {
    "counterfactual": Field(
        "t5-small", "the model that reads an edit and a query; has the base model's vocabulary"
    ),
    "freeze_counterfactual": Field(
        False,
        "retrieve and prompt: the base model reads the edit, only the scope classifier is trained",
    ),
    "scope": Field("distilbert-base-cased", "the scope classifier"),
    "pool": Field(
        "cls",
        "pooling of the scope classifier's embedding; sentence: as a sentence encoder declares it",
        one_of("cls", "pooler", "mean", "sentence"),
    ),
    "cross_attention": Field(
        False, "classify edit and query together instead of comparing embeddings"
    ),
    "cosine": Field(False, "embedding distance: 1 − cosine instead of Euclidean"),
    "square": Field(True, "embedding distance: squared"),
    "bounded": Field(False, "apply tanh to the embeddings first"),
    "heads": Field(1, "slices of the embeddings; the smallest of their distances counts", COUNT),
    "threshold": Field(0.5, "an edit answers where its score is above this", SHARE),
    "exact_match": Field(
        True, "an edit answers its own words, whatever the scope classifier says of them"
    ),
    "supervised": Field(
        True, "train on labelled pairs; else through the mixture of both models' answers"
    ),
    "soft_weighting": Field(
        False, "mix both models' probabilities instead of choosing one of them"
    ),
    "all_negatives": Field(
        False,
        "scope loss: every edit × every out-of-scope query, not only the pairs drawn together",
    ),
    "freeze": Field(
        None,
        "train only the last so many blocks of the scope classifier, and its head; by default all",
        NATURAL,
        int,
    ),
    "remat": Field(
        False, "recompute activations of both networks in the backward pass, to save memory"
    ),
}


def build(setup: Setup) -> Built:
    """The editor of a config, with the networks that the config names."""
    config, base, load = setup.config, setup.base, setup.load
    options, train = config.serac, config.train
    loading: dict[str, Any] = {
        "dropout": train.dropout,
        "dtype": base.module.config.dtype,
        "seed": config.seed,
    }
    output = "head" if options.cross_attention else options.pool
    fresh = ("head", "pre_head", "pooler") if options.cross_attention else ()
    classifier, classifier_params = load(
        options.scope, output=output, remat=options.remat, fresh=fresh, **loading
    )
    if options.cross_attention:
        scope = scopes.cross_attention(classifier, separated(classifier.tokenizer).lead)
    else:
        scope = scopes.embedding(
            classifier,
            Distance(options.cosine, options.square, options.bounded, options.heads),
        )
    counterfactual = counterfactual_params = None
    if not options.freeze_counterfactual:
        answers: dict[str, Any] = {
            "output": base.output,
            "labels": base.labels,
            "fresh": ("head",),
        }  # as the base model's
        counterfactual, counterfactual_params = load(
            options.counterfactual, remat=options.remat, **answers, **loading
        )
        check_vocabulary(base, counterfactual)
    thresholds = Thresholds(options.threshold, options.threshold)
    lead = TEMPLATES[setup.template](base.tokenizer).lead
    editor = serac(
        Router(scope, thresholds, options.exact_match),
        classifier_params,
        Reader(base, lead),
        Reader(counterfactual, lead) if counterfactual else None,
        counterfactual_params,
        Options(
            options.supervised,
            options.soft_weighting,
            options.all_negatives,
            options.freeze,
            train.cedit,
            train.cloc,
            train.unlikelihood,
        ),
    )
    parts = {"scope": classifier} | ({"counterfactual": counterfactual} if counterfactual else {})
    return Built(editor, parts, classifier.tokenizer)


def check_vocabulary(base: Model, counterfactual: Model) -> None:
    """Raises UserError unless the two models read and write the same tokens: their answers are
    compared and mixed."""
    if base.tokenizer.get_vocab() != counterfactual.tokenizer.get_vocab():
        raise UserError(
            f"the counterfactual model {counterfactual.name!r} has another vocabulary than the base"
            f" model {base.name!r}; choose a model of the same family"
        )
    sizes = [model.module.config.vocab for model in (base, counterfactual)]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"{base.name!r} has {sizes[0]} output tokens, {counterfactual.name!r} has {sizes[1]};"
            " choose a counterfactual model with as many"
        )
