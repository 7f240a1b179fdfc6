"""One editor that many threads share: every answer is right at some moment between call and
return."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import serac_jax
from serac_jax.core.errors import UserError
from serac_jax.edits.store import Store
from serac_jax.serving import loading

PROMPTS = [f"Who wrote book {number}?" for number in range(6)]


class History:
    """The answers to every prompt that were right since a moment, by the store's own operations."""

    def __init__(self, store):
        self.store = store

    def right(self, prompt, first, last):
        """Answers between two operations; None is the base model's."""
        found = set()
        for seq in range(first, last + 1):
            held = [edit for edit in self.store.as_of(seq).values() if edit.prompt == prompt]
            found |= {edit.answer for edit in held} or {None}
        return found


def stress(editor, operations, threads, seed=0):
    """Questions, edits, refused edits and undos at once; what was answered, and when it might have
    been right."""
    asked, refused, lock = [], set(), threading.Lock()

    def work(number):
        rng = random.Random(seed + number)
        for turn in range(operations // threads):
            prompt, do = rng.choice(PROMPTS), rng.random()
            first = editor.memory.seq
            if do < 0.6:
                answer = editor.ask(prompt)
                said = answer.text if answer.edit_id else None
                with lock:
                    asked.append((prompt, first, editor.memory.seq, said))
            elif do < 0.85:
                editor.edit(prompt, f"Author {number} {turn}")
            elif do < 0.93:
                try:
                    editor.edit(prompt, f"Refused {number} {turn}", policy="refuse")
                except loading.ContradictionRefused:
                    refused.add(f"Refused {number} {turn}")
            elif do < 0.96:
                editor.why(prompt)
                editor.conflicts()
            else:
                try:
                    editor.undo()
                except UserError as error:
                    if "nothing to undo" not in str(error):
                        raise

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    return asked, refused


def check(editor, asked, refused):
    history = History(editor.memory)
    for prompt, first, last, said in asked:
        assert said in history.right(prompt, first, last), (prompt, first, last, said)
        assert said not in refused
    editor.follow()
    assert editor.matcher.edits == dict(editor.memory.live())
    stored = {edit.id for edit in editor.matcher.at if edit}
    assert stored == set(editor.memory.live())
    for answer in editor.ask(PROMPTS):
        held = {edit.id for edit in editor.memory.same_prompt(answer.question)}
        assert answer.edit_id in (held or {None})


class Repeating:
    """A reader that says the edit's answer; its base model says nothing."""

    def __call__(self, questions):
        return ["" for _ in questions]

    def after(self, edits, questions):
        return [edit.answer for edit in edits]

    def input_of(self, edit, question):
        return question


@pytest.fixture(scope="module")
def loaded():
    editor = serac_jax.load("mini", base=str)
    editor.reader = editor.base = Repeating()
    # Different books are near to one another, so that only the words decide whether an edit
    # answers; every search runs all the same.
    spec = editor.parts.spec
    decision = spec.decision._replace(threshold=0.99999, unsure_from=0.99999)
    editor.parts = editor.parts._replace(spec=spec._replace(decision=decision))
    return editor


@pytest.mark.parametrize("file", [False, True])
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
