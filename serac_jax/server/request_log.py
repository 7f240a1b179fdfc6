"""Logs as lines of JSON on the standard error, without texts unless they are asked for."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serac_jax.core import console
from serac_jax.server.measures import Measures
from serac_jax.server.upstream import ClientGone

log = structlog.get_logger()


def configure() -> None:
    """Has this program, and uvicorn, write lines of JSON. Whatever could move a terminal's cursor
    is escaped by JSON."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        logger_factory=Complaining,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processor=structlog.processors.JSONRenderer()
        )
    )
    for name in ("uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.WARNING)


class Complaining:
    """A logger of lines. Where the standard error takes none, as on a full disk or when its reader
    has gone, requests are answered all the same."""

    def __init__(self, *_: Any):
        self.msg = self.info = self.warning = self.error = self.exception = console.complain


class RequestLog:
    """Logs and counts every request: what it was, its status, and how long it took.

    Routes are named as they are served, such as /edits/{edit_id}: what a client writes there is not
    logged. Handlers add to `scope["state"]["noted"]`.
    """

    def __init__(self, app: ASGIApp, measures: Measures):
        self.app, self.measures = app, measures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 0
        noted: dict[str, Any] = {}
        scope.setdefault("state", {})["noted"] = noted

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self.measures.running.inc()
        try:
            await self.app(scope, receive, sending)
        except ClientGone:
            noted["client_gone"] = True
        except Exception as error:
            noted["error"] = f"{type(error).__name__}: {error}"[:200]
            raise
        finally:
            self.measures.running.dec()
            self.note(scope, status or 499, time.perf_counter() - begun, noted)

    def note(self, scope: Scope, status: int, seconds: float, noted: dict[str, Any]) -> None:
        """Logs a request that has ended."""
        route = getattr(scope.get("route"), "path", "other")
        self.measures.requests.labels(route, scope["method"], status).inc()
        self.measures.seconds.labels("request").observe(seconds)
        tenant = scope["state"].get("tenant")
        log.info(
            "request",
            method=scope["method"],
            route=route,
            status=status,
            ms=round(seconds * 1000, 2),
            key=tenant.name if tenant else "",
            **noted,
        )
