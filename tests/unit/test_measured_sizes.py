"""Measured sizes: the same for every process of a run, and kept with it."""

import itertools
import json

import jax
import numpy as np
import pytest

from serac_jax.core.batch import packed
from serac_jax.models import load_tokenizer
from serac_jax.presets import preset
from serac_jax.tasks import measured_sizes, zsre
from serac_jax.tasks.measured_sizes import with_measured_sizes
from serac_jax.text.encoder import RARE_FILLS, Encoder
from serac_jax.text.queries import Query, TextBatch
from serac_jax.text.sizes import choose
from serac_jax.training.earlier_configs import upgraded
from tests.conftest import ASSETS


@pytest.fixture
def config(monkeypatch):
    monkeypatch.setattr(measured_sizes, "SAMPLE", 24)
    config = preset("zsre_rep:mini")
    config.data.sizes = 3
    return config


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def task_of(config, cache):
    tokenizers = [load_tokenizer(ASSETS / "models" / name) for name in ("base", "scope")]
    return zsre.build(config, *tokenizers, cache)


def drawn(config, cache, run=None, count=24):
    task = with_measured_sizes(task_of(config, cache), config, cache, run)
    return list(itertools.islice(task.batches("train", 4, True), count))


def equal(one, other):
    same = jax.tree.map(np.array_equal, one, other)
    return one.layout == other.layout and all(jax.tree.leaves(same))


def test_batches_are_those_of_the_task_with_less_padding(config, cache):
    plain = list(itertools.islice(task_of(config, cache).batches("train", 4, True), 24))
    found = drawn(config, cache)
    for wide, narrow in zip(plain, found, strict=True):
        width = narrow.edits.inputs.ids.shape[1]
        assert width <= wide.edits.inputs.ids.shape[1]
        assert (wide.edits.inputs.ids[:, :width] == narrow.edits.inputs.ids).all()
        assert not wide.edits.inputs.mask[:, width:].any()
    assert len({(batch.layout, batch.inside.labels.shape) for batch in found}) <= 3
    assert max(batch.edits.inputs.ids.shape[1] for batch in found) < 40


@pytest.mark.slow
def test_another_process_and_another_cache_find_the_same_sizes(config, cache, tmp_path):
    first, second = drawn(config, cache), drawn(config, tmp_path / "another")
    assert all(map(equal, first, second))


def test_a_run_goes_on_with_its_sizes_whatever_is_measured_now(
    config, cache, tmp_path, monkeypatch
):
    first = drawn(config, cache, tmp_path)
    kept = json.loads((tmp_path / "sizes.json").read_text())
    assert list(kept) == ["train train, 4 edits"]
    monkeypatch.setattr(measured_sizes, "measure", lambda *arguments: 1 / 0)
    assert all(map(equal, first, drawn(config, tmp_path / "another", tmp_path)))
    with pytest.raises(ZeroDivisionError):
        drawn(config, tmp_path / "another")


def test_sizes_are_measured_once_for_a_stream(config, cache, monkeypatch):
    first = drawn(config, cache)
    monkeypatch.setattr(measured_sizes, "measure", lambda *arguments: 1 / 0)
    assert all(map(equal, first, drawn(config, cache)))
    config.seed = 1  # other batches
    with pytest.raises(ZeroDivisionError):
        drawn(config, cache)


def test_one_size_is_as_wide_as_the_limits(config, cache):
    config.data.sizes = 1
    (batch,) = drawn(config, cache, count=1)
    assert batch.edits.inputs.ids.shape == (4, 40)
    assert batch.edits.prefix.ids.shape == (4, 56)
    assert batch.inside.labels.shape == (4, 16)
    assert batch.layout.context is None


def test_one_long_text_among_short_ones_takes_little_memory():
    """A batch that no measured size holds is as wide as the limits, but its padding is not
    computed."""
    base = load_tokenizer(ASSETS / "models" / "base")
    encode = Encoder(base, None, (64,), (16,))
    short = Query("Who wrote Emma?", "Jane Austen")
    long = Query("Who wrote it " * 12 + "?", "Jane Austen")

    def batch(questions):
        every = list(range(len(questions)))
        return TextBatch([short] * len(questions), questions, every, [short], [0])

    usual = batch([short] * 16)
    encode = encode.with_sizes(choose([encode.lengths(usual)], 1, encode.limits))
    measured, rare = encode(usual), encode(batch([long, *[short] * 15]))
    assert rare.inside.inputs.ids.shape == (16, 64) > measured.inside.inputs.ids.shape
    assert rare.layout.text_fill == RARE_FILLS[0]
    tokens = packed(rare.inside.inputs, rare.layout.text_fill)
    assert tokens.real.shape == (RARE_FILLS[0] * 16 * 64,)
    assert set(tokens.real.tolist()) >= set(np.flatnonzero(tokens.mask).tolist())
    assert encode(batch([long] * 16)).layout.text_fill is None


def test_configs_of_version_0_2_open():
    """Its sentiment experiment and its small zsRE one."""
    full = {
        "text_widths": [16, 16, 24, 32, 96],
        "label_widths": [24, 32, 32, 64, 96],
        "query_widths": [],
        "edit_label_widths": [8],
        "context_widths": [32, 40, 48, 64, 200],
        "text_fill": [0.8, 0.78, 0.6, 0.43, 0.4],
        "context_fill": [0.82, 0.7, 0.6, 0.4, 0.3],
        "label_fill": [0.7, 0.6, 0.6, 0.37, 0.4],
    }
    small = {name: [] for name in full} | {"text_widths": [40], "label_widths": [16]}
    assert upgraded({"seed": 1, "data": {"dir": "x"} | full}) == {
        "seed": 1,
        "data": {
            "dir": "x",
            "question_tokens": 96,
            "answer_tokens": 96,
            "edit_answer_tokens": 8,
            "sizes": 5,
        },
    }
    assert upgraded({"data": small})["data"] == {
        "question_tokens": 40,
        "answer_tokens": 16,
        "edit_answer_tokens": 0,
        "sizes": 1,
    }
