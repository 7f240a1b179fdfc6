"""OpenAI's interface: chat and text completions, and models."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from sse_starlette import EventSourceResponse
from starlette.responses import JSONResponse, Response

from serac_jax.core.errors import UserError
from serac_jax.server import engine, inject, openai_bodies, schemas
from serac_jax.server.ask_routes import check_length
from serac_jax.server.context import Context, context_of, tenant_of
from serac_jax.server.openai_bodies import CHAT, COMPLETION, Form
from serac_jax.server.problems import Problem, of_user_error
from serac_jax.server.upstream import Headers, unless_gone
from serac_jax.serving.verdict import NOTHING_NEAR, Verdict

router = APIRouter(prefix="/v1", tags=["OpenAI"], responses=schemas.RESPONSES)

ANY_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}
BORN = int(time.time())


@router.post("/chat/completions", openapi_extra=ANY_BODY)
async def chat(request: Request) -> Response:
    """Answers the last message of the user."""
    return await complete(request, CHAT)


@router.post("/completions", openapi_extra=ANY_BODY)
async def completion(request: Request) -> Response:
    """Answers a prompt."""
    return await complete(request, COMPLETION)


@router.get("/models")
async def models(request: Request) -> Response:
    """The models that answer: the upstream's, or the editor."""
    here = context_of(request)
    if here.engine.upstream:
        return await here.engine.upstream.forward(request, b"", [])
    return JSONResponse({"object": "list", "data": [model_fields(here)]})


@router.get("/models/{model:path}")
async def model(request: Request, model: str) -> Response:
    """One model."""
    here = context_of(request)
    if here.engine.upstream:
        return await here.engine.upstream.forward(request, b"", [])
    if model != name_of(here):
        raise Problem(404, "there is no such model here", "model_not_found", "model")
    return JSONResponse(model_fields(here))


@router.api_route("/{rest:path}", methods=["GET", "POST", "DELETE"], include_in_schema=False)
async def other(request: Request, rest: str) -> Response:
    """Whatever else the upstream serves."""
    if upstream := context_of(request).engine.upstream:
        return await upstream.forward(request, await request.body(), [])
    raise Problem(404, "this server has chat/completions, completions and models", "not_found")


async def complete(request: Request, form: Form) -> Response:
    """Answers a request by an edit, the upstream or the base model."""
    here, body = context_of(request), await request.body()
    upstream = here.engine.upstream
    try:
        asked = openai_bodies.read(body, form)
    except Problem:
        if not upstream:
            raise
        return await upstream.forward(request, body, told(NOTHING_NEAR))  # it knows better
    check_length(here, asked.question)
    if upstream and asked.answered:  # a tool has answered: the upstream goes on
        verdict = NOTHING_NEAR
    else:
        tags = tenant_of(request).asking(tags_of(request))
        verdict = await unless_gone(request, here.engine.decide(asked.question, tags))
    headers = told(verdict)
    here.engine.count(verdict)
    note(request, here, asked.question, verdict)
    if upstream and verdict.hit and verdict.first and here.settings.mode == "inject":
        question = inject.filled(here.template, verdict.first.edit, asked.question)
        body = json.dumps(form.with_question(asked.fields, question)).encode()
        return await upstream.forward(request, body, headers)
    if upstream and not verdict.hit:
        return await upstream.forward(request, body, headers)
    return await local(request, here, form, asked, verdict, headers)


async def local(
    request: Request,
    here: Context,
    form: Form,
    asked: openai_bodies.Request,
    verdict: Verdict,
    headers: Headers,
) -> Response:
    """What the editor itself answers, as it comes or whole."""
    if asked.fields.get("n") not in (None, 1):
        raise Problem(400, "one answer is given, not several; leave 'n' out", param="n")
    here.engine.check_length(told_of(asked), verdict)
    name = asked.model or name_of(here)
    if asked.stream:
        events = stream(here, form, asked, verdict, name)
        response: Response = EventSourceResponse(events)
    else:
        said = await unless_gone(request, here.engine.say(told_of(asked), verdict))
        usage = here.engine.usage(asked.question, said.text)
        response = JSONResponse(form.response(name, said.text, said.reason, usage))
    response.raw_headers += headers
    return response


async def stream(
    here: Context, form: Form, asked: openai_bodies.Request, verdict: Verdict, name: str
) -> AsyncGenerator[str]:
    """The events of a stream. What goes wrong on the way is its last event."""
    parts, text, reason = form.chunks(name), "", "stop"
    yield parts.part("", first=True)
    try:
        async with aclosing(here.engine.pieces(told_of(asked), verdict)) as pieces:
            async for piece in pieces:
                if piece.text:
                    yield parts.part(piece.text, first=False)
                text, reason = text + piece.text, piece.reason
    except (Problem, UserError) as error:
        problem = error if isinstance(error, Problem) else of_user_error(error)
        yield json.dumps({"error": problem.fields})
        return
    usage = here.engine.usage(asked.question, text) if asked.usage else None
    for event in parts.end(reason, usage):
        yield event


def told_of(asked: openai_bodies.Request) -> engine.Told:
    """What the engine is told."""
    return engine.told(asked.question, asked.history, asked.limit, asked.stops)


def told(verdict: Verdict) -> Headers:
    """The headers that tell what happened."""
    first = verdict.first
    edit_id = first.edit.id if first and verdict.hit else ""
    said = "miss"
    if first and verdict.hit:
        said = first.verdict or ("same" if first.exact else "hit")
    fields = {
        "X-Serac-Edit": edit_id,
        "X-Serac-Score": f"{first.score if first else 0.0:.4f}",
        "X-Serac-Verdict": said,
        "X-Serac-Unsure": str(bool(verdict.unsure)).lower(),
    }
    return [(name.lower().encode(), value.encode()) for name, value in fields.items()]


def note(request: Request, here: Context, question: str, verdict: Verdict) -> None:
    """What the log tells of an answer."""
    first = verdict.first
    noted = request.scope["state"]["noted"]
    noted |= {
        "edit": first.edit.id if first and verdict.hit else "",
        "score": round(first.score, 4) if first else 0.0,
        "unsure": bool(verdict.unsure),
    }
    if here.settings.log_texts:
        noted["question"] = question


def tags_of(request: Request) -> list[str] | None:
    """The tags of X-Serac-Tags, separated by commas."""
    if (text := request.headers.get("x-serac-tags")) is None:
        return None
    return [tag.strip() for tag in text.split(",") if tag.strip()]


def name_of(here: Context) -> str:
    """What the editor is called as a model."""
    return here.settings.editor.rstrip("/").rpartition("/")[2] or "serac"


def model_fields(here: Context) -> dict[str, Any]:
    """The editor as a model."""
    return {"id": name_of(here), "object": "model", "created": BORN, "owned_by": "serac"}
