"""The edit memory: order, padding, capacity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from serac_jax.core.batch import Examples, Tokens
from serac_jax.editors import edit_table


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


def test_a_full_memory_refuses_and_names_its_capacity():
    store = edit_table.write(edit_table.empty(2, keys([0]), edits([0])), keys([1]), edits([1]))
    with pytest.raises(edit_table.TableFull, match="3 edits do not fit in a memory of capacity 2"):
        edit_table.write(store, keys([2, 3]), edits([2, 3]))
    traced = jax.jit(edit_table.write)(store, keys([2, 3]), edits([2, 3]))
    assert traced.edits.labels[:, 0].tolist() == [1, 2]  # nothing that was stored is lost
    with pytest.raises(edit_table.TableFull, match="capacity 2"):
        edit_table.require_room(traced)


def test_wider_edits_are_refused():
    with pytest.raises(ValueError, match="5 wide"):
        edit_table.write(edit_table.empty(2, keys([0]), edits([0])), keys([1]), edits([1], width=5))


def test_nearest_sees_only_live_slots():
    store = edit_table.write(
        edit_table.empty(3, keys([0]), edits([0])), keys([1, 2]), edits([1, 2])
    )
    index, similarity = edit_table.nearest(store, jnp.array([[-2.0, -1.0, 0.0], [-0.5, -3.0, 0.0]]))
    assert index.tolist() == [1, 0]
    assert similarity.tolist() == [-1.0, -0.5]
    _, nothing = edit_table.nearest(edit_table.empty(3, keys([0]), edits([0])), jnp.zeros((1, 3)))
    assert np.isneginf(nothing[0])
