"""One editor that threads ask and edit at once."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from serac_jax.edits.store import Store

SECONDS = 8.0


@cache
def loaded() -> Any:
    """The shipped editor, whose reader says an edit's answer."""
    import serac_jax
    from tests.threads import Repeating, only_words

    editor = serac_jax.load("mini", base=str)
    editor.reader = editor.base = Repeating()
    return only_words(editor)


def trial(rng: Random, folder: Path, seconds: float = SECONDS) -> int:
    """Five threads ask and three edit. Every answer was right at some moment between the call and
    its return, none is from an edit that was refused, and the index has the store's edits.

    Returns:
        The number of questions.
    """
    from tests.threads import asked_and_edited, check

    store = Store.open(folder / "edits.jsonl" if rng.random() < 0.5 else None, "Ann")
    editor = loaded().with_memory(store)
    asked, refused = asked_and_edited(editor, seconds, asking=5, editing=3, seed=rng.randrange(99))
    check(editor, asked, refused)
    return len(asked)
