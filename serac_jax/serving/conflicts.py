"""Edits that get in each other's way, as the scope classifier sees it: duplicates, contradictions,
and edits that another one shadows."""

from __future__ import annotations

from collections.abc import Sequence

from serac_jax.editors.protocol import Thresholds
from serac_jax.edits.records import Edit
from serac_jax.edits.same_prompt import Conflict, meet, normal
from serac_jax.serving.answers import Near
from serac_jax.serving.matching import Matcher, Vectors


def find(
    matcher: Matcher, edits: Sequence[Edit], near: Sequence[Sequence[Edit]], thresholds: Thresholds
) -> list[Conflict]:
    """Conflicts of edits with stored ones, and with those that come before them in `edits`.

    Args:
        near: for each edit, others in whose scope its prompt may be, or the other way round.
    """
    order = {edit.id: number for number, edit in enumerate(edits)}
    pairs = [
        (new, old)
        for new, others in zip(edits, near, strict=True)
        for old in others
        if meet(new, old) and old.id != new.id and order.get(old.id, -1) < order[new.id]
    ]
    asked = [
        (edit, question)
        for new, old in pairs
        for edit, question in (
            (new, old.prompt),
            (old, new.prompt),
            (new, new.prompt),
            (old, old.prompt),
        )
    ]
    scores = iter(matcher.scores(asked))
    found = (
        judged(thresholds, new, old, *(next(scores), next(scores), next(scores), next(scores)))
        for new, old in pairs
    )
    return [conflict for conflict in found if conflict]


def near(
    matcher: Matcher, edits: Sequence[Edit], questions: Vectors, keys: Vectors
) -> list[list[Edit]]:
    """Stored edits in whose scope an edit's prompt may be, or the other way round: those whose keys
    are near to the vector of its prompt or to its own key."""
    everything = [None] * len(edits)
    by_prompt = matcher.search(questions, [edit.prompt for edit in edits], everything)
    by_key = matcher.around(keys, everything) if matcher.edits else [list[Near]() for _ in edits]
    return [
        list({near.edit.id: near.edit for near in [*one, *other]}.values())
        for one, other in zip(by_prompt, by_key, strict=True)
    ]


def among(
    matcher: Matcher,
    new: Sequence[Edit],
    edits: Sequence[Edit],
    questions: Vectors,
    keys: Vectors,
) -> list[list[Edit]]:
    """What `near` would find if only new edits were stored."""
    alone = matcher.empty()
    alone.add(new)
    return near(alone, edits, questions, keys)


def judged(
    thresholds: Thresholds,
    new: Edit,
    old: Edit,
    old_by_new: float,
    new_by_old: float,
    new_by_new: float,
    old_by_old: float,
) -> Conflict | None:
    """The conflict of two edits, given how likely each prompt is in each one's scope."""
    hit = thresholds.hit
    if normal(new.prompt) == normal(old.prompt) or hit(min(old_by_new, new_by_old)):
        kind = "duplicate" if normal(new.answer) == normal(old.answer) else "contradiction"
    elif hit(old_by_new) and old_by_new > old_by_old:
        kind = "shadows"
    elif hit(new_by_old) and new_by_old > new_by_new:
        kind = "shadowed"
    else:
        return None
    return Conflict(kind, new, old, old_by_new, new_by_old)
