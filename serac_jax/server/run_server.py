"""Starts the server: one process, or several on one memory file."""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import ExitStack

import uvicorn
from fastapi import FastAPI

from serac_jax.edits.store import Store
from serac_jax.server import app, request_log
from serac_jax.server.http_protocol import BoundedHead
from serac_jax.server.measures import PROCESSES
from serac_jax.server.settings import Settings
from serac_jax.serving.loading import load

SETTINGS = "SERAC_SERVE"  # the environment variable by which processes get their settings
SWITCH = 0.001  # seconds after which the thread that works lets the one with the requests go on
STARTING = 300  # seconds in which a process loads its models


def run(settings: Settings) -> None:
    """Serves until it is told to stop."""
    settings.check()
    os.environ[SETTINGS] = settings.as_json()
    request_log.configure()
    with ExitStack() as until_stopped:
        if settings.workers > 1:
            shared = tempfile.TemporaryDirectory(prefix="serac-serve-")
            os.environ[PROCESSES] = until_stopped.enter_context(shared)
        uvicorn.run(
            f"{__name__}:make_app",
            factory=True,
            host=settings.host,
            port=settings.port,
            workers=settings.workers,
            http=BoundedHead,
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,  # nothing here reads who a proxy says that it stands for
            timeout_graceful_shutdown=settings.grace,
            timeout_worker_healthcheck=STARTING,
        )


def make_app() -> FastAPI:
    """The app of one process."""
    settings = Settings.from_json(os.environ[SETTINGS])
    sys.setswitchinterval(SWITCH)
    request_log.configure()
    store = Store.open(settings.memory, settings.author)
    editor = load(
        settings.editor,
        memory=store,
        rerank=settings.rerank,
        mesh=settings.mesh,
        dtype=settings.dtype,
    )
    return app.create(editor, settings)
