"""For those who operate the server: is it alive, is it ready, what does it do."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel

from serac_jax.core.version import VERSION
from serac_jax.server import schemas
from serac_jax.server.context import Asking, Here

router = APIRouter(tags=["operation"], responses=schemas.RESPONSES)


class Health(BaseModel):
    """Whether the process answers."""

    status: str
    version: str


class Readiness(BaseModel):
    """Whether questions are answered, and why not."""

    ready: bool
    trouble: str
    edits: int
    version: int


class About(BaseModel):
    """What is served, and what the key of the request may do.

    editor: what answers by edits. upstream: whether a deployed model answers all else, or the
    editor's base model. mode: what happens to hits in front of it. calibrated: whether the editor's
    threshold was fitted to a false-positive rate. keys: whether API keys are asked for. name, tags,
    may_edit: those of the request's key; tags null: it sees all edits. reads_history: whether the
    models were made for conversations.
    """

    version: str
    editor: str
    upstream: bool
    mode: str
    calibrated: bool
    threshold: float
    reads_history: bool
    keys: bool
    name: str
    tags: list[str] | None
    may_edit: bool


@router.get("/about", response_model=About)
def about(here: Here, tenant: Asking) -> dict[str, Any]:
    """What is served here, and to whom."""
    settings, editor = here.settings, here.editor
    return {
        "version": VERSION,
        "editor": settings.editor,
        "upstream": bool(settings.upstream),
        "mode": settings.mode,
        "calibrated": editor.calibrated,
        "threshold": editor.thresholds.threshold,
        "reads_history": bool(settings.upstream) or editor.reads_history,
        "keys": here.keys is not None,
    } | tenant._asdict()


@router.get("/healthz", response_model=Health)
async def health() -> dict[str, str]:
    """Answers while the process runs."""
    return {"status": "ok", "version": VERSION}


@router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}})
async def readiness(here: Here, response: Response) -> dict[str, Any]:
    """503 while programs are compiled, and where the memory or the keys cannot be read. Questions
    are then answered all the same, by the edits that were read last."""
    ready = here.ready and not here.trouble
    if not ready:
        response.status_code = 503
    memory = here.editor.memory
    return {
        "ready": ready,
        "trouble": here.trouble if here.ready else "programs are being compiled",
        "edits": len(memory.edits),
        "version": memory.seq,
    }


@router.get("/metrics", response_class=Response)
def metrics(here: Here) -> Response:
    """What is counted and timed, for Prometheus."""
    return Response(here.measures.text(), media_type=CONTENT_TYPE_LATEST)
