"""Questions outside OpenAI's interface: ask, why, try a draft, report a false hit."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from serac_jax.core import files
from serac_jax.edits import records
from serac_jax.edits.store import Store
from serac_jax.server import schemas
from serac_jax.server.context import Asking, Context, Here
from serac_jax.server.edit_routes import known, state
from serac_jax.server.engine import Told, told
from serac_jax.server.problems import Problem
from serac_jax.server.upstream import unless_gone

router = APIRouter(tags=["answers"], responses=schemas.RESPONSES)


@router.post("/ask", response_model=schemas.AnswerFields)
async def ask(
    here: Here, tenant: Asking, request: Request, asked: schemas.Question
) -> dict[str, Any]:
    """Answers a question, by an edit where one applies."""
    work = here.engine.ask(told_of(here, asked), tenant.asking(asked.tags))
    return (await unless_gone(request, work)).as_fields()


@router.post("/why", response_model=schemas.WhyFields)
async def why(
    here: Here, tenant: Asking, request: Request, asked: schemas.Question
) -> dict[str, Any]:
    """Answers a question, and shows what decided the answer."""
    work = here.engine.why(told_of(here, asked), tenant.asking(asked.tags))
    return (await unless_gone(request, work)).as_fields()


@router.post("/try", response_model=schemas.Tried)
async def attempt(
    here: Here, tenant: Asking, request: Request, asked: schemas.Attempt
) -> dict[str, Any]:
    """Asks a question as it is answered now, and as an edit that is not stored would answer it."""
    check_length(here, asked.question)
    tags, draft = tenant.asking(asked.tags), asked.edit
    made = here.editor.memory.make(draft.prompt, draft.answer, tags=draft.tags)
    now = await unless_gone(request, here.engine.ask(told(asked.question), tags))

    def alone() -> dict[str, Any]:
        here.editor.check(made)
        store = Store.open(author="")
        store.add([made])
        other = here.editor.with_memory(store)
        (verdict,) = other.decide([asked.question], [tags])
        text = other.texts([asked.question], [verdict])[0] if verdict.hit else ""
        score = verdict.first.score if verdict.first else 0.0
        found = {"would_answer": verdict.hit, "score": score, "text": text}
        return found | {"threshold": other.thresholds.threshold}

    return {"now": now.as_fields()} | await run_in_threadpool(alone)


@router.post("/reports", status_code=201, response_model=schemas.Reported)
def report(here: Here, tenant: Asking, found: schemas.Report) -> dict[str, Any]:
    """Keeps a question that an edit answered, and should not have, or the other way round: a row
    for `serac calibrate --data`."""
    edit = known(state(here, None)[1], tenant, found.edit_id)
    inside, outside = [edit.prompt], list[str]()
    (inside if found.wrong == "miss" else outside).append(found.question)
    row = {"edits": [[edit.prompt, edit.answer]], "inside": inside, "outside": outside}
    records.text(found.question, "the question", records.NOT_EMPTY)
    path = here.settings.reports_file
    with files.locked(path) as file:
        file.seek(0, 2)
        files.write_all(file, (json.dumps(row, ensure_ascii=False) + "\n").encode())
    here.measures.reports.inc()
    return row


def told_of(here: Context, asked: schemas.Question) -> Told:
    """What the engine is told. Raises Problem for a question that is too long."""
    check_length(here, asked.question)
    turns = [(turn.question, turn.answer) for turn in asked.history]
    return told(asked.question, turns, asked.max_tokens)


def check_length(here: Context, question: str) -> None:
    """Raises Problem for a question that is too long."""
    most = here.settings.max_prompt
    if len(question) > most:
        raise Problem(
            400,
            f"the question has {len(question)} characters, more than the {most} of --max-prompt",
            "context_length_exceeded",
            "question",
        )
