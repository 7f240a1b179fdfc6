"""Many threads on one editor, and what each answer might have been."""

import random
import time
from concurrent.futures import ThreadPoolExecutor

from serac_jax.core.errors import UserError
from serac_jax.serving import loading

PROMPTS = [f"Who wrote book {number}?" for number in range(6)]


class History:
    """The answers to every prompt that were right since a moment, by the store's own operations."""

    def __init__(self, store):
        self.answers = {prompt: [(0, frozenset())] for prompt in PROMPTS}
        held: dict[str, dict[str, str]] = {prompt: {} for prompt in PROMPTS}
        for operation in list(store.log())[::-1]:
            removed, added = ([edit for _, edit in placed] for placed in operation.change)
            for edit in removed:
                del held[edit.prompt][edit.id]
            for edit in added:
                held[edit.prompt][edit.id] = edit.answer
            for prompt in {edit.prompt for edit in (*removed, *added)}:
                now = frozenset(held[prompt].values())
                self.answers[prompt].append((operation.seq, now))

    def right(self, prompt, first, last):
        """Answers between two operations; None is the base model's."""
        known = self.answers[prompt]
        since = max(at for at, (seq, _) in enumerate(known) if seq <= first)
        between = [answers for seq, answers in known[since:] if seq <= last]
        return {answer for answers in between for answer in answers or {None}}


def ask_one(editor, prompt):
    """Asks a question: it, the store's operations before and after, and the stored answer that was
    given; None is the base model's."""
    first = editor.memory.seq
    answer = editor.ask(prompt)
    said = answer.nearest.edit.answer if answer.edit_id else None
    assert not isinstance(editor.reader, Repeating) or answer.text == (said or "")
    return prompt, first, editor.memory.seq, said


def edit_one(editor, prompt, name, rng):
    """Edits a prompt, has an edit refused, or takes an edit back; the answer that was refused."""
    do = rng.random()
    if do < 0.6:
        editor.edit(prompt, f"Author {name}")
    elif do < 0.9:
        try:
            editor.edit(prompt, f"Refused {name}", policy="refuse")
        except loading.ContradictionRefused:
            return f"Refused {name}"
    else:
        try:
            editor.undo()
        except UserError as error:
            if "nothing to undo" not in str(error):
                raise
    return None


def asked_and_edited(editor, seconds, asking, editing, seed=0):
    """Some threads ask and others edit for so long; what `stress` returns."""
    asked, refused, end = [], set(), time.monotonic() + seconds

    def ask(number):
        rng = random.Random(seed + number)
        while time.monotonic() < end:
            asked.append(ask_one(editor, rng.choice(PROMPTS)))

    def edit(number):
        rng, turn = random.Random(seed - number - 1), 0
        while time.monotonic() < end:
            turn += 1
            refused.add(edit_one(editor, rng.choice(PROMPTS), f"{number} {turn}", rng))

    with ThreadPoolExecutor(asking + editing) as pool:
        work = [pool.submit(ask, number) for number in range(asking)]
        work += [pool.submit(edit, number) for number in range(editing)]
        for one in work:
            one.result()
    return asked, refused - {None}


def stress(editor, operations, threads, seed=0):
    """Questions, edits, refused edits and undos at once; what was answered, and when it might have
    been right."""
    asked, refused = [], set()

    def work(number):
        rng = random.Random(seed + number)
        for turn in range(operations // threads):
            prompt, do = rng.choice(PROMPTS), rng.random()
            if do < 0.6:
                asked.append(ask_one(editor, prompt))
            elif do < 0.63:
                editor.why(prompt)
                editor.conflicts()
            else:
                refused.add(edit_one(editor, prompt, f"{number} {turn}", rng))

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    return asked, refused - {None}


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
