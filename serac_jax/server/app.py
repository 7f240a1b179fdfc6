"""The app: routes, and what every request goes through before it reaches one."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import structlog
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from serac_jax.core.version import VERSION
from serac_jax.server import (
    ask_routes,
    edit_routes,
    history_routes,
    inject,
    openai_routes,
    operation_routes,
    page_routes,
    problems,
)
from serac_jax.server.access import Access
from serac_jax.server.context import Context
from serac_jax.server.engine import Engine
from serac_jax.server.limits import Limits
from serac_jax.server.measures import Measures
from serac_jax.server.request_log import RequestLog
from serac_jax.server.settings import Settings
from serac_jax.server.tenants import KeyFile
from serac_jax.server.upstream import Upstream
from serac_jax.serving.service import EditorService

log = structlog.get_logger()
TOLD = ["X-Serac-Edit", "X-Serac-Score", "X-Serac-Verdict", "X-Serac-Unsure", "ETag", "Location"]
ROUTES = (  # which are matched in this order
    openai_routes,
    page_routes,
    ask_routes,
    edit_routes,
    history_routes,
    operation_routes,
)


def create(
    editor: EditorService,
    settings: Settings,
    transport: httpx.AsyncBaseTransport | None = None,
) -> FastAPI:
    """The server of an editor, as an ASGI app.

    Args:
        editor: what answers, with its memory.
        transport: what the upstream is reached by, in tests.
    """
    settings.check()
    editor.keep_answering = True
    keys = KeyFile(Path(settings.api_keys)) if settings.api_keys else None
    upstream = None
    if settings.upstream:
        upstream = Upstream(settings.upstream, settings.timeout, keys is not None, transport)
    measures = Measures()
    engine = Engine(editor, upstream, measures)
    template = inject.read_template(settings.template)
    context = Context(settings, editor, engine, measures, keys, template)

    @asynccontextmanager
    async def running(app: FastAPI) -> AsyncGenerator[None]:
        loop = asyncio.get_running_loop()
        with suppress(NotImplementedError, RuntimeError, ValueError):  # not the main thread
            loop.add_signal_handler(
                signal.SIGHUP, lambda: loop.run_in_executor(None, context.reload)
            )
        starting = asyncio.create_task(start(context))
        watching = asyncio.create_task(context.watch())
        yield
        starting.cancel()
        watching.cancel()
        await engine.close()

    app = FastAPI(
        title="serac serve",
        version=VERSION,
        description="Correct a deployed model today, undo it tomorrow.",
        lifespan=running,
        docs_url=None,  # the page of FastAPI loads scripts from other hosts
        redoc_url=None,
        middleware=middleware(settings, measures, keys),
    )
    app.state.context = context
    problems.install(app)
    for module in ROUTES:
        app.include_router(module.router)
    return app


async def start(context: Context) -> None:
    """What is done before the server is ready."""
    try:
        if context.settings.warm_up:
            await context.engine.warm_up()
            # What there is now stays: looking for garbage among all edits would hold up an answer.
            gc.collect()
            gc.freeze()
    except Exception:  # the first questions then wait for their programs, or fail aloud
        log.exception("warm_up")
    context.engine.limit = context.settings.timeout
    context.ready = True


def middleware(settings: Settings, measures: Measures, keys: KeyFile | None) -> list[Middleware]:
    """What every request goes through, in this order."""
    through = [Middleware(RequestLog, measures=measures)]
    if settings.origins:
        through.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.origins,
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=TOLD,
            )
        )
    through.append(Middleware(Access, settings=settings, keys=keys))
    through.append(Middleware(Limits, settings=settings))
    return through
