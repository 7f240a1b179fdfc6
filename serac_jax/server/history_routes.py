"""The history of edits, and what is wrong with them: log, undo, redo, diff, check, conflicts."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from serac_jax.edits import check, operations, records, same_prompt
from serac_jax.edits.operations import Operation
from serac_jax.edits.records import Edit
from serac_jax.edits.same_prompt import Conflict
from serac_jax.server import schemas
from serac_jax.server.context import Asking, Editing, Here
from serac_jax.server.edit_routes import Moment, Version, changed, moment, state
from serac_jax.server.problems import Problem
from serac_jax.server.tenants import Tenant
from serac_jax.serving import checkup

router = APIRouter(tags=["history"], responses=schemas.RESPONSES)
AskEditor = Annotated[
    bool, Query(description="ask the editor too, also in other words; takes long for many edits")
]


@router.get("/log", response_model=schemas.Log)
def log(
    here: Here,
    tenant: Asking,
    limit: Annotated[int, Query(ge=0, le=1000)] = 20,
    edit_id: Annotated[str | None, Query(max_length=64, description="on this edit")] = None,
    by: Annotated[str | None, Query(max_length=200, description="of this author")] = None,
    as_of: Moment = None,
) -> dict[str, Any]:
    """Who did what, newest first; a key with tags sees what concerns it."""
    memory = here.editor.memory
    with memory.reading(or_last=True):
        found = (
            shown
            for operation in memory.log(until=None if as_of is None else moment(as_of))
            if by in (None, operation.author)
            and (shown := seen_by(tenant, operation))
            and (edit_id is None or edit_id in ids_of(operation))
        )
        rows = [operations.as_fields(operation) for operation in islice(found, limit)]
        return {"version": memory.seq, "operations": rows}


@router.post("/undo", response_model=schemas.Done)
def undo(here: Here, tenant: Editing, version: Version, response: Response) -> dict[str, Any]:
    """Undoes the newest operation that stands, whoever made it."""
    memory = here.editor.memory
    with memory.turn(version, tenant.name):
        may_take_back(tenant, operations.to_undo(memory.log()))
        done = operations.as_fields(memory.undo())
        return {"operation": done} | changed(here, response, memory.seq)


@router.post("/redo", response_model=schemas.Done)
def redo(here: Here, tenant: Editing, version: Version, response: Response) -> dict[str, Any]:
    """Redoes what was undone last."""
    memory = here.editor.memory
    with memory.turn(version, tenant.name):
        may_take_back(tenant, operations.to_redo(memory.log()))
        done = operations.as_fields(memory.redo())
        return {"operation": done} | changed(here, response, memory.seq)


@router.get("/diff", response_model=schemas.Diff)
def diff(
    here: Here,
    tenant: Asking,
    old: Annotated[Moment, Query(alias="from")] = None,
    new: Annotated[Moment, Query(alias="to")] = None,
) -> dict[str, Any]:
    """What differs between two states: by default, what the newest operation changed."""
    version, after = state(here, new)
    _, before = state(here, old or str(max(version - 1, 0)))
    removed = [edit for key, edit in before.items() if after.get(key) != edit]
    added = [edit for key, edit in after.items() if before.get(key) != edit]
    return {
        "version": version,
        "removed": rows(tenant, removed),
        "added": rows(tenant, added),
    }


@router.get("/check", response_model=schemas.Checked, response_model_exclude_unset=True)
def check_edits(here: Here, tenant: Asking, ask: AskEditor = False) -> dict[str, Any]:
    """What is wrong: damaged lines, conflicts, edits that do not answer. For keys without tags."""
    if tenant.tags is not None:
        raise Problem(403, "only a key without tags may check all edits", "forbidden")
    memory = here.editor.memory
    problems = check.problems(memory.path) if memory.path else []
    version, edits = state(here, None)
    found = checkup.check(edits, problems, here.editor if ask and not problems else None)
    return found.as_fields() | {"version": version}


@router.get("/conflicts", response_model=schemas.Conflicts)
def conflicts(here: Here, tenant: Asking, ask: AskEditor = False) -> dict[str, Any]:
    """Stored edits that get in each other's way."""
    version, edits = state(here, None)
    found = here.editor.conflicts() if ask else same_prompt.conflicts(edits.values())
    return {"version": version, "conflicts": conflict_rows(tenant, found)}


@router.post("/conflicts", response_model=schemas.Conflicts)
def conflicts_of(here: Here, tenant: Asking, draft: schemas.Draft) -> dict[str, Any]:
    """What an edit would get in the way of, were it added."""
    made = here.editor.memory.make(draft.prompt, draft.answer, tags=draft.tags)
    found, (_, version) = here.editor.judge([made])
    return {"version": version, "conflicts": conflict_rows(tenant, found)}


def conflict_rows(tenant: Tenant, found: Iterable[Conflict]) -> list[dict[str, Any]]:
    """The conflicts that a tenant sees."""
    return [
        conflict._asdict()
        | {"new": records.as_fields(conflict.new), "old": records.as_fields(conflict.old)}
        for conflict in found
        if tenant.sees(conflict.new) and tenant.sees(conflict.old)
    ]


def rows(tenant: Tenant, edits: Iterable[Edit]) -> list[dict[str, Any]]:
    """The edits that a tenant sees."""
    return [records.as_fields(edit) for edit in edits if tenant.sees(edit)]


def seen_by(tenant: Tenant, operation: Operation) -> Operation | None:
    """An operation with the edits that a tenant sees; None where it sees none of them."""
    removed, added = (
        tuple((at, edit) for at, edit in placed if tenant.sees(edit)) for placed in operation.change
    )
    if tenant.tags is not None and not (removed or added):
        return None
    return operation._replace(change=operation.change._replace(removed=removed, added=added))


def ids_of(operation: Operation) -> set[str]:
    """The edits that an operation changed."""
    return {edit.id for placed in operation.change for _, edit in placed}


def may_take_back(tenant: Tenant, operation: Operation | None) -> None:
    """Raises Problem for an operation that changed edits of others."""
    if operation and not tenant.may_take_back(operation):
        raise Problem(
            403, "the newest operation changed edits that this key may not change", "forbidden"
        )
