"""Three-way merging: takes what two sides changed since a common ancestor, prompt by prompt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from serac_jax.edits.records import Edit
from serac_jax.edits.same_prompt import differ, normal

Edits = Mapping[str, Edit]
Side = tuple[Edit, ...]
Key = tuple[str, tuple[str, ...]]  # a normalised prompt, and tags
BOTH = Edit("", "", "")  # stands for an edit that both sides changed


class Clash(NamedTuple):
    """The edits of one prompt and tags, which both sides changed differently.

    A side that removed them is empty.
    """

    base: Side
    ours: Side
    theirs: Side


class Merged(NamedTuple):
    """The result of a merge.

    Attributes:
      edits: Ours in their order, then what is new in theirs.
      clashes: What `settle` decided on.
    """

    edits: dict[str, Edit]
    clashes: tuple[Clash, ...]


def merge(base: Edits, ours: Edits, theirs: Edits, settle: Callable[[Clash], Side]) -> Merged:
    """Takes every change of either side; where both changed a prompt, `settle` decides.

    A prompt that one side changed, or both in the same way, is no clash. Of the same edit made on
    both sides the earlier stays.

    Args:
      base: The edits of the common ancestor.
      ours: The edits of this memory.
      theirs: The edits of the other one.
      settle: From a clash to the edits that stay, such as `newest`, `ours` or `theirs`.
    """
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


def grouped(edits: Iterable[Edit]) -> dict[Key, list[Edit]]:
    """Edits by prompt and tags."""
    groups: dict[Key, list[Edit]] = {}
    for edit in edits:
        groups.setdefault((normal(edit.prompt), edit.tags), []).append(edit)
    return groups


def agreed(clash: Clash) -> Side | None:
    """The edits of a prompt after both sides' changes; None if these clash."""
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
    """Edits that the ancestor does not have."""
    return [edit for key, edit in edits.items() if key not in base]


def one_edit(base: Edit | None, ours: Edit | None, theirs: Edit | None) -> Edit | None:
    """One id after both sides' changes; BOTH if they changed it differently."""
    if ours == theirs or theirs == base:
        return ours
    if ours == base:
        return theirs
    if ours and theirs and says(ours) == says(theirs):
        return min(ours, theirs, key=lambda edit: (edit.time, edit))
    return BOTH


def says(edit: Edit) -> Edit:
    """An edit without its author and time."""
    return edit._replace(author="", time="")


def newest(clash: Clash) -> Side:
    """The side with the newest edit; a side that removed its edits gives way."""
    return max(
        clash.ours,
        clash.theirs,
        key=lambda side: sorted(((edit.time, edit) for edit in side), reverse=True),
    )


def ours(clash: Clash) -> Side:
    """This memory's side."""
    return clash.ours


def theirs(clash: Clash) -> Side:
    """The other memory's side."""
    return clash.theirs
