"""What an operation does to the ordered edits, in enough detail to undo it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

from serac_jax.core.errors import UserError
from serac_jax.edits.records import Edit

Item = TypeVar("Item")
FEW = 64  # up to so many changes, list.insert and del beat a pass over the whole list
Placed = tuple[tuple[int, Edit], ...]  # in ascending order of position


class Change(NamedTuple):
    """A change of the ordered edits.

    Attributes:
      removed: Edits that are removed, with their positions before the change.
      added: Edits that are added, with their positions after it.
    """

    removed: Placed = ()
    added: Placed = ()


def inverse(change: Change) -> Change:
    """The change that undoes another."""
    return Change(change.added, change.removed)


def appends(change: Change, before: int) -> bool:
    """Whether a change of `before` edits only appends."""
    return not change.removed and (not change.added or change.added[0][0] == before)


def replace(edits: Mapping[str, Edit], ids: Collection[str], new: Iterable[Edit]) -> Change:
    """Removes the edits with these ids and appends new ones."""
    removed = (
        tuple((at, edit) for at, edit in enumerate(edits.values()) if edit.id in ids) if ids else ()
    )
    return Change(removed, tuple(enumerate(new, len(edits) - len(removed))))


def difference(old: Mapping[str, Edit], new: Mapping[str, Edit]) -> Change:
    """The change from `old` to `new`.

    Where their orders differ, as few edits as possible are removed and added again.
    """
    staying = in_order(
        [key for key, edit in new.items() if old.get(key) == edit],
        {key: at for at, key in enumerate(old)},
    )
    removed = tuple((at, edit) for at, edit in enumerate(old.values()) if edit.id not in staying)
    return Change(
        removed, tuple((at, edit) for at, edit in enumerate(new.values()) if edit.id not in staying)
    )


def in_order(ids: list[str], rank: Mapping[str, int]) -> set[str]:
    """A longest subsequence of `ids` with increasing ranks, by patience sorting."""
    tops: list[int] = []  # per length, the smallest last rank of an increasing subsequence
    last: list[str] = []  # the id with that rank
    before: dict[str, str | None] = {}  # the id before each in its subsequence
    for key in ids:
        length = bisect_left(tops, rank[key])
        before[key] = last[length - 1] if length else None
        tops[length : length + 1], last[length : length + 1] = [rank[key]], [key]
    kept: set[str] = set()
    key = last[-1] if last else None
    while key is not None:
        kept.add(key)
        key = before[key]
    return kept


class DoesNotFit(UserError):
    """A history that is not that of the edits it belongs to."""

    def __init__(self) -> None:
        super().__init__(
            "the journal does not fit the edits: it removes some that are not there;"
            " `check --repair` keeps all that can be read"
        )


def apply(edits: dict[str, Edit], change: Change) -> dict[str, Edit]:
    """The edits after a change; the same dictionary, updated, unless something is inserted.

    Raises:
      DoesNotFit: An edit that is removed is not there.
    """
    for _, edit in change.removed:
        if edits.pop(edit.id, None) is None:
            raise DoesNotFit
    if appends(Change((), change.added), len(edits)):
        edits.update((edit.id, edit) for _, edit in change.added)
        return edits
    return {edit.id: edit for edit in splice(list(edits.values()), [], change.added)}


def replay(edits: Iterable[Edit], changes: Iterable[Change]) -> dict[str, Edit]:
    """The edits after several changes in turn.

    Raises:
      DoesNotFit: An edit that is removed is not where it should be.
    """
    items = list(edits)
    for change in changes:
        for at, edit in change.removed:
            if not (at < len(items) and items[at].id == edit.id):
                raise DoesNotFit
        items = splice(items, [at for at, _ in change.removed], change.added)
    return {edit.id: edit for edit in items}


def splice(
    items: list[Item], removed: Sequence[int], added: Sequence[tuple[int, Item]]
) -> list[Item]:
    """Removes items and inserts others.

    Args:
      items: A list, which may be changed.
      removed: Ascending positions in `items` of what is removed.
      added: What is inserted, with ascending positions in the result.

    Raises:
      DoesNotFit: There are not so many items.
    """
    after = len(items) - len(removed) + len(added)
    if (removed and removed[-1] >= len(items)) or (added and added[-1][0] >= after):
        raise DoesNotFit
    if len(removed) + len(added) <= FEW:
        for at in reversed(removed):
            del items[at]
        for at, item in added:
            items.insert(at, item)
        return items
    gone = set(removed)
    rest = (item for at, item in enumerate(items) if at not in gone)
    result: list[Item] = []
    for at, item in added:
        result.extend(islice(rest, at - len(result)))
        result.append(item)
    result.extend(rest)
    return result
