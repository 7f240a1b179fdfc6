"""The unit case of generation: free answers without edits, and with one edit in memory, for a query
inside and one outside its scope."""

from __future__ import annotations

import re
from pathlib import Path

import jax
import jax.numpy as jnp

from serac_jax import models
from serac_jax.editors.serac import scope as scopes
from serac_jax.editors.serac.loss import Options
from serac_jax.editors.serac.reader import Reader
from serac_jax.editors.serac.router import Router
from serac_jax.editors.serac.serac_editor import serac
from serac_jax.text.encoder import Encoder
from serac_jax.text.queries import Query, TextBatch
from serac_jax.text.tokens import prefix_token_count
from tests.parity import golden
from tests.parity.compare import Comparison

MODELS = {
    "qa": ("t5-tiny", "t5-tiny-small"),
    "sent": ("blenderbot_small-tiny", "blenderbot_small-tiny-rep"),
}


def run(comparison: Comparison, case: golden.Case, root: Path) -> None:
    for task in MODELS:
        run_task(comparison, case, root, task)


def run_task(comparison: Comparison, case: golden.Case, root: Path, task: str) -> None:
    (base, base_params), (counterfactual, counterfactual_params) = (
        models.load(str(root / name)) for name in MODELS[task]
    )
    classifier, classifier_params = models.load(str(root / "distilbert-tiny-cased"), output="cls")
    opening = prefix_token_count(base.tokenizer)
    editor = serac(
        Router(scopes.embedding(classifier), exact_match=False),
        classifier_params,
        Reader(base, opening),
        Reader(counterfactual, opening),
        counterfactual_params,
        Options(),
    )
    printed = case.manifest["values"]
    query = base.tokenizer.decode(case[f"{task}/input_ids"][0], skip_special_tokens=True)
    question, answer = edit_of(printed[f"{task}/printed"], query)
    texts = TextBatch([Query(question, answer)], [Query(query, "")], [0], [Query("x", "")], [0])
    batch = jax.tree.map(
        jnp.asarray, Encoder(base.tokenizer, classifier.tokenizer, (32,), (16,))(texts)
    )

    params = editor.init(jax.random.key(0), base_params)
    unedited = editor.start(params, base_params, batch.edits)
    edited = editor.edit(params, unedited, batch.edits)
    steps = case[f"{task}/edited"].shape[1] - 1
    generate = jax.jit(lambda edited, queries: editor.generate(params, edited, queries, steps))
    assert editor.route
    for name, state, queries in (
        ("no_cache", unedited, batch.inside),
        ("edited", edited, batch.inside),
        ("miss", edited, batch.outside),
    ):
        comparison.check(f"{task}/{name}", generate(state, queries), case[f"{task}/{name}"][:, 1:])
    similarity = jnp.exp(editor.route(params, edited, batch.inside).log_similarity)
    comparison.check(
        f"{task}/sim", similarity, case[f"{task}/sim"]
    )  # of the other query only that to an edit which is not recorded


def edit_of(printed: str, query: str) -> tuple[str, str]:
    """The edit's question and answer, of the text that the counterfactual model was printed to read
    before the query."""
    found = re.search(
        r"output for '(.*\?|topic: .*?) ((?:sentiment: )?\S+) " + re.escape(query), printed
    )
    assert found
    return found[1], found[2]
