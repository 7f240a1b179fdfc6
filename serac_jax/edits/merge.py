"""Three-way merging of memories: what two sides changed since a common ancestor, by prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from serac_jax.edits.records import Edit
from serac_jax.edits.same_prompt import differ, normal

Edits = Mapping[str, Edit]
Side = tuple[Edit, ...]


BOTH = Edit("", "", "")  # stands for an edit that both sides changed


class Clash(NamedTuple):
    """Both sides changed the edits of one prompt and tags, in different ways. A side that took them
    out is empty."""

    base: Side
    ours: Side
    theirs: Side


class Merged(NamedTuple):
    edits: dict[str, Edit]  # ours in their order, then what theirs has new
    clashes: tuple[Clash, ...]  # as they were settled


def merge(base: Edits, ours: Edits, theirs: Edits, settle: Callable[[Clash], Side]) -> Merged:
    """Takes every change of either side; where both changed the same prompt, `settle` says which
    edits stay.

    What only one side changed, or both alike, is no clash; nor is the same edit that both made, of
    which the earlier stays."""
    sides = [grouped(edits.values()) for edits in (base, ours, theirs)]
    kept: dict[str, Edit] = {}
    clashes: list[Clash] = []
    for key in {**sides[1], **sides[2]}:
        clash = Clash(*(tuple(side.get(key, ())) for side in sides))
        chosen = agreed(clash)
        if chosen is None:
            clashes.append(clash)
            chosen = settle(clash)
        kept.update((edit.id, edit) for edit in chosen)
    order = [*ours, *(key for key in theirs if key not in ours)]
    return Merged({key: kept[key] for key in order if key in kept}, tuple(clashes))


def grouped(edits: Iterable[Edit]) -> dict[tuple[str, tuple[str, ...]], list[Edit]]:
    groups: dict[tuple[str, tuple[str, ...]], list[Edit]] = {}
    for edit in edits:
        groups.setdefault((normal(edit.prompt), edit.tags), []).append(edit)
    return groups


def agreed(clash: Clash) -> Side | None:
    """The edits of a prompt after both sides' changes; None where these do not go together."""
    base, ours, theirs = ({edit.id: edit for edit in side} for side in clash)
    if ours == base or theirs == base:
        return clash.theirs if ours == base else clash.ours
    if bool(ours) != bool(theirs) or any(
        differ(one, other) for one in new(ours, base) for other in new(theirs, base)
    ):
        return None
    kept = [one_edit(base.get(key), ours.get(key), theirs.get(key)) for key in {**ours, **theirs}]
    return None if BOTH in kept else tuple(edit for edit in kept if edit)


def new(edits: Edits, base: Edits) -> list[Edit]:
    return [edit for key, edit in edits.items() if key not in base]


def one_edit(base: Edit | None, ours: Edit | None, theirs: Edit | None) -> Edit | None:
    """What becomes of one id; BOTH where both sides changed it in different ways."""
    if ours == theirs or theirs == base:
        return ours
    if ours == base:
        return theirs
    if ours and theirs and says(ours) == says(theirs):
        return min(ours, theirs, key=lambda edit: (edit.time, edit))
    return BOTH


def says(edit: Edit) -> Edit:
    """An edit without who made it, and when."""
    return edit._replace(author="", time="")


def newest(clash: Clash) -> Side:
    """The side that was changed last, as far as its edits tell; one that took them out gives
    way."""
    return max(
        clash.ours,
        clash.theirs,
        key=lambda side: sorted(((edit.time, edit) for edit in side), reverse=True),
    )


def ours(clash: Clash) -> Side:
    return clash.ours


def theirs(clash: Clash) -> Side:
    return clash.theirs
