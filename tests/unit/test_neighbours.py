"""Hard negatives by embeddings: neighbours against brute force, what is kept on disk, and batches
that draw from them."""

import json
import multiprocessing
import shutil
from itertools import islice

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from serac_jax import models
from serac_jax.core.errors import UserError
from serac_jax.models import load_tokenizer
from serac_jax.tasks import neighbours, zsre
from serac_jax.tasks.archive import SHIPPED
from serac_jax.tasks.zsre import zsre_questions
from tests.conftest import ASSETS, MODELS
from tests.tiny import config_of, one_layer

TINY = str(MODELS / "mpnet-like-tiny")
TEXTS = [
    "where was Anna born?",
    "who is it?",
    "what is the name of the town that Boris and Clara come from?",
    "Oslo?",
    "who is it now?",
]
HARD = {
    "data.hard_negatives": one_layer("mpnet-like-tiny"),
    "data.hard_negative_neighbors": 12,
    "data.hard_negative_exclude": 2,
}


def find(cache, edits=TEXTS, pool=TEXTS, name=TINY, **changes):
    return neighbours.find(
        name,
        edits,
        pool,
        **{"count": 4, "exclude": 1, "temperature": 0.1, "cache": cache} | changes,
    )


def test_neighbours_are_those_of_brute_force(monkeypatch):
    rng = np.random.default_rng(0)
    edits, pool = (rng.normal(size=(rows, 8)).astype(np.float32) for rows in (23, 40))
    cosines = edits @ pool.T
    monkeypatch.setattr(neighbours, "BLOCK", 200)  # five edits at a time, the last block padded
    found = neighbours.nearest(edits, pool, 6)
    assert np.array_equal(found["index"], np.argsort(-cosines, axis=-1)[:, :6])
    np.testing.assert_allclose(found["similarity"], -np.sort(-cosines, axis=-1)[:, :6], rtol=1e-5)


def test_an_embedding_does_not_depend_on_the_texts_beside_it(monkeypatch):
    together = neighbours.embed(TINY, TEXTS)
    np.testing.assert_allclose(np.linalg.norm(together, axis=-1), 1, rtol=1e-6)
    monkeypatch.setattr(neighbours, "BATCH", 2)
    np.testing.assert_allclose(
        np.concatenate([neighbours.embed(TINY, [text]) for text in TEXTS]), together, atol=1e-6
    )
    np.testing.assert_allclose(neighbours.embed(TINY, TEXTS), together, atol=1e-6)


def test_a_nearer_question_is_likelier_and_the_nearest_are_left_out(tmp_path):
    index, chances = find(tmp_path).of(0)
    cosines = neighbours.embed(TINY, TEXTS) @ neighbours.embed(TINY, TEXTS)[0]
    expected = np.argsort(-cosines)[1:4]
    assert index.tolist() == expected.tolist()
    np.testing.assert_allclose(
        chances, np.exp(cosines[expected] / 0.1) / np.exp(cosines[expected] / 0.1).sum(), rtol=1e-4
    )


def test_neighbours_are_computed_once_for_the_same_weights_and_texts(tmp_path, monkeypatch):
    first = find(tmp_path)
    changed = shutil.copytree(TINY, tmp_path / "changed")
    tensors = load_file(changed / "model.safetensors")
    key = "embeddings.word_embeddings.weight"
    save_file(
        tensors | {key: tensors[key][::-1].copy()},
        changed / "model.safetensors",
        metadata={"format": "pt"},
    )
    others = [
        find(tmp_path, pool=[*TEXTS, "new?"]),
        find(tmp_path, count=3),
        find(tmp_path, name=str(changed)),
    ]
    assert len({table.file for table in [first, *others]}) == 4
    monkeypatch.setattr(neighbours, "embed", None)
    assert (
        find(tmp_path, name=shutil.copytree(TINY, tmp_path / "copy").as_posix()).file == first.file
    )
    assert (
        find(tmp_path, exclude=2, temperature=0.2).file == first.file
    )  # chosen when a question is drawn


def write_slowly(file, started):
    def compute():
        started.set()
        return np.zeros(1 << 22)

    while True:
        neighbours.cached_array(file, compute)
        file.unlink()


@pytest.mark.slow
def test_a_killed_writer_leaves_nothing_half_written(tmp_path):
    file, started = tmp_path / "table.npy", multiprocessing.get_context("spawn").Event()
    writer = multiprocessing.get_context("spawn").Process(target=write_slowly, args=(file, started))
    writer.start()
    started.wait()
    writer.join(0.1)
    writer.kill()
    writer.join()
    file.unlink(missing_ok=True)
    assert neighbours.memory_mapped(
        neighbours.cached_array(file, lambda: np.arange(3))
    ).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "fields", [{"exclude": 4}, {"exclude": 5, "count": 100}, {"temperature": 0.0}, {"exclude": -1}]
)
def test_settings_that_leave_no_negative_are_named(tmp_path, fields):
    with pytest.raises(UserError, match=r"data.hard_negative_exclude=.* leaves none"):
        find(tmp_path, **fields)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    base, scope = (load_tokenizer(ASSETS / "models" / name) for name in ("base", "scope"))
    fields = {
        "data.implications": True,
        "data.yes_no": True,
        "data.hard_negative_rate": 0.5,
        **HARD,
    }
    return lambda **changes: zsre.build(
        config_of(**fields | changes), base, scope, tmp_path_factory.getbasetemp() / "cache"
    )


def test_the_pool_has_one_form_of_every_row_and_is_always_the_same(tmp_path):
    rows, pool = zsre_questions.open_rows(
        SHIPPED, tmp_path, "dev", zsre_questions.Options(implications=True, yes_no=True)
    )
    queries = [pool[i] for i in range(len(pool))]
    assert [query.source for query in queries] == [rows[i].source for i in range(len(rows))]
    assert queries == [pool[i] for i in range(len(pool))]
    main = sum(query.question == rows[i].question for i, query in enumerate(queries))
    yes_no = sum(query.answer == "True" for query in queries)
    assert all(0.15 * len(rows) < kind < 0.4 * len(rows) for kind in (main, yes_no))


@pytest.mark.slow
def test_half_of_the_training_batches_are_hard_and_a_function_of_the_step(task):
    batches, again = (iter(task().batches("dev", 4, True)) for _ in range(2))
    run = list(islice(batches, 40))
    kinds = [kind.name for kind in task().kinds]
    drawn = [{kinds[number] for number in batch.outside_kind} for batch in run]
    assert all(found in ({"near"}, {"unrelated"}) for found in drawn)  # a whole batch or nothing
    hard = [found == {"near"} for found in drawn]
    assert 8 <= sum(hard) <= 32
    for batch, other in zip(run, again, strict=False):
        assert all(
            np.array_equal(x, y)
            for x, y in zip(jax.tree.leaves(batch), jax.tree.leaves(other), strict=True)
        )
    helped = iter(task(**{"data.workers": 1}).batches("dev", 4, True))
    assert np.array_equal(next(helped).outside.inputs.ids, run[0].outside.inputs.ids)


def test_hard_negatives_are_near_their_edit_and_outside_the_scope_of_every_edit(task):
    rows = [
        json.loads(line)
        for line in (
            (SHIPPED / "zsre/structured_zeroshot-dev-new_annotated_final.jsonl")
            .read_text()
            .splitlines()
        )
    ]
    forms = {row["input"]: {row["input"], *row["filtered_rephrases"]} for row in rows}
    tokenizer = load_tokenizer(ASSETS / "models" / "base")
    for batch in task().batches("dev", 50, False):
        edited, asked = (
            tokenizer.batch_decode(side.inputs.ids, skip_special_tokens=True)
            for side in (batch.edits, batch.outside)
        )
        assert batch.outside.rows[50:].sum() == batch.edits.rows.sum()
        assert not set().union(*(forms[text] for text in edited if text)) & set(asked)
        vectors = [
            neighbours.embed(HARD["data.hard_negatives"], texts) for texts in (edited, asked)
        ]
        real = batch.edits.rows > 0
        easy, hard = (
            (vectors[0] * vectors[1][half]).sum(-1)[real].mean()
            for half in (slice(0, 50), slice(50, 100))
        )
        assert hard > easy


def test_nothing_is_embedded_where_hard_negatives_are_not_asked_for(task, monkeypatch):
    monkeypatch.setattr(models, "load", None)
    next(iter(task(**{"data.hard_negatives": ""}).batches("dev", 4, True)))
