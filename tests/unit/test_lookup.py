"""The lookup cache: nearness of keys decides; a hit answers with the stored label."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from serac_jax import models
from serac_jax.core.batch import Tokens, take
from serac_jax.editors.lookup.lookup_editor import Options, lookup
from tests.conftest import MODELS
from tests.examples import EDITS, examples


@pytest.fixture(scope="module")
def base():
    return models.load(str(MODELS / "t5-tiny"))


def compiled(editor):
    return editor._replace(
        edit=jax.jit(editor.edit), apply=jax.jit(editor.apply), route=jax.jit(editor.route)
    )


def edited(base, **options):
    editor = compiled(lookup(base[0], Options(**options)))
    return editor, editor.edit({}, editor.start({}, base[1], EDITS), EDITS)


def test_a_query_near_an_edit_gets_its_answer_and_any_other_the_base_models(base):
    model, params = base
    editor, memory = edited(base, threshold=1e-3, onehot_logit=5.0)
    queries = examples([[21, 22, 1], [31, 32, 33, 1]], [[9, 1], [4, 1]])
    logits = editor.apply({}, memory, queries)
    assert np.array_equal(logits[0], 5 * jax.nn.one_hot(jnp.array([9, 1]), logits.shape[-1]))
    assert np.array_equal(logits[1], jax.jit(model.logits)(params, queries)[1])
    answers = editor.generate({}, memory, queries, 4)
    assert answers[0].tolist() == [9, 1, 0, 0]
    assert editor.route({}, memory, queries).index[0] == 1


def test_similarity_is_one_half_at_the_threshold(base):
    model, params = base
    query = take(EDITS, jnp.array([0]))
    _, memory = edited(base)
    distance = float(jnp.linalg.norm(memory.table.keys[0] - memory.table.keys[1]))
    only = jax.tree.map(lambda leaf: leaf[1:], EDITS)
    for threshold, hit in ((distance * 1.001, True), (distance * 0.999, False)):
        editor = compiled(lookup(model, Options(threshold=threshold)))
        store = editor.edit({}, editor.start({}, params, only), only)
        similarity = float(jnp.exp(editor.route({}, store, query).log_similarity[0]))
        assert similarity == pytest.approx(0.5, rel=1e-2)
        assert bool(editor.route({}, store, query).hit[0]) is hit


@pytest.mark.parametrize(("mask_keys", "same"), [(True, True), (False, False)])
def test_keys_average_real_tokens_unless_told_otherwise(base, mask_keys, same):
    editor, memory = edited(base, mask_keys=mask_keys)
    wide = EDITS._replace(
        inputs=Tokens(*(jnp.pad(leaf, ((0, 0), (0, 3))) for leaf in EDITS.inputs[:2]))
    )
    again = editor.edit({}, editor.start({}, base[1], wide), wide)
    assert bool(jnp.allclose(again.table.keys, memory.table.keys, rtol=1e-5, atol=1e-5)) is same
