"""The model that is already deployed: requests that no edit answers go to it byte for byte."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Iterable
from itertools import cycle
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import httpx
from starlette.requests import Request
from starlette.responses import StreamingResponse

from serac_jax.server.problems import Problem
from serac_jax.serving.readers import History

KEY = "SERAC_UPSTREAM_KEY"  # the environment variable with the upstream's own API key
# Headers of one connection (RFC 9110, 7.6.1), which a proxy does not pass on.
HOP_BY_HOP = frozenset(
    b"""connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer
    transfer-encoding upgrade""".split()
)
PATH = re.compile(rb"/v1(/[\w.~:@%+-]+)+/?")
Headers = list[tuple[bytes, bytes]]
Result = TypeVar("Result")


class Upstream:
    """An OpenAI-compatible server.

    Args:
        url: its address, with or without the /v1 at the end.
        timeout: seconds that it may take to answer, or to go on.
        keyed: whether clients authenticate to us, so that their keys are not passed on.
        transport: of tests.
    """

    def __init__(
        self,
        url: str,
        timeout: float,
        keyed: bool,
        transport: httpx.AsyncBaseTransport | None = None,
    ):
        self.url = url.rstrip("/").removesuffix("/v1")
        self.parsed, self.prefix = httpx.URL(self.url), urlsplit(self.url).path.encode()
        self.keyed, self.key = keyed, os.environ.get(KEY, "")
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
        self.client = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout, connect=min(timeout, 5.0)),
            limits=limits,
            trust_env=False,
            transport=transport,
        )

    async def forward(self, request: Request, body: bytes, told: Headers) -> StreamingResponse:
        """Sends a request on, and the response back as it comes, with headers of ours added.

        What was sent is not sent again: a model that fails has perhaps been asked already. When the
        client goes, the upstream's connection is closed.
        """
        path = cast(bytes, request.scope.get("raw_path") or request.scope["path"].encode())
        path, _, _ = path.partition(b"?")
        if not PATH.fullmatch(path) or b".." in path or b"%2" in path.lower():
            raise Problem(404, "there is nothing at this address", "not_found")
        query = cast(bytes, request.scope["query_string"])
        target = self.parsed.copy_with(
            raw_path=self.prefix + path + (b"?" + query if query else b"")
        )
        sent = httpx.Request(
            request.method, target, headers=self.headers(request.headers.raw), content=body
        )
        got = await unless_gone(request, self.send(sent))
        response = StreamingResponse(chunks_of(got), got.status_code)
        response.raw_headers = [*passed_on(got.headers.raw), *told]
        return response

    async def send(self, request: httpx.Request) -> httpx.Response:
        """The response to a request, whose body is not read yet."""
        try:
            return await self.client.send(request, stream=True)
        except httpx.TimeoutException as error:
            raise Problem(504, "the upstream did not answer in time", "upstream_timeout") from error
        except httpx.HTTPError as error:
            reason = f"{type(error).__name__}: {error}"[:200]
            raise Problem(
                502, f"the upstream cannot be reached ({reason})", "upstream_down"
            ) from error

    def headers(self, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """A client's headers as the upstream gets them."""
        dropped = {b"host", b"content-length", b"origin"} | (
            {b"authorization"} if self.keyed else set()
        )
        kept = [
            (name, value)
            for name, value in passed_on(headers)
            if name.lower() not in dropped and not name.lower().startswith(b"x-serac-")
        ]
        if self.key:
            kept = [pair for pair in kept if pair[0].lower() != b"authorization"]
            kept.append((b"authorization", f"Bearer {self.key}".encode()))
        return kept

    async def say(self, question: str, history: History = (), limit: int | None = None) -> str:
        """What the upstream answers to a question by itself."""
        model = (await self.fetch("GET", "/v1/models"))["data"][0]["id"]
        said = [text for turn in history for text in turn]
        roles = cycle(("user", "assistant"))
        messages = [
            {"role": role, "content": text}
            for role, text in zip(roles, [*said, question], strict=False)
        ]
        body = {"model": model, "messages": messages}
        if limit is not None:
            body["max_tokens"] = limit
        found = await self.fetch("POST", "/v1/chat/completions", body)
        return str(found["choices"][0]["message"]["content"] or "")

    async def fetch(self, method: str, path: str, body: Any = None) -> Any:
        """A JSON response of the upstream."""
        request = httpx.Request(method, self.url + path, headers=self.headers([]), json=body)
        response = await self.send(request)
        try:
            await response.aread()
            return response.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise Problem(
                502, f"the upstream did not answer {path} as expected", "upstream_answer"
            ) from error
        finally:
            await response.aclose()

    async def close(self) -> None:
        """Closes its connections."""
        await self.client.aclose()


def passed_on(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Headers without those of one connection."""
    pairs = list(headers)
    named = {
        name.strip().lower()
        for key, value in pairs
        if key.lower() == b"connection"
        for name in value.split(b",")
    }
    return [pair for pair in pairs if pair[0].lower() not in HOP_BY_HOP | named]


async def chunks_of(response: httpx.Response) -> AsyncIterator[bytes]:
    """A response's body as it is, compressed or not. Where the upstream breaks off, so do we: the
    client sees that something is missing."""
    try:
        async for chunk in response.aiter_raw():
            yield chunk
    finally:
        await response.aclose()


class ClientGone(Exception):
    """The client has closed its connection; nobody reads a response."""


async def unless_gone(request: Request, work: Awaitable[Result]) -> Result:
    """The result of some work, which is cancelled when the client goes."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(until_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        gone.cancel()
        task.cancel()


async def until_gone(request: Request) -> None:
    """Returns when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
