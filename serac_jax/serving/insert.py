"""How edits come into a store: one procedure behind Python, the shell's `add` and `import`.

Needs no JAX: an editor that finds contradictions in other words is passed as a function.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from serac_jax.core.errors import UserError
from serac_jax.edits.operations import State
from serac_jax.edits.records import Edit
from serac_jax.edits.same_prompt import Conflict, against, normal
from serac_jax.edits.store import Store

POLICIES = ("newest", "refuse", "keep")
Policy = str | Callable[[Conflict], str] | None  # one of POLICIES, or a function that chooses one
Judge = Callable[[Sequence[Edit]], tuple[list[Conflict], State]]


class Inserted(NamedTuple):
    """What an insert did.

    Attributes:
      edits: The edits as the store holds them; without those that a later one replaced.
      conflicts: The conflicts that were found.
      replaced: Stored edits that a new one replaced.
    """

    edits: tuple[Edit, ...]
    conflicts: list[Conflict]
    replaced: tuple[Edit, ...] = ()


class Contradiction(UserWarning):
    """A new edit contradicts a stored one in other words; both are kept."""


class ContradictionRefused(UserError):
    """Edits contradict stored ones, or one another, and the policy is to refuse them."""

    def __init__(self, conflicts: Sequence[Conflict]):
        more = f" (and {len(conflicts) - 1} more)" if len(conflicts) > 1 else ""
        super().__init__(
            f"refused: {conflicts[0]}{more}; remove that edit first, or let the newer edit replace"
            " it with the policy 'newest'"
        )
        self.conflicts = tuple(conflicts)


def insert(
    store: Store,
    edits: Iterable[Edit],
    policy: Policy = None,
    *,
    judge: Judge | None = None,
    message: str = "",
    do: str = "add",
    at: int | None = None,
    author: str = "",
) -> Inserted:
    """Adds edits to a store, as one operation, after looking for conflicts.

    The store is not locked while conflicts are looked for or `policy` is called. Where it changed
    meanwhile, conflicts are looked for again, and `policy` decides on new ones only.

    Args:
        policy: what happens to a contradiction: "newest" removes the older edit, "refuse" raises,
            "keep" looks for no conflicts and keeps both; or a function from a conflict to one of
            these. By default the newest of the same words stands, and contradictions in other words
            are reported and kept.
        judge: conflicts of edits, in other words too, and the store's state when they were found;
            None: only the words of prompts are compared.
        message: why, for the log.
        do: what the log calls the operation.
        at, author: see `Store.turn`.

    Raises:
        ContradictionRefused, OtherVersion: nothing was changed.
    """
    made = list({edit.id: edit for edit in edits}.values())
    order = {edit.id: place for place, edit in enumerate(made)}
    decided: dict[tuple[str, str], str] = {}
    if isinstance(policy, str):
        known(policy)
    while True:
        state, found = store.state, list[Conflict]()
        if policy != "keep":
            others, state = judge(made) if judge else ([], state)
            found = same_words(store, made)
            pairs = {(conflict.new.id, conflict.old.id) for conflict in found}
            found += [other for other in others if (other.new.id, other.old.id) not in pairs]
            # of two edits given here the later is the new one, even if the store holds it already
            found = [one for one in found if order.get(one.old.id, -1) < order[one.new.id]]
        gone = contradicted(found, policy, decided)
        with store.turn(at, author):
            if policy != "keep" and state != store.state:
                continue
            replaced = tuple(store.edits[old] for old in gone if old in store.edits)
            stored = store.add(
                [edit for edit in made if edit.id not in gone],
                replacing=[edit.id for edit in replaced],
                message=message,
                do=do,
            )
            return Inserted(stored, found, replaced)


def policy_by(policy: Policy, calibrated: bool) -> Policy:
    """The policy, but that scores which were never measured remove no edit: by an editor that is
    not calibrated, "newest" settles contradictions in the same words only."""
    return None if policy == "newest" and not calibrated else policy


def tell_of_kept(done: Inserted, policy: Policy, calibrated: bool) -> None:
    """Warns the caller's caller of contradictions that no one was asked about and that remain."""
    if policy not in (None, "newest"):
        return
    how = (
        "policy='newest' removes the older one"
        if calibrated
        else "the editor is not calibrated, so remove the wrong one yourself"
    )
    for conflict in done.conflicts:
        if conflict.kind == "contradiction" and conflict.old not in done.replaced:
            warnings.warn(f"{conflict}: both were kept; {how}", Contradiction, stacklevel=3)


def same_words(store: Store, edits: Sequence[Edit]) -> list[Conflict]:
    """Contradictions that the words of prompts alone show: with stored edits, and with those that
    come before them in `edits`."""
    found: list[Conflict] = []
    before: dict[str, list[Edit]] = {}
    for edit in edits:
        earlier = before.setdefault(normal(edit.prompt), [])
        rivals = [*against(edit, store.same_prompt(edit.prompt)), *against(edit, earlier)]
        found += [Conflict("contradiction", edit, rival) for rival in rivals]
        earlier.append(edit)
    return found


def contradicted(
    found: Iterable[Conflict], policy: Policy, decided: dict[tuple[str, str], str]
) -> list[str]:
    """Ids of the edits that have to go, by the policy, or as was decided before."""
    gone: list[str] = []
    refused: list[Conflict] = []
    for conflict in found:
        if conflict.kind != "contradiction":
            continue
        pair = conflict.new.id, conflict.old.id
        if pair not in decided:
            decided[pair] = chosen(policy, conflict)
        if decided[pair] == "refuse":
            refused.append(conflict)
            if callable(policy):  # who declines one change is not asked about the rest
                break
        if decided[pair] == "newest":
            gone.append(conflict.old.id)
    if refused:
        raise ContradictionRefused(refused)
    return gone


def chosen(policy: Policy, conflict: Conflict) -> str:
    """What happens to a contradiction."""
    if policy is None:
        return "newest" if conflict.same_words else "keep"
    return known(policy if isinstance(policy, str) else policy(conflict))


def known(policy: str) -> str:
    if policy not in POLICIES:
        raise UserError(
            f"the policy {policy!r} is not known; use one of {', '.join(POLICIES)}, or a function"
            " from a conflict to one of these"
        )
    return policy
