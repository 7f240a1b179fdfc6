"""The edits' interface: list, add, remove, import, export. Every change is one operation, and may
name the version that it was made for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Response
from starlette.responses import StreamingResponse

from serac_jax.edits import exchange, records
from serac_jax.edits.records import Edit
from serac_jax.edits.same_prompt import Conflict
from serac_jax.server import schemas
from serac_jax.server.context import Asking, Context, Editing, Here
from serac_jax.server.problems import Problem
from serac_jax.server.tenants import Tenant
from serac_jax.serving import checkup
from serac_jax.serving.insert import Inserted, Policy, chosen, policy_by

router = APIRouter(tags=["edits"], responses=schemas.RESPONSES)

AT_MOST = 1000  # edits of a page
EditId = Annotated[str, Path(min_length=1, max_length=64)]
Message = Annotated[str, Query(max_length=10_000, description="why, for the log")]
Moment = Annotated[
    str | None, Query(max_length=64, description="after an operation (its number) or at a time")
]
Format = Annotated[Literal["jsonl", "csv"], Query()]


def wanted_version(
    if_match: Annotated[
        str | None,
        Header(description="the version that the change is made for; 409 where it is another now"),
    ] = None,
) -> int | None:
    """The version that a change was made for."""
    if if_match is None or if_match.strip() == "*":
        return None
    text = if_match.strip().removeprefix("W/").strip('"')
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise Problem(400, 'If-Match should be a version, such as "12"', param="If-Match")
    return int(text)


Version = Annotated[int | None, Depends(wanted_version)]


@router.get("/edits", response_model=schemas.EditList)
def list_edits(
    here: Here,
    tenant: Asking,
    response: Response,
    q: Annotated[str, Query(max_length=1000, description="in prompt, answer or note")] = "",
    tag: Annotated[list[str] | None, Query(description="with any of these tags")] = None,
    by: Annotated[str | None, Query(max_length=200, description="of this author")] = None,
    expired: Annotated[bool, Query(description="expired edits too")] = False,
    as_of: Moment = None,
    limit: Annotated[int, Query(ge=0, le=AT_MOST)] = 100,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> dict[str, Any]:
    """Lists edits, oldest first."""
    version, edits = state(here, as_of)
    text, now = q.casefold(), records.now()
    found = [
        edit
        for edit in edits.values()
        if tenant.sees(edit)
        and any(text in part.casefold() for part in (edit.prompt, edit.answer, edit.note))
        and (not tag or set(tag) & set(edit.tags))
        and by in (None, edit.author)
        and (expired or not records.expired(edit, now))
    ]
    response.headers.update(tag_of(version, as_of))
    page = [listed(here, edit, now) for edit in found[offset : offset + limit]]
    return {"version": version, "total": len(found), "edits": page}


@router.get("/edits/export", response_class=StreamingResponse)
def export_edits(
    here: Here,
    tenant: Asking,
    format: Format = "jsonl",  # noqa: A002
    as_of: Moment = None,
) -> StreamingResponse:
    """All edits as a file: of JSON lines, which is a memory file, or of CSV."""
    version, edits = state(here, as_of)
    seen = [edit for edit in edits.values() if tenant.sees(edit)]
    kind = "application/jsonl" if format == "jsonl" else "text/csv; charset=utf-8"
    return StreamingResponse(
        exchange.write(seen, format), media_type=kind, headers=tag_of(version, as_of)
    )


@router.post(
    "/edits",
    status_code=201,
    response_model=schemas.Added,
    responses={200: {"model": schemas.Added, "description": "it was there already"}},
)
def add_edit(
    here: Here, tenant: Editing, version: Version, new: schemas.NewEdit, response: Response
) -> dict[str, Any]:
    """Adds an edit, or updates its note, source or expiry. 200 where it was there already."""
    made = here.editor.memory.make(
        new.prompt,
        new.answer,
        tags=new.tags,
        note=new.note,
        source=new.source,
        expires=new.expires,
        author=tenant.name or here.editor.memory.author,
    )
    before, since = here.editor.memory.edits.get(made.id), here.editor.memory.seq
    done = insert(here, tenant, [made], new.policy, version, new.message, "add")
    (held,) = done.edits
    replaced = {edit.id for edit in done.replaced}
    noted = [
        checkup.conflict_fields(conflict)
        for conflict in done.conflicts
        if conflict.old.id not in replaced
    ]
    if held == before:
        response.status_code = 200
    response.headers["Location"] = f"/edits/{held.id}"
    result = {"new": held != before, "replaced": sorted(replaced), "noted": noted}
    now = version_of(here, since, done)
    return records.as_fields(held) | changed(here, response, now) | result


@router.post("/edits/import", response_model=schemas.Imported)
def import_edits(
    here: Here,
    tenant: Editing,
    version: Version,
    response: Response,
    text: Annotated[str, Body(media_type="text/plain", description="a file of `format`")],
    format: Format = "jsonl",  # noqa: A002
    policy: Annotated[schemas.Policy, Query()] = "refuse",
    source: Annotated[str, Query(max_length=1000)] = "",
    message: Message = "",
) -> dict[str, Any]:
    """Adds the edits of a file as one operation."""
    memory = here.editor.memory
    defaults = {"author": tenant.name or memory.author, "time": records.now()}
    defaults |= {"source": source} if source else {}
    found = exchange.read(text, format, "body", alternatives=False, **defaults).edits
    latest = list({edit.id: edit for edit in reversed(found)}.values())[::-1]
    before, since = dict(memory.edits), memory.seq
    done = insert(here, tenant, latest, policy, version, message or "from the server", "import")
    added = [edit for edit in done.edits if before.get(edit.id) != edit]
    replaced = sorted({edit.id for edit in (*done.replaced, *added)} & before.keys())
    counts = {"read": len(found), "added": len(added), "replaced": replaced}
    return counts | changed(here, response, version_of(here, since, done))


@router.get("/edits/{edit_id}", response_model=schemas.Listed)
def show_edit(here: Here, tenant: Asking, edit_id: EditId, response: Response) -> dict[str, Any]:
    """Shows an edit."""
    version, edits = state(here, None)
    response.headers["ETag"] = f'"{version}"'
    return listed(here, known(edits, tenant, edit_id), records.now())


@router.delete("/edits/{edit_id}", response_model=schemas.Removed)
def remove_edit(
    here: Here,
    tenant: Editing,
    version: Version,
    edit_id: EditId,
    response: Response,
    message: Message = "",
) -> dict[str, Any]:
    """Removes an edit; undo brings it back."""
    now, (edit,) = remove(here, tenant, version, [edit_id], message)
    return {"edit": records.as_fields(edit)} | changed(here, response, now)


@router.post("/edits/remove", response_model=schemas.AllRemoved)
def remove_edits(
    here: Here, tenant: Editing, version: Version, gone: schemas.Removal, response: Response
) -> dict[str, Any]:
    """Removes several edits as one operation."""
    now, removed = remove(here, tenant, version, gone.ids, gone.message)
    return {"edits": [*map(records.as_fields, removed)]} | changed(here, response, now)


def remove(
    here: Context, tenant: Tenant, version: int | None, ids: list[str], message: str
) -> tuple[int, tuple[Edit, ...]]:
    """Removes edits that a tenant may remove; the version after it, and the edits."""
    memory = here.editor.memory
    with memory.turn(version, tenant.name):
        for edit_id in ids:
            if not tenant.may_change(known(memory.edits, tenant, edit_id)):
                raise Problem(403, "this key may not remove this edit", "forbidden")
        removed = memory.remove(ids, message=message)
        return memory.seq, removed


def insert(
    here: Context,
    tenant: Tenant,
    edits: list[Edit],
    policy: str,
    version: int | None,
    message: str,
    do: str,
) -> Inserted:
    """Adds edits that a tenant may add; those of others are not replaced."""
    for edit in edits:
        if not tenant.may_change(edit):
            raise Problem(
                403,
                "this key adds edits with its own tags only:"
                f" {', '.join(tenant.tags or ())}; give at least one of them",
                "forbidden",
            )

    given: Policy = None if policy == "same_words" else policy
    given = policy_by(given, here.editor.calibrated)

    def own(conflict: Conflict) -> str:
        wanted = chosen(given, conflict)
        return wanted if wanted != "newest" or tenant.may_change(conflict.old) else "refuse"

    return here.editor.edit_many(
        edits,
        policy=given if tenant.tags is None else own,
        message=message,
        do=do,
        at=version,
        author=tenant.name,
    )


def state(here: Context, as_of: str | None) -> tuple[int, Mapping[str, Edit]]:
    """The version, and the edits then or now."""
    memory = here.editor.memory
    with memory.reading(or_last=True):
        if as_of is None:
            return memory.seq, dict(memory.edits)
        return memory.seq, memory.as_of(moment(as_of))


def tag_of(version: int, as_of: str | None) -> dict[str, str]:
    """The header with the version of what is shown; edits of another time are of none that a change
    may be made for."""
    return {"ETag": f'"{version}"'} if as_of is None else {}


def moment(text: str) -> int | str:
    """An operation's number, or a time."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else text


def known(edits: Mapping[str, Edit], tenant: Tenant, edit_id: str) -> Edit:
    """An edit that a tenant sees. Raises Problem where there is none."""
    if (edit := edits.get(edit_id)) and tenant.sees(edit):
        return edit
    raise Problem(404, "there is no edit with this id", "not_found", "edit_id")


def listed(here: Context, edit: Edit, now: str) -> dict[str, Any]:
    """An edit as lists show it."""
    usage = here.measures.usage(edit.id)
    return records.as_fields(edit) | {
        "expired": records.expired(edit, now),
        "answers": usage.answers,
        "last_answered": usage.last,
    }


def version_of(here: Context, since: int, done: Inserted) -> int:
    """The version after an insert, without what others did behind it: that of the first operation
    after `since` that added one of its edits, else the newest."""
    memory, ids = here.editor.memory, {edit.id for edit in done.edits}
    with memory.reading(or_last=True):
        found = memory.seq
        for operation in memory.log():
            if operation.seq <= since:
                break
            if any(edit.id in ids for _, edit in operation.change.added):
                found = operation.seq
        return found


def changed(here: Context, response: Response, version: int) -> dict[str, int]:
    """The version after a change, in the headers too."""
    here.measures.edits.set(len(here.editor.memory.edits))
    response.headers["ETag"] = f'"{version}"'
    return {"version": version}
