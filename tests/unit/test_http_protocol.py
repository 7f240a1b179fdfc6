"""What stands before a request's body is of limited size, and has to arrive in time."""

import socket
import threading
import time
from contextlib import contextmanager

import pytest
import uvicorn

from serac_jax.server import http_protocol
from serac_jax.server.http_protocol import BoundedHead
from tests.servers import free_port, wait_for

PATIENCE = 1.0
HEAD = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n"
WHOLE = HEAD + b"\r\nhi"


async def app(scope, receive, send):
    """Says how long the body is."""
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d bytes" % len(body)})


@pytest.fixture(scope="module")
def port():
    config = uvicorn.Config(
        app, port=free_port(), http=BoundedHead, log_level="critical", lifespan="off"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http_protocol, "PATIENCE", PATIENCE)
        thread.start()
        wait_for(lambda: server.started)
        yield config.port
        server.should_exit = True
        thread.join()


@contextmanager
def connected(port):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        yield connection


def until_closed(connection):
    """What comes until the server closes the connection."""
    found = b""
    while part := connection.recv(65536):
        found += part
    return found


def answered(connection):
    found = b""
    while b"bytes" not in found:
        part = connection.recv(65536)
        assert part, found
        found += part
    return found


def test_requests_of_one_connection_are_answered(port):
    with connected(port) as connection:
        for _ in range(3):
            connection.sendall(WHOLE)
            assert b"2 bytes" in answered(connection)


def test_a_body_may_take_longer_than_the_head(port):
    with connected(port) as connection:
        connection.sendall(HEAD + b"\r\n")
        time.sleep(2 * PATIENCE)
        connection.sendall(b"hi")
        assert b"2 bytes" in answered(connection)


def test_a_body_may_be_larger_than_the_head(port):
    size = 3 * http_protocol.MOST
    with connected(port) as connection:
        for _ in range(2):
            connection.sendall(HEAD.replace(b"2", b"%d" % size) + b"\r\n" + b"x" * size)
            assert b"%d bytes" % size in answered(connection)


@pytest.mark.parametrize("before", [b"", WHOLE], ids=["first", "next"])
def test_headers_that_do_not_arrive_in_time_are_refused(port, before):
    with connected(port) as connection:
        if before:
            connection.sendall(before)
            answered(connection)
        since = time.monotonic()
        connection.sendall(HEAD)
        assert until_closed(connection).startswith(b"HTTP/1.1 408 ")
        assert PATIENCE * 0.9 < time.monotonic() - since < 5


def test_a_connection_on_which_nothing_comes_is_closed(port):
    with connected(port) as connection:
        assert until_closed(connection) == b""


@pytest.mark.parametrize("part", [b"x: y\r\n" * 1000, b"x" * 6000], ids=["many", "one"])
def test_headers_without_an_end_are_refused(port, part):
    with connected(port) as connection:
        connection.sendall(HEAD + b"long: ")
        sent = 0
        try:
            while sent < 100 * http_protocol.MOST:
                connection.sendall(part)
                sent += len(part)
        except OSError:  # closed
            pass
        assert sent < 100 * http_protocol.MOST
