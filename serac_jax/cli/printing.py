"""How edits and operations are shown, to people and to programs."""

from __future__ import annotations

from collections.abc import Iterable

from serac_jax.core.console import say
from serac_jax.edits import records
from serac_jax.edits.operations import Operation
from serac_jax.edits.records import Edit

SHORT = 8  # digits of an id that people are shown
AT_MOST = 10  # edits of one operation that people are shown


def one_line(edit: Edit) -> str:
    """An edit as people see it in a list."""
    tags = f"  [{', '.join(edit.tags)}]" if edit.tags else ""
    expired = records.expired(edit, records.now())
    note = f"  (expired {edit.expires[:10]})" if expired else ""
    return f"{edit.id[:SHORT]}  {edit.prompt} → {edit.answer}{tags}{note}"


def show_change(
    removed: Iterable[Edit], added: Iterable[Edit], limit: int | None = AT_MOST
) -> None:
    """Prints removed edits with - and added ones with +.

    Args:
      removed: Edits that are gone.
      added: Edits that are new. One that replaces an edit with the same id also shows the fields
        that differ.
      limit: The most lines of either kind; None prints all.
    """
    gone, new = list(removed), list(added)
    for sign, edits, others in (("-", gone, new), ("+", new, gone)):
        other = {edit.id: edit for edit in others}
        for edit in edits[:limit]:
            say(f"{sign} {one_line(edit)}{changed_fields(edit, other.get(edit.id, edit))}")
        if limit is not None and len(edits) > limit:
            say(f"{sign} … {len(edits) - limit} more")


def changed_fields(edit: Edit, other: Edit) -> str:
    """The fields of an edit that differ from those of another with the same id."""
    differing = [
        f"{name}: {getattr(edit, name)}"
        for name in ("note", "source", "expires")
        if getattr(edit, name) not in ("", getattr(other, name))
    ]
    return f"  ({', '.join(differing)})" if differing else ""


def counted(count: int, name: str, plural: str = "") -> str:
    """A number with its noun, as in "1 edit" and "2 edits"."""
    return f"{count} {name if count == 1 else plural or f'{name}s'}"


def title(operation: Operation) -> str:
    """The first line of an operation in the log."""
    of = f" {operation.of}" if operation.of else ""
    message = f": {operation.message}" if operation.message else ""
    author = operation.author or "nobody"
    return f"{operation.seq}  {operation.time}  {author}  {operation.do}{of}{message}"
