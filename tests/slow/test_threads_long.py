"""One editor that many threads share, under load."""

import pytest

import serac_jax
from serac_jax.edits.store import Store
from tests.threads import Repeating, asked_and_edited, check, only_words, stress


@pytest.mark.parametrize("file", [False, True], ids=["in memory", "file"])
def test_eight_threads_and_thousands_of_operations(tmp_path, file):
    loaded = serac_jax.load("mini", base=str)
    loaded.reader = loaded.base = Repeating()
    store = Store.open(tmp_path / "edits.jsonl" if file else None, author="tester")
    editor = only_words(loaded).with_memory(store)
    asked, refused = stress(editor, 2000, threads=8)
    check(editor, asked, refused)
    assert len(asked) > 1000


def test_five_threads_ask_and_three_edit_for_fifteen_seconds(tmp_path):
    loaded = serac_jax.load("mini", base=str)
    loaded.reader = loaded.base = Repeating()
    editor = only_words(loaded).with_memory(Store.open(tmp_path / "edits.jsonl", author="tester"))
    asked, refused = asked_and_edited(editor, 15, asking=5, editing=3)
    check(editor, asked, refused)
    assert len(asked) > 100
    assert len(refused) > 3


def test_threads_share_the_models_of_the_shipped_editor(tmp_path):
    """With its own reader, whose wording is its own: what is checked is which edit answered."""
    store = Store.open(tmp_path / "edits.jsonl", author="tester")
    editor = only_words(serac_jax.load("mini")).with_memory(store)
    asked, refused = stress(editor, 400, threads=8, seed=1)
    check(editor, asked, refused)
    assert len(asked) > 200
