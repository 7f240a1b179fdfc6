"""Edits that get into each other's way, as the scope classifier sees it: duplicates,
contradictions, and edits that another one shadows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from serac_jax.core.errors import UserError
from serac_jax.edits.records import Edit
from serac_jax.edits.same_prompt import meet, normal
from serac_jax.serving.matching import Matcher

POLICIES = ("newest", "refuse", "keep")


class Conflict(NamedTuple):
    """kind: "duplicate" (each in the other's scope, same answer), "contradiction" (… other answer),
    "shadows" (the new edit answers the old one's own question) or "shadowed" (the old edit answers
    the new one's own question).

    old_by_new: how likely the old prompt is in the new edit's scope. new_by_old: the other way
        round.
    """

    kind: str
    new: Edit
    old: Edit
    old_by_new: float
    new_by_old: float

    def __str__(self) -> str:
        said = {
            "duplicate": "says the same as",
            "contradiction": "contradicts",
            "shadows": "would answer the question of",
            "shadowed": "has its question answered by",
        }[self.kind]
        new, old = (f"{edit.prompt!r} → {edit.answer!r}" for edit in (self.new, self.old))
        return (
            f"{new} {said} {old} (edit {self.old.id[:8]}; scores {self.old_by_new:.2f},"
            f" {self.new_by_old:.2f})"
        )


class ContradictionRefused(UserError):
    """An edit contradicts one of the memory, and the policy is to refuse it."""

    def __init__(self, conflict: Conflict):
        super().__init__(
            f"refused: {conflict}; remove that edit first, or let the newest stand with the policy"
            " 'newest'"
        )
        self.conflict = conflict


Policy = str | Callable[[Conflict], str]  # one of POLICIES, or who chooses one for a contradiction


def chosen(policy: Policy, conflict: Conflict) -> str:
    """What is to be done about a contradiction."""
    answer = policy if isinstance(policy, str) else policy(conflict)
    if answer not in POLICIES:
        raise UserError(
            f"the policy {answer!r} is not known; there are {', '.join(POLICIES)}, or a function"
            " from a conflict to one of these"
        )
    return answer


def find(matcher: Matcher, edits: Sequence[Edit], threshold: float) -> list[Conflict]:
    """Conflicts of edits, which the matcher already holds, with those that it held before them or
    that come before them in `edits`."""
    order = {edit.id: number for number, edit in enumerate(edits)}
    pairs = [
        (new, old)
        for new, others in zip(edits, around(matcher, edits), strict=True)
        for old in others
        if meet(new, old) and old.id != new.id and order.get(old.id, -1) < order[new.id]
    ]
    asked = [
        (pair, question)
        for new, old in pairs
        for pair, question in (
            (new, old.prompt),
            (old, new.prompt),
            (new, new.prompt),
            (old, old.prompt),
        )
    ]
    scores = iter(matcher.scores(asked))
    found = (
        judged(threshold, new, old, *(next(scores), next(scores), next(scores), next(scores)))
        for new, old in pairs
    )
    return [conflict for conflict in found if conflict]


def around(matcher: Matcher, edits: Sequence[Edit]) -> list[list[Edit]]:
    """Edits in whose scope an edit's prompt may be, or the other way round: those whose keys are
    near to its question or to its own key."""
    everything = [None] * len(edits)
    near = [list(nears) for nears in matcher.nearest([edit.prompt for edit in edits], everything)]
    for nears, others in zip(near, matcher.alike(edits), strict=True):
        nears += others
    return [list({near.edit.id: near.edit for near in nears}.values()) for nears in near]


def judged(
    threshold: float,
    new: Edit,
    old: Edit,
    old_by_new: float,
    new_by_old: float,
    new_by_new: float,
    old_by_old: float,
) -> Conflict | None:
    """The conflict of two edits, given how likely each prompt is in each one's scope."""
    if normal(new.prompt) == normal(old.prompt) or min(old_by_new, new_by_old) > threshold:
        kind = "duplicate" if normal(new.answer) == normal(old.answer) else "contradiction"
    elif old_by_new > max(threshold, old_by_old):
        kind = "shadows"
    elif new_by_old > max(threshold, new_by_new):
        kind = "shadowed"
    else:
        return None
    return Conflict(kind, new, old, old_by_new, new_by_old)
