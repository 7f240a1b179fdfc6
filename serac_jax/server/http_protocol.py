"""HTTP/1.1 by a parser in C, whose headers are of limited size and have to arrive in time."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serac_jax.server.problems import Problem

MOST = 1 << 16  # bytes of a request's line and headers, beside those that come with their end
PATIENCE = 10.0  # seconds for them to arrive


class BoundedHead(HttpToolsProtocol):
    """Limits what stands before a request's body, for which the parser itself waits for ever.

    400: more bytes than `MOST`. 408: some, but not all, within `PATIENCE`. A connection on which
    nothing comes is closed.
    """

    head = 0  # bytes that have come of it
    reading_head = True
    deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.wait()

    def data_received(self, data: bytes) -> None:
        if self.reading_head:
            self.head += len(data)
            if not self.deadline:  # the next request of the connection
                self.wait()
        super().data_received(data)  # which calls the next two
        if self.head > MOST and not self.transport.is_closing():
            self.refuse(Problem(400, f"the headers have more than {MOST} bytes", "headers"))

    def on_headers_complete(self) -> None:
        self.reading_head, self.head = False, 0
        self.stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self.reading_head, self.head = True, 0
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop_waiting()
        super().connection_lost(exc)

    def wait(self) -> None:
        """Gives the headers their time."""
        self.deadline = self.loop.call_later(PATIENCE, self.give_up)

    def stop_waiting(self) -> None:
        """Ends it."""
        if self.deadline:
            self.deadline.cancel()
            self.deadline = None

    def give_up(self) -> None:
        """Closes the connection."""
        if self.head and not self.transport.is_closing():
            self.refuse(Problem(408, "the headers did not arrive in time", "slow"))
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        self.refuse(Problem(400, "this is not a request of HTTP/1.1", "http"))

    def refuse(self, problem: Problem) -> None:
        """Answers with a problem, and closes the connection."""
        body, reason = bytes(problem.response().body), HTTPStatus(problem.status_code).phrase
        self.transport.write(
            f"HTTP/1.1 {problem.status_code} {reason}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
            + body
        )
        self.transport.close()
