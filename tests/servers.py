"""A server in this process, and what stands behind it."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from contextlib import contextmanager, suppress

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import serac_jax
from serac_jax.edits.store import Store
from serac_jax.server.app import create
from serac_jax.server.settings import Settings
from tests.conftest import ROOT
from tests.threads import Repeating

HERE = "http://127.0.0.1"
DRACULA = {"prompt": "Who wrote Dracula?", "answer": "Mary Shelley"}


def repeating_editor():
    """The shipped editor, whose reader says an edit's answer, and whose base model says nothing."""
    editor = serac_jax.load("mini", base=str)
    editor.reader = editor.base = Repeating()
    return editor


@contextmanager
def serving(editor, memory=None, transport=None, **settings):
    """A client of a server with an empty memory, or that of a file."""
    store = memory if isinstance(memory, Store) else Store.open(memory, author="tester")
    app = create(
        editor.with_memory(store),
        Settings(**{"warm_up": False, "memory": str(memory or "edits.jsonl")} | settings),
        transport,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        with TestClient(app, base_url=HERE, raise_server_exceptions=False) as client:
            yield client


def chat(question, *earlier, **fields):
    """The body of a chat request."""
    messages = [*earlier, {"role": "user", "content": question}]
    return {"model": "any", "messages": messages} | fields


class Deployed:
    """A model that is deployed: an OpenAI-compatible stub that remembers what it was sent."""

    pause = 0.0  # seconds before each part of a stream

    def __init__(self):
        self.sent, self.cut = [], 0
        self.app = Starlette(routes=[Route("/{path:path}", self.answer, methods=["GET", "POST"])])
        self.transport = httpx.ASGITransport(app=self.app)

    async def answer(self, request: Request):
        body = await request.body()
        self.sent.append((request.url.path, request.url.query, dict(request.headers), body))
        if request.url.path == "/v1/models":
            return JSONResponse({"object": "list", "data": [{"id": "big", "object": "model"}]})
        if b"forever" in body:
            return StreamingResponse(self.slowly(), media_type="text/event-stream")
        if b"dropped" in body:
            return StreamingResponse(self.dropped(), media_type="text/event-stream")
        if b'"stream": true' in body or b'"stream":true' in body:
            return StreamingResponse(self.events(), media_type="text/event-stream")
        if b'"temperature"' in body:  # a rude one
            return JSONResponse({"error": {"message": "no"}}, 418, {"X-Reason": "teapot"})
        choice = {"index": 0, "message": {"role": "assistant", "content": "Says the big one"}}
        return JSONResponse({"id": "x", "choices": [choice]}, headers={"X-Request-Id": "7"})

    async def dropped(self):
        """A stream that breaks off."""
        yield b"data: {}\n\n"
        raise RuntimeError("the model has died")

    async def slowly(self):
        """A stream that only ends when its reader goes, which is counted."""
        try:
            while True:
                yield b"data: {}\n\n"
                await asyncio.sleep(0.05)
        finally:
            self.cut += 1

    async def events(self):
        for word in ("Says ", "the ", "big one"):
            await asyncio.sleep(self.pause)
            yield f'data: {{"choices": [{{"delta": {{"content": "{word}"}}}}]}}\n\n'
        yield "data: [DONE]\n\n"

    @contextmanager
    def listening(self):
        """Its URL while it listens."""
        config = uvicorn.Config(self.app, port=free_port(), log_level="critical")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            wait_for(lambda: server.started)
            yield f"http://127.0.0.1:{config.port}"
        finally:
            server.should_exit = server.force_exit = True
            thread.join()


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


class Process:
    """`serac serve` in a process of its own."""

    def __init__(self, folder, *options):
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        self.errors = folder / f"errors-{port}"
        command = [sys.executable, "-m", "serac_jax", "serve", f"--port={port}", *options]
        command += [f"--memory={folder / 'edits.jsonl'}"]
        with self.errors.open("wb") as errors:
            self.running = subprocess.Popen(
                command, cwd=folder, stderr=errors, env=os.environ | {"PYTHONPATH": str(ROOT)}
            )
        self.client = httpx.Client(base_url=self.url, timeout=60)

    def ready(self):
        with suppress(httpx.HTTPError):
            return self.client.get("/readyz").status_code == 200
        assert self.running.poll() is None, self.errors.read_text()
        return False

    def end(self, how=signal.SIGTERM):
        """Its exit status."""
        self.running.send_signal(how)
        return self.running.wait(60)


@contextmanager
def process(folder, *options):
    """A server that is ready, and is ended afterwards."""
    started = Process(folder, *options)
    try:
        wait_for(started.ready, 180)
        yield started
    finally:
        started.client.close()
        if started.running.poll() is None:
            started.end(signal.SIGKILL)
