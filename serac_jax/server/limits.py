"""What one request, and one key, may take."""

from __future__ import annotations

import asyncio
import time
from typing import NamedTuple

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serac_jax.server.problems import Problem
from serac_jax.server.settings import Settings

MOST_HEADERS = 200
UNLIMITED = ("/healthz", "/readyz", "/metrics")


class Bucket(NamedTuple):
    """The requests that a key has left, at a time."""

    left: float
    time: float


class Limits:
    """Refuses requests that are too large, too many or too slow, each with its own status.

    413 body, 431 headers, 408 a body that does not arrive, 429 too many of one key, 503 too many at
    once.
    """

    def __init__(self, app: ASGIApp, settings: Settings):
        self.app, self.settings = app, settings
        self.running = 0
        self.buckets: dict[str, Bucket] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNLIMITED:
            await self.app(scope, receive, send)
            return
        try:
            self.check(scope)
            body = Body(receive, self.settings)
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        self.running += 1
        try:
            await self.app(scope, body.receive, send)
        finally:
            self.running -= 1

    def check(self, scope: Scope) -> None:
        """Raises Problem for a request that may not begin."""
        if len(scope["headers"]) > MOST_HEADERS:
            raise Problem(431, f"more than {MOST_HEADERS} headers", "headers")
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length[:20]) > self.settings.max_body:
            raise too_large(self.settings.max_body)
        if self.running >= self.settings.concurrent:
            raise Problem(
                503,
                "too many requests at once; try again",
                "overloaded",
                headers={"Retry-After": "1"},
            )
        if self.settings.rate:
            self.take(scope["state"]["tenant"].name)

    def take(self, name: str) -> None:
        """Takes one request of a key's bucket, which a minute fills. Raises Problem when it is
        empty."""
        rate, now = self.settings.rate, time.monotonic()
        left, since = self.buckets.get(name, Bucket(rate, now))
        left = min(left + (now - since) * rate / 60, rate)
        if left < 1:
            wait = str(1 + int((1 - left) * 60 / rate))
            raise Problem(
                429,
                f"more than {rate} requests a minute; wait {wait} s",
                "rate_limit_exceeded",
                headers={"Retry-After": wait},
            )
        self.buckets[name] = Bucket(left - 1, now)


class Body:
    """A request's body, of limited size, that has to arrive in time."""

    def __init__(self, receive: Receive, settings: Settings):
        self.inner, self.settings = receive, settings
        self.size, self.whole = 0, False
        self.deadline = time.monotonic() + settings.timeout

    async def receive(self) -> Message:
        """The next part; after the body, the client's going."""
        if self.whole:
            return await self.inner()
        try:
            async with asyncio.timeout(self.deadline - time.monotonic()):
                message = await self.inner()
        except TimeoutError as error:
            raise Problem(
                408,
                "the body of the request did not arrive in time",
                "slow",
                headers={"Connection": "close"},
            ) from error
        self.size += len(message.get("body", b""))
        self.whole = not message.get("more_body", False)
        if self.size > self.settings.max_body:
            raise too_large(self.settings.max_body)
        return message


def too_large(most: int) -> Problem:
    """The problem of a body that is too large."""
    return Problem(
        413,
        f"a body may have {most} bytes; --max-body sets the limit",
        "body_too_large",
        headers={"Connection": "close"},
    )
