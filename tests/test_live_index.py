"""The index of keys: exact, whatever the distance, for every reader, and compiled at every doubling only."""

import jax.numpy as jnp
import numpy as np
import pytest

from serac_jax.editors.scope import Distance, log_similarity
from serac_jax.live.index import FEWEST, BlockedIndex
from serac_jax.live.tags import TagTable, visible
from tests.test_live import traced


def test_bits_agree_with_what_they_stand_for():
    rng, table = np.random.default_rng(0), TagTable()
    names = [f"t{number}" for number in range(70)]
    edits = [tuple(rng.choice(names, rng.integers(0, 4), replace=False)) for _ in range(200)]
    table.of_edits(edits)
    queries = [None, (), *(tuple(rng.choice([*names, "unknown"], rng.integers(1, 4), replace=False)) for _ in range(20))]
    stored, seen = table.of_edits(edits), table.of_queries(queries)
    assert stored.shape[1] == 4
    found = (stored[None] & seen[:, None]).any(-1)
    assert found.tolist() == [[visible(edit, query) for edit in edits] for query in queries]


@pytest.mark.parametrize("distance", [Distance(), Distance(square=False), Distance(cosine=True), Distance(heads=4), Distance(cosine=True, heads=2)])
def test_the_index_finds_what_comparing_all_finds(distance, monkeypatch):
    monkeypatch.setattr("serac_jax.live.index.BLOCK", 128)
    rng = np.random.default_rng(0)
    keys, queries = rng.normal(size=(300, 16)).astype(np.float32), rng.normal(size=(8, 16)).astype(np.float32)
    bits = rng.integers(1, 4, size=(300, 1)).astype(np.uint32)
    index = BlockedIndex(16, distance)
    for start in range(0, 300, 50):
        slots = np.append(np.arange(start, start + 50), [-1] * 14)
        index.put(slots, jnp.asarray(np.resize(keys[start : start + 50], (64, 16))), np.resize(bits[start : start + 50], (64, 1)))
    index.drop(np.array([3, 5, 250]))
    seen = np.array([[1], [2]] * 4, np.uint32)
    slots, scores = index.search(jnp.asarray(queries), seen, 4)
    everything = np.array(log_similarity(jnp.asarray(keys)[None], jnp.asarray(queries)[:, None], distance))
    everything[(bits.T & seen) == 0] = -np.inf
    everything[:, [3, 5, 250]] = -np.inf
    order = np.argsort(-everything, 1, kind="stable")[:, :4]
    np.testing.assert_array_equal(slots, order)
    np.testing.assert_allclose(scores, np.take_along_axis(everything, order, 1), rtol=1e-6)
    assert index.search(jnp.asarray(queries), np.zeros((8, 1), np.uint32), 4)[1].max() == -np.inf


def test_streaming_inserts_compile_at_every_doubling_only():
    index, rng = BlockedIndex(8, Distance()), np.random.default_rng(0)
    keys = jnp.asarray(rng.normal(size=(1, 8)), jnp.float32)
    with traced() as events:
        for slot in range(9 * FEWEST):
            index.put(np.array([slot]), keys, np.ones((1, 1), np.uint32))
    compiled = events.count("/jax/core/compile/backend_compile_duration")
    assert index.capacity == 16 * FEWEST
    assert 0 < compiled <= 5 * (1 + 3)  # for each capacity one program that writes, and three that make room
