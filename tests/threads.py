"""Many threads on one editor, and what each answer might have been."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

from serac_jax.core.errors import UserError
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
    asked, refused, texts, lock = [], set(), [], threading.Lock()

    def work(number):
        rng = random.Random(seed + number)
        for turn in range(operations // threads):
            prompt, do = rng.choice(PROMPTS), rng.random()
            first = editor.memory.seq
            if do < 0.6:
                answer = editor.ask(prompt)
                said = answer.nearest.edit.answer if answer.edit_id else None
                texts.append((said or "", answer.text))
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
    if isinstance(editor.reader, Repeating):
        assert all(text == said for said, text in texts)
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

    def __call__(self, questions, histories=None, limit=None):
        return ["" for _ in questions]

    def after(self, edits, questions, histories=None, limit=None):
        return [edit.answer for edit in edits]

    def input_of(self, edit, question, history=()):
        return question


def only_words(editor):
    """The editor with a threshold that no score but that of the same words exceeds.

    Different books are near to one another; every search runs all the same."""
    spec = editor.parts.spec
    decision = spec.decision._replace(threshold=0.99999, unsure_from=0.99999)
    editor.parts = editor.parts._replace(spec=spec._replace(decision=decision))
    return editor
