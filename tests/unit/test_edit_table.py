"""The edit table: order, padding, capacity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from serac_jax.core.batch import Examples, Tokens
from serac_jax.editors import edit_table
from serac_jax.editors.protocol import Thresholds


def edits(values, weight=None, width=3):
    """One-token edits labelled by their values."""
    ids = jnp.tile(jnp.asarray(values, jnp.int32)[:, None], (1, width))
    tokens = Tokens(ids, jnp.ones(ids.shape, bool))
    weight = jnp.ones(len(values)) if weight is None else jnp.asarray(weight, jnp.float32)
    return Examples(tokens, tokens, tokens, ids[:, :1], weight[:, None])


def keys(values):
    return jnp.asarray(values, jnp.float32)[:, None]


def test_edits_are_stored_in_order_and_padding_is_skipped():
    store = edit_table.empty(4, keys([0]), edits([0]))
    store = edit_table.write(store, keys([7, 8, 9]), edits([7, 8, 9], weight=[1, 0, 1]))
    store = edit_table.write(store, keys([5]), edits([5]))
    assert store.live.tolist() == [True, True, True, False]
    assert store.edits.labels[:, 0].tolist() == [7, 9, 5, 0]
    assert store.keys[:, 0].tolist() == [7, 9, 5, 0]
    assert int(store.count) == 3


def test_writing_at_once_equals_writing_in_turn():
    together = edit_table.write(
        edit_table.empty(4, keys([0]), edits([0])), keys([1, 2, 3]), edits([1, 2, 3])
    )
    apart = edit_table.empty(4, keys([0]), edits([0]))
    for value in (1, 2, 3):
        apart = edit_table.write(apart, keys([value]), edits([value]))
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), together, apart))


def test_narrower_edits_fit_wider_slots():
    store = edit_table.write(
        edit_table.empty(2, keys([0]), edits([0], width=5)), keys([1]), edits([1], width=2)
    )
    assert store.edits.inputs.ids[0].tolist() == [1, 1, 0, 0, 0]
    assert store.edits.inputs.mask[0].tolist() == [True, True, False, False, False]


def test_a_full_table_refuses_and_names_its_capacity():
    store = edit_table.write(edit_table.empty(2, keys([0]), edits([0])), keys([1]), edits([1]))
    with pytest.raises(edit_table.TableFull, match="3 edits do not fit in a table of capacity 2"):
        edit_table.write(store, keys([2, 3]), edits([2, 3]))
    traced = jax.jit(edit_table.write)(store, keys([2, 3]), edits([2, 3]))
    assert traced.edits.labels[:, 0].tolist() == [1, 2]  # nothing that was stored is lost
    with pytest.raises(edit_table.TableFull, match="capacity 2"):
        edit_table.require_room(traced)


def test_wider_edits_are_refused():
    with pytest.raises(ValueError, match="5 wide"):
        edit_table.write(edit_table.empty(2, keys([0]), edits([0])), keys([1]), edits([1], width=5))


def route(store, queries, similarities, threshold=0.5, exact_match=True):
    thresholds = Thresholds(threshold, threshold)
    return edit_table.route(store, queries, jnp.log(similarities), thresholds, exact_match)


def asking(words):
    """Edits or queries whose words have these fingerprints; 0: unknown."""
    pairs = jnp.asarray(words, jnp.int32)[:, None] * jnp.ones((1, 2), jnp.int32)
    return edits([1] * len(words))._replace(words=pairs)


def filled(words, capacity=4):
    rows = asking(words)
    empty = edit_table.empty(capacity, keys([0]), rows)
    return edit_table.write(empty, keys(words), rows)


def test_only_live_slots_are_routed_to():
    store = edit_table.write(
        edit_table.empty(3, keys([0]), edits([0])), keys([1, 2]), edits([1, 2])
    )
    similarities = jnp.array([[0.2, 0.4, 1.0], [0.6, 0.1, 1.0]])
    found = route(store, edits([0, 0]), similarities)
    assert found.index.tolist() == [1, 0]
    np.testing.assert_allclose(jnp.exp(found.log_similarity), [0.4, 0.6], rtol=1e-6)
    assert found.hit.tolist() == [False, True]
    nothing = route(edit_table.empty(3, keys([0]), edits([0])), edits([0]), jnp.ones((1, 3)))
    assert np.isneginf(nothing.log_similarity[0])
    assert not nothing.hit[0]


def test_the_editors_own_threshold_decides():
    similarities = jnp.array([[0.7, 0.1, 0.1, 0.1]])
    for threshold, hit in ((0.5, True), (0.69, True), (0.71, False)):
        assert route(filled([1, 2]), asking([3]), similarities, threshold).hit.tolist() == [hit]


def test_an_edit_of_the_same_words_comes_before_all_others_with_similarity_1():
    """Though others are as similar by the classifier, and it is not; of two of them, the newest."""
    similarities = jnp.array([[1.0, 0.0, 1.0, 0.0]])
    for asked, index in ((7, 1), (5, 3)):
        found = route(filled([5, 7, 6, 5]), asking([asked]), similarities)
        assert found.index.tolist() == [index]
        assert found.log_similarity.tolist() == [0.0]
        assert found.hit.tolist() == [True]
    unused = route(filled([5, 7]), asking([7]), similarities / 2, exact_match=False)
    assert (unused.index.tolist(), unused.hit.tolist()) == ([0], [False])


def test_unknown_words_equal_nothing_not_even_each_other():
    similarities = jnp.array([[0.1, 0.4, 0.1, 0.1]])
    found = route(filled([0, 7]), asking([0]), similarities)
    assert (found.index.tolist(), found.hit.tolist()) == ([1], [False])
    found = route(filled([7, 7]), edits([1]), similarities)
    assert (found.index.tolist(), found.hit.tolist()) == ([1], [False])
    found = route(filled([7, 7, 7]), asking([9]), similarities)  # the empty slot is not a fourth
    assert found.index.tolist() == [1]
