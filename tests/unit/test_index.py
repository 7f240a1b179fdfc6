"""The index of keys and its cache on disk: it finds what comparing all finds, on one device or
eight, and trusts no byte that was changed."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from serac_jax.core.errors import UserError
from serac_jax.editors.serac import scope as scopes
from serac_jax.edits.disk import journal_of
from serac_jax.edits.store import Store
from serac_jax.index import device_search
from serac_jax.index.blocked import FEWEST, BlockedIndex
from serac_jax.index.distance import SQUARED, Distance, log_similarity
from serac_jax.index.key_cache import HEADER, KeyCache
from serac_jax.index.tags import TagTable, visible
from serac_jax.serving import classifiers, loading
from tests.facts import traced
from tests.tiers import fast

COMPILED = "/jax/core/compile/backend_compile_duration"
KINDS = {
    "few": {},
    "one": {"few": 0},
    "sharded": {"devices": 8},
    "bfloat16": {"keys": "bfloat16"},
    "int8, sharded": {"keys": "int8", "devices": 8},
}


def build(width, distance=SQUARED, devices=1, few=None, **options):
    """few: scores that are left to NumPy at most, if not as many as usual."""
    index = BlockedIndex(width, distance, devices=jax.devices()[:devices], **options)
    index.block, index.few = 128, index.few if few is None else few
    return index


def test_the_cosine_distance_is_that_of_vectors_of_any_length():
    a, b = np.random.default_rng(0).normal(size=(2, 20, 8)).astype(np.float32) * 3
    cosine = [x @ y / np.sqrt(x @ x * (y @ y)) for x, y in zip(a, b, strict=True)]
    found = log_similarity(a, b, Distance(cosine=True), np)
    np.testing.assert_allclose(found, np.array(cosine) - 1, atol=1e-6)


def everything(keys, queries, bits, seen, distance):
    """Log-similarities by comparing all, −∞ where a query does not see a key."""
    found = np.array(
        log_similarity(jnp.asarray(keys)[None], jnp.asarray(queries)[:, None], distance)
    )
    found[(bits.T & seen) == 0] = -np.inf
    return found


@pytest.mark.parametrize(
    "distance",
    [
        Distance(),
        Distance(square=False),
        Distance(cosine=True),
        Distance(heads=4),
        Distance(cosine=True, heads=2),
    ],
)
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_index_finds_what_comparing_all_finds(distance, kind):
    rng = np.random.default_rng(0)
    keys, queries = (
        rng.normal(size=(300, 16)).astype(np.float32),
        rng.normal(size=(8, 16)).astype(np.float32),
    )
    bits = rng.integers(1, 4, size=(300, 1)).astype(np.uint32)
    index = build(16, distance, **kind)
    for start in range(0, 300, 50):
        slots = np.append(np.arange(start, start + 50), [-1] * 14)
        index.put(
            slots,
            jnp.asarray(np.resize(keys[start : start + 50], (64, 16))),
            np.resize(bits[start : start + 50], (64, 1)),
        )
    index.drop(np.array([3, 5, 250]))
    bits[[3, 5, 250]] = 0
    seen = np.array([[1], [2]] * 4, np.uint32)
    slots, scores = index.search(jnp.asarray(queries), seen, 4)
    expected = everything(keys, queries, bits, seen, distance)
    order = np.argsort(-expected, 1, kind="stable")[:, :4]
    np.testing.assert_array_equal(slots, order)
    np.testing.assert_allclose(scores, np.take_along_axis(expected, order, 1), rtol=1e-6)
    assert index.search(jnp.asarray(queries), np.zeros((8, 1), np.uint32), 4)[1].max() == -np.inf


def test_slots_are_used_again_and_eight_devices_equal_one():
    """Random inserts, removals and new words of tags, in both at once, beside a plain table."""
    rng = np.random.default_rng(1)
    one, eight = build(8), build(8, devices=8)
    keys, bits = np.zeros((6000, 8), np.float32), np.zeros((6000, 2), np.uint32)
    queries = rng.normal(size=(4, 8)).astype(np.float32)
    seen = np.array([[1, 0], [2, 0], [0, 1], [3, 1]], np.uint32)
    for step in range(12):
        slots = rng.permutation(500 * (step + 1))[
            :256
        ]  # new slots, and some that were filled or emptied before
        words = 1 if step < 3 else 2
        keys[slots], bits[slots, :words] = (
            rng.normal(size=(256, 8)),
            rng.integers(0, 4, size=(256, words)),
        )
        gone = rng.permutation(6000)[:32]
        bits[gone] = 0
        for index in (one, eight):
            index.put(slots, jnp.asarray(keys[slots]), bits[slots, :words])
            index.drop(gone[gone < index.capacity])
        found = [index.search(jnp.asarray(queries), seen, 8) for index in (one, eight)]
        expected = everything(keys, queries, bits[:, :1], seen[:, :1], Distance())
        expected = np.maximum(
            expected, everything(keys, queries, bits[:, 1:], seen[:, 1:], Distance())
        )
        best = np.sort(expected, 1)[:, ::-1][:, :8]
        for slots_found, scores in found:
            np.testing.assert_allclose(scores, best, rtol=1e-6)
            there = scores > -np.inf
            np.testing.assert_allclose(
                np.take_along_axis(expected, slots_found, 1)[there], scores[there], rtol=1e-6
            )
    assert len(eight.stored.keys.sharding.device_set) == 8
    assert {shard.data.shape[0] for shard in eight.stored.keys.addressable_shards} == {
        eight.capacity // 8
    }


@pytest.mark.parametrize(
    ("kind", "rounding", "times"), [("bfloat16", 2.0**-9, 2), ("int8", 3 / 254, 4)]
)
def test_rounded_keys_find_the_same_best_edits(kind, rounding, times):
    """Among 20,000 keys each of whose 8 nearest are within the rounding, of a value of the size 1,
    of one another's distance to the query."""
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(2500, 32))
    keys = (
        (centres[:, None] * (1 + rounding * rng.normal(size=(2500, 8, 32))))
        .reshape(-1, 32)
        .astype(np.float32)
    )
    exact, rounded = build(32), build(32, keys=kind)
    for index in (exact, rounded):
        index.block = 1024
        for start in range(0, 20_000, 1000):
            slots = np.append(np.arange(start, start + 1000), [-1] * 24)
            index.put(
                slots,
                jnp.asarray(np.resize(keys[start : start + 1000], (1024, 32))),
                np.ones((1024, 1), np.uint32),
            )
    queries = jnp.asarray(
        keys[rng.permutation(20_000)[:64]] + rounding / 4 * rng.normal(size=(64, 32)), jnp.float32
    )
    found, again = (
        index.search(queries, np.ones((64, 1), np.uint32), 8) for index in (exact, rounded)
    )
    np.testing.assert_array_equal(found[0], again[0])
    np.testing.assert_allclose(found[1], again[1], rtol=1e-6)
    assert rounded.stored.keys.nbytes * times == exact.stored.keys.nbytes


def test_keys_are_kept_in_known_ways():
    with pytest.raises(
        UserError, match="keys='int4' is not known; there are float32, bfloat16, int8"
    ):
        BlockedIndex(8, SQUARED, "int4")
    zeros = build(8, keys="int8")  # a row of zeros has no largest number to divide by
    zeros.put(np.array([0]), jnp.zeros((1, 8)), np.ones((1, 1), np.uint32))
    assert zeros.search(jnp.zeros((1, 8)), np.ones((1, 1), np.uint32), 1)[1].item() == 0


@pytest.mark.parametrize("distinct", [10, 10**9], ids=["ties", "no ties"])
def test_the_largest_are_those_of_a_sort(distinct):
    rng = np.random.default_rng(6)
    scores = rng.integers(distinct, size=(5, 4 * device_search.COLUMNS)).astype(np.float32)
    scores[1] = -np.inf
    scores[2, 7:] = -np.inf
    found, at = device_search.largest(jnp.asarray(scores), 16)
    np.testing.assert_array_equal(found, -np.sort(-scores, 1)[:, :16])
    np.testing.assert_array_equal(np.take_along_axis(scores, np.asarray(at), 1), found)
    assert all(len(set(row)) == 16 for row in np.asarray(at).tolist())


def test_many_queries_are_searched_in_turns(monkeypatch):
    rng = np.random.default_rng(7)
    index = build(8)
    index.put(
        np.arange(256),
        jnp.asarray(rng.normal(size=(256, 8)), jnp.float32),
        np.ones((256, 1), np.uint32),
    )
    queries, seen = jnp.asarray(rng.normal(size=(16, 8)), jnp.float32), np.ones((16, 1), np.uint32)
    together = index.search(queries, seen, 4)
    monkeypatch.setattr("serac_jax.index.blocked.SCORES", 4 * index.capacity)
    for one, other in zip(together, index.search(queries, seen, 4), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("devices", fast([1, 8], [1]))
def test_streaming_inserts_compile_at_every_doubling_only(devices):
    index, keys = (
        build(12, devices=devices),
        jnp.ones((1, 12), jnp.float32),
    )  # no other test's width, whose programs would be there
    index.put(np.array([0]), keys, np.ones((1, 1), np.uint32))
    first = index.capacity
    with traced() as events:
        for slot in range(1, 9 * FEWEST):
            index.put(np.array([slot]), keys, np.ones((1, 1), np.uint32))
    doublings = (index.capacity // first).bit_length() - 1
    assert index.capacity == max(16 * FEWEST, first * 2)
    assert events.count(COMPILED) == 2 * doublings  # one program makes room, one writes


@pytest.mark.parametrize("devices", [1, 8])
def test_an_index_grows_at_most_log2_times_and_holds_what_it_held(devices):
    index, keys = build(1, devices=devices), jnp.arange(4.0)[:, None]
    index.put(np.arange(4), keys, np.ones((4, 1), np.uint32))
    growths = 0
    while index.capacity < 10**6:
        held, growths = index.capacity, growths + 1
        index.reserve(held + 1)
        assert held * 4 / 3 <= index.capacity <= held * 2
        assert growths <= np.log2(held + 1)
    assert index.search(keys, np.ones((4, 1), np.uint32), 1)[0].ravel().tolist() == [0, 1, 2, 3]
    index.reserve(10)
    assert index.capacity >= 10**6


def test_few_keys_are_seen_where_they_lie_and_written_in_place():
    index, keys = build(8), jnp.eye(8)
    index.put(np.arange(8), keys, np.ones((8, 1), np.uint32))
    place = index.stored.keys.unsafe_buffer_pointer()
    for turn in range(8):
        assert index.search(keys[turn : turn + 1], np.ones((1, 1), np.uint32), 1)[0].item() == turn
        assert index.views
        assert np.asarray(index.views.keys).ctypes.data == place
        index.drop(np.array([turn]))
        assert (
            index.search(keys[turn : turn + 1], np.ones((1, 1), np.uint32), 8)[1]
            .tolist()[0]
            .count(-np.inf)
            == turn + 1
        )
        index.put(np.array([turn + 100]), keys[turn : turn + 1], np.ones((1, 1), np.uint32))
        assert index.stored.keys.unsafe_buffer_pointer() == place
        index.drop(np.array([turn + 100]))


def test_bits_agree_with_what_they_stand_for():
    rng, table = np.random.default_rng(0), TagTable()
    names = [f"t{number}" for number in range(70)]
    edits = [tuple(rng.choice(names, rng.integers(0, 4), replace=False)) for _ in range(200)]
    table.of_edits(edits)
    queries = [
        None,
        (),
        *(
            tuple(rng.choice([*names, "unknown"], rng.integers(1, 4), replace=False))
            for _ in range(20)
        ),
    ]
    stored, seen = table.of_edits(edits), table.of_queries(queries)
    assert stored.shape[1] == 4
    found = (stored[None] & seen[:, None]).any(-1)
    assert found.tolist() == [[visible(edit, query) for edit in edits] for query in queries]


IDS = [f"{number:016x}" for number in range(2**60, 2**60 + 40)]
KEYS = np.random.default_rng(3).normal(size=(40, 5)).astype(np.float32)


@pytest.fixture
def kept(tmp_path):
    """A cache on disk with 40 keys."""
    cache = KeyCache(tmp_path / "keys" / "digest", 5)
    cache.append(IDS[:30], KEYS[:30])
    cache.append(IDS[30:], KEYS[30:])
    return cache


def known(cache, ids=IDS):
    found, keys = cache.read(ids)
    expected = KEYS[[IDS.index(name) for name in ids]]
    np.testing.assert_array_equal(
        keys[found], expected[found]
    )  # whatever happened to the file, what is given is right
    return found


def test_keys_are_kept_and_other_programs_see_them(kept):
    other = KeyCache(kept.file, 5)
    assert known(other, IDS[::-1]).all()
    assert not other.read(["f" * 16])[0].any()
    kept.append(["f" * 16], KEYS[:1])
    assert other.read(["f" * 16])[0].all()


def test_no_changed_byte_is_trusted(kept):
    data, rng = kept.file.read_bytes(), np.random.default_rng(4)
    size = kept.row.itemsize
    for at in rng.permutation(len(data))[:200].tolist():
        changed = bytearray(data)
        changed[at] ^= int(rng.integers(1, 256))
        kept.file.unlink(missing_ok=True)
        kept.file.write_bytes(changed)
        found = known(KeyCache(kept.file, 5))
        row = (at - HEADER) // size
        assert found.sum() == (0 if at < HEADER else 39)
        assert at < HEADER or not found[row]


def test_a_truncated_file_loses_what_was_cut_off_and_is_mended(kept):
    data, rng = kept.file.read_bytes(), np.random.default_rng(5)
    for size in [0, 1, HEADER - 1, HEADER, HEADER + 1, *rng.integers(len(data), size=40).tolist()]:
        kept.file.unlink()
        kept.file.write_bytes(data[:size])
        cache = KeyCache(kept.file, 5)
        rows = max(size - HEADER, 0) // kept.row.itemsize
        assert known(cache).sum() == rows
        lost = np.flatnonzero(~known(cache))
        cache.append([IDS[row] for row in lost], KEYS[lost])
        assert known(cache).all()
        assert known(KeyCache(kept.file, 5)).all()
        assert kept.file.stat().st_size == len(data)


def test_rows_of_zeros_and_foreign_files_are_not_trusted(kept):
    with kept.file.open("ab") as file:
        file.write(bytes(3 * kept.row.itemsize))
    cache = KeyCache(kept.file, 5)
    assert not cache.read(["0" * 16])[0].any()
    assert known(cache).all()
    assert not KeyCache(kept.file, 6).read(IDS)[0].any()
    kept.append(IDS, KEYS)
    assert known(kept).all()


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "keys").write_text("a file, not a folder")
    cache = KeyCache(tmp_path / "keys" / "digest", 5)
    cache.append(IDS, KEYS)
    assert not cache.read(IDS)[0].any()


@pytest.fixture(scope="module")
def loaded():
    return loading.load("mini", base=str.upper)


@pytest.mark.slow
def test_a_memory_opens_without_embedding_its_edits_again(loaded, tmp_path, monkeypatch):
    file, embedded = tmp_path / "edits.jsonl", []
    embed = classifiers.Embedder.edits

    def counted(self, edits):
        embedded.extend(edits)
        return embed(self, edits)

    monkeypatch.setattr(classifiers.Embedder, "edits", counted)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    editor = loaded.with_memory(Store.open(file, author="tester"))
    edits = editor.edit_many(
        [(f"Who wrote book {number}?", f"Author {number}") for number in range(300)], policy="keep"
    ).edits
    question = "Who is the writer of book 123?"
    before = editor.ask(question)
    assert len(embedded) == 300
    embedded.clear()

    def reopened():
        again = loaded.with_memory(Store.open(file)).ask(question)
        assert (again.edit_id, again.score, again.text) == (
            before.edit_id,
            before.score,
            before.text,
        )
        return [edit.id for edit in embedded]

    assert reopened() == []
    (cache,) = tmp_path.glob("cache/serac_jax/keys/edits.jsonl-*/*")
    assert sorted(tmp_path.glob("edits*")) == [file, journal_of(file)]
    data = bytearray(cache.read_bytes())
    data[HEADER + 7 * (len(data) - HEADER) // 300 + 50] ^= 1
    cache.write_bytes(data)
    assert reopened() == [edits[7].id]
    embedded.clear()
    assert reopened() == []
    cache.unlink()
    assert len(reopened()) == 300


def test_another_classifier_has_keys_of_its_own(loaded):
    embedder = loaded.matcher.embedder

    def digest(params, distance):
        scope = scopes.embedding(embedder.model, distance)
        texts = embedder.texts.encoder
        return classifiers.Embedder(scope, embedder.model, params, distance, texts).digest

    copied = jax.tree.map(lambda leaf: leaf, embedder.params)
    assert digest(copied, embedder.distance) == embedder.digest
    for params, distance in (
        (
            jax.tree.map(
                lambda leaf: jnp.nextafter(leaf, jnp.inf) if leaf.ndim == 1 else leaf,
                embedder.params,
            ),
            embedder.distance,
        ),
        (embedder.params, Distance(bounded=True)),
    ):
        assert digest(params, distance) != embedder.digest


def test_the_editor_takes_another_index(loaded):
    index = functools.partial(BlockedIndex, keys="int8", devices=jax.devices())
    editor = loading.EditorService(loaded.parts, Store.open(None), str.upper, index).with_memory(
        Store.open(None)
    )
    assert isinstance(editor.matcher.index, BlockedIndex)
    assert editor.matcher.index.mesh.size == 8
    edits = editor.edit_many(
        [(f"Who wrote book {number}?", f"Author {number}") for number in range(16)], policy="keep"
    ).edits
    other = loaded.with_memory(Store.open(None))
    other.edit_many(edits, policy="keep")
    questions = [edit.prompt for edit in edits]
    found = (enumerate(each.matcher.nearest(questions, [None] * 16)) for each in (editor, other))
    both = (
        [((row, near.edit.id), near.score) for row, nears in rows for near in nears]
        for rows in found
    )
    one, two = (dict(nears) for nears in both)
    assert one == pytest.approx(two, rel=1e-4)
