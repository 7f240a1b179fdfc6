"""SERAC on adapters: one frozen causal model answers, judges and reads edits."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from serac_jax import models
from serac_jax.core.batch import Tokens
from serac_jax.editors.adapter_serac.adapter_loss import answers_agree, pairs_of
from serac_jax.editors.adapter_serac.adapter_serac_editor import Networks, Options, adapter_serac
from serac_jax.editors.adapter_serac.judge import FOLLOWS, SAME, UNRELATED, judge
from serac_jax.editors.serac.reader import Reader
from serac_jax.models.generate import generate
from serac_jax.text.encoder import Encoder
from serac_jax.text.queries import Query, TextBatch
from tests.causal_models import random_model
from tests.conftest import MODELS

STEPS = 6
EDITS = [Query("Where is it?", "Rome"), Query("Who was she?", "a nun")]
INSIDE = [Query("In which town is it?", "Rome"), Query("Was she a nun?", "yes")]
OUTSIDE = [Query("When did the long war end?", "in May"), Query("Who was he?", "a king")]
BLOCKS = (r"block_\d+/.*",)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    """A tiny random model that answers in words."""
    folder = tmp_path_factory.mktemp("llama")
    random_model("llama", folder)
    return models.load(str(folder))


class Case:
    def __init__(self, llama):
        self.model, self.base = llama
        encoder, encoder_params = models.load(str(MODELS / "distilbert-tiny-cased"), output="mean")
        self.encode = Encoder(
            self.model.tokenizer, encoder.tokenizer, (32,), (12,), template="turns", judged=True
        )
        self.judge = judge(Reader(self.model, self.encode.form.lead))
        networks = Networks(self.judge, encoder, Options(border=0.0))
        self.editor = adapter_serac(networks, encoder_params, (BLOCKS, BLOCKS), (4, 4))
        self.params = self.editor.init(jax.random.key(0), self.base)
        batch = self.encode(TextBatch(EDITS, INSIDE, [0, 1], OUTSIDE, [0, 1]))
        self.batch = jax.tree.map(jnp.asarray, batch)
        self.apply, self.route = jax.jit(self.editor.apply), jax.jit(self.editor.route)
        self.generate = jax.jit(self.editor.generate, static_argnums=3)
        self.start = jax.jit(self.editor.start)
        self.edit = jax.jit(self.editor.edit)

    def edited(self, params):
        return self.edit(params, self.start(params, self.base, self.batch.edits), self.batch.edits)


@pytest.fixture(scope="module")
def case(llama):
    return Case(llama)


@pytest.fixture(scope="module")
def trained(case):
    """Adapters that have learned the batch by heart."""
    optimizer, params = optax.adam(1e-2), case.params
    state = optimizer.init(params)
    groups = case.editor.groups(params)

    @jax.jit
    def step(params, state, batch):
        (loss, _), gradient = jax.value_and_grad(case.editor.loss, has_aux=True)(
            params, case.base, batch, None
        )
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optimizer.update(gradient, state)
        moved = jax.tree.map(
            lambda old, new, group: old + new if group == "weights" else old,
            params,
            updates,
            groups,
        )
        return moved, state, loss, gradient["encoder"]

    losses = []
    for _ in range(120):
        params, state, loss, frozen = step(params, state, case.batch)
        losses.append(float(loss))
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(frozen))
    return params, losses


def test_a_verdict_is_told_from_the_answers(case):
    pairs = pairs_of(case.batch)
    assert pairs.verdict.tolist() == [SAME, FOLLOWS, UNRELATED, UNRELATED]
    assert pairs.edit.tolist() == [0, 1, 0, 1]


def test_answers_agree_whatever_they_are_padded_to(case):
    edits = case.batch.edits
    wide = edits._replace(
        labels=jnp.pad(edits.labels, ((0, 0), (0, 3))),
        weight=jnp.pad(edits.weight, ((0, 0), (0, 3))),
    )
    assert answers_agree(edits, wide).all()
    other = wide._replace(labels=wide.labels[::-1], weight=wide.weight[::-1])
    assert not answers_agree(edits, other).any()


def test_new_adapters_change_nothing(case):
    """The base model's own weights answer a question that no edit is stored for."""
    start = case.start(case.params, case.base, case.batch.edits)
    logits = case.apply(case.params, start, case.batch.inside)
    alone = jax.jit(case.model.logits)(case.base, case.batch.inside)
    assert np.abs(logits - alone).max() < 1e-5 * np.abs(alone).max()


@pytest.mark.slow
def test_training_teaches_verdicts_and_answers(case, trained):
    params, losses = trained
    assert losses[-1] < 0.1 * losses[0]
    _, aux = jax.jit(case.editor.loss)(params, case.base, case.batch, None)
    for name in ("verdict_inside", "verdict_outside", "answer_accuracy"):
        score = aux.metrics[name]
        assert float((score.value * score.weight).sum()) == float(score.weight.sum())


def test_a_hit_gets_the_stored_answer_or_one_that_follows(case, trained):
    """Rows with and without the adapter are one batch; a miss is the base model's to the letter."""
    params, _ = trained
    edited = case.edited(params)
    found = case.route(params, edited, case.batch.inside)
    assert found.hit.tolist() == [True, True]
    assert found.index.tolist() == [0, 1]
    said = case.generate(params, edited, case.batch.inside, STEPS)
    assert [case.encode.words(row) for row in np.asarray(said)] == ["Rome", "yes"]

    missed = ~np.asarray(case.route(params, edited, case.batch.outside).hit)
    assert missed.any()
    said = case.generate(params, edited, case.batch.outside, STEPS)
    read = case.batch.outside.inputs
    alone = jax.jit(lambda base: generate(case.model, base, read, steps=STEPS))(case.base)
    assert said[missed].tolist() == alone[missed].tolist()


def test_generate_is_the_argmax_of_apply(case, trained):
    params, _ = trained
    edited = case.edited(params)
    for queries in (case.batch.inside, case.batch.outside):
        said = case.generate(params, edited, queries, STEPS)
        chosen = case.apply(params, edited, queries._replace(labels=said)).argmax(-1)
        for row in range(2):
            length = int((said[row] != 0).sum())
            assert said[row, :length].tolist() == chosen[row, :length].tolist()


def test_own_words_are_answered_whatever_the_models_say(case):
    """Of an adapter that has learned nothing, too: exact words route with score 1."""
    edited = case.edited(case.params)
    queries = case.batch.edits._replace(
        scope=Tokens(jnp.zeros_like(case.batch.inside.scope.ids), case.batch.inside.scope.mask)
    )
    found = case.route(case.params, edited, queries)
    assert found.hit.tolist() == [True, True]
    said = case.generate(case.params, edited, queries, STEPS)
    assert [case.encode.words(row) for row in np.asarray(said)] == ["Rome", "a nun"]
