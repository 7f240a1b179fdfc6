"""A server in this process, and what stands behind it."""

import warnings
from contextlib import contextmanager

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

import serac_jax
from serac_jax.edits.store import Store
from serac_jax.server.app import create
from serac_jax.server.settings import Settings
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

    def __init__(self):
        self.sent = []
        self.app = Starlette(routes=[Route("/{path:path}", self.answer, methods=["GET", "POST"])])
        self.transport = httpx.ASGITransport(app=self.app)

    async def answer(self, request: Request):
        body = await request.body()
        self.sent.append((request.url.path, request.url.query, dict(request.headers), body))
        if request.url.path == "/v1/models":
            return JSONResponse({"object": "list", "data": [{"id": "big", "object": "model"}]})
        if b'"stream": true' in body or b'"stream":true' in body:
            return StreamingResponse(self.events(), media_type="text/event-stream")
        if b'"temperature"' in body:  # a rude one
            return JSONResponse({"error": {"message": "no"}}, 418, {"X-Reason": "teapot"})
        choice = {"index": 0, "message": {"role": "assistant", "content": "Says the big one"}}
        return JSONResponse({"id": "x", "choices": [choice]}, headers={"X-Request-Id": "7"})

    async def events(self):
        for word in ("Says ", "the ", "big one"):
            yield f'data: {{"choices": [{{"delta": {{"content": "{word}"}}}}]}}\n\n'
        yield "data: [DONE]\n\n"
