"""One editor that many threads share: every answer is right at some moment between call and
return."""

from concurrent.futures import ThreadPoolExecutor

import pytest

import serac_jax
from serac_jax.edits.store import Store
from serac_jax.serving import loading
from tests.threads import PROMPTS, Repeating, check, only_words, stress
from tests.tiers import fast


@pytest.fixture(scope="module")
def loaded():
    editor = serac_jax.load("mini", base=str)
    editor.reader = editor.base = Repeating()
    return only_words(editor)


@pytest.mark.parametrize("file", fast([False, True], [True]))
def test_threads_ask_edit_and_undo_at_once(loaded, tmp_path, file):
    store = Store.open(tmp_path / "edits.jsonl" if file else None, author="tester")
    editor = loaded.with_memory(store)
    asked, refused = stress(editor, 160, threads=8)
    check(editor, asked, refused)
    assert len(asked) > 60


def test_a_question_meets_no_edit_that_is_being_judged(loaded):
    """While a policy is asked about a contradiction, others are answered without the new edit."""
    editor = loaded.with_memory(Store.open(None, author="tester"))
    first = editor.edit(PROMPTS[0], "Ann")
    met = []

    def decide(conflict):
        with ThreadPoolExecutor(1) as pool:
            met.append(pool.submit(editor.ask, PROMPTS[0]).result().edit_id)
        return "refuse"

    with pytest.raises(loading.ContradictionRefused):
        editor.edit(PROMPTS[0], "Bob", policy=decide)
    assert met == [first.id]
    assert list(editor.memory.edits) == [first.id]
