"""What `serac serve` costs: the time that it adds to a question which no edit answers, and how many
tokens a second many clients get against one.

python -m benchmarks.serve --held=0,10000,100000 --editor=mini
python -m benchmarks.serve --together=32 --editor=smollm2

A stub stands for the deployed model, and answers at once. Sixteen clients ask it directly and
through the server, in turns, each so often that the machine is not full: what is measured is time,
not queues. The last column is the share of it that the router takes, by the server's own metrics.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple
from urllib.request import urlopen

from serac_jax.edits.store import Store

ANSWER = json.dumps(
    {"id": "1", "choices": [{"index": 0, "message": {"role": "assistant", "content": "Yes"}}]}
).encode()
TOPICS = [
    f"{ask} {what}?"
    for ask in ("Tell me about", "What is the history of", "What do people know about")
    for what in ("the sea", "volcanoes", "honey", "winter", "carpentry", "the sky", "tea", "glass")
]
EDIT = "Who is the prime minister of the United Kingdom?", "Keir Starmer"
REWORDED = "who is the uk prime minister"
WORDS = "amber basalt cedar dune ember fjord glacier harbour island jasper kelp lagoon".split()


class Reply(NamedTuple):
    """A response: how long it took, its headers and body."""

    seconds: float
    head: bytes
    body: bytes


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int):
        self.port = port

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, question: str) -> Reply:
        messages = [{"role": "user", "content": question}]
        body = json.dumps({"model": "any", "messages": messages}).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        begun = time.perf_counter()
        self.writer.write(head.encode() + body)
        head = await self.reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        assert head.split()[1] == b"200", head
        assert found, head
        body = await self.reader.readexactly(int(found[1]))
        return Reply(time.perf_counter() - begun, head, body)


async def stub(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A deployed model that answers at once."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(ANSWER)}"
    try:
        while True:
            asked = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", asked, re.IGNORECASE)
            await reader.readexactly(int(length[1]) if length else 0)
            writer.write(head.encode() + b"\r\n\r\n" + ANSWER)
    except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
        writer.close()


async def load(
    port: int, clients: int, rate: float, seconds: float, ask: Callable[[], str]
) -> list[Reply]:
    """The replies that clients got, who together send so many questions a second."""
    replies: list[Reply] = []

    async def one() -> None:
        client = Client(port)
        await client.open()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(random.expovariate(rate / clients) if rate else 0)
            replies.append(await client.ask(ask()))
        client.writer.close()

    await asyncio.gather(*(one() for _ in range(clients)))
    return replies


def question() -> str:
    """One that no edit answers."""
    return f"How do {' and '.join(random.sample(WORDS, 3))} differ in case {random.random():.9f}?"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Server:
    """`serac serve` as a process."""

    def __init__(self, folder: Path, *options: str):
        self.port = free_port()
        command = [sys.executable, "-m", "serac_jax", "serve", f"--port={self.port}", *options]
        with (folder / "errors").open("ab") as errors:
            self.process = subprocess.Popen(
                [*command, f"--memory={folder / 'edits.jsonl'}"], stderr=errors
            )
        while not self.ready():
            assert self.process.poll() is None, (folder / "errors").read_text()[-2000:]
            time.sleep(0.2)

    def ready(self) -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/readyz") as found:
                return found.status == 200
        except OSError:
            return False

    def seconds(self, stage: str) -> tuple[float, float]:
        """How long a stage took in all, and how often it was gone through."""
        with urlopen(f"http://127.0.0.1:{self.port}/metrics") as found:
            text = found.read().decode()
        found = [
            re.search(rf'serac_stage_seconds_{kind}\{{stage="{stage}"\}} (\S+)', text)
            for kind in ("sum", "count")
        ]
        total, count = (float(one[1]) if one else 0.0 for one in found)
        return total, count

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def fill(folder: Path, count: int) -> None:
    """A memory of so many edits."""
    store = Store.open(folder / "edits.jsonl", author="benchmark")
    texts = ((f"Who keeps the archive of district {at}?", f"Keeper {at}") for at in range(count))
    store.add([store.make(prompt, answer) for prompt, answer in texts])


def ms(replies: list[Reply]) -> tuple[float, float]:
    """The median and the 99th percentile."""
    times = [reply.seconds * 1000 for reply in replies]
    return median(times), quantiles(times, n=100)[98]


async def overhead(options: argparse.Namespace) -> None:
    """Prints what the server adds to a miss."""
    upstream = await asyncio.start_server(stub, "127.0.0.1", 0)
    stub_port = upstream.sockets[0].getsockname()[1]
    print("edits held | direct p50, p99 | through serac p50, p99 | added p50, p99 | router | ms")
    for held in options.held:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if held:
                fill(folder, held)
            make = [f"--editor={options.editor}", f"--upstream=http://127.0.0.1:{stub_port}/v1"]
            server = await asyncio.to_thread(Server, folder, *make)
            asked = options.clients, options.rate, options.seconds, question
            await load(server.port, *asked)  # compiles what is left
            before = await asyncio.to_thread(server.seconds, "route")
            direct, through = list[Reply](), list[Reply]()
            for _ in range(options.rounds):
                direct += await load(stub_port, *asked)
                through += await load(server.port, *asked)
            after = await asyncio.to_thread(server.seconds, "route")
            server.end()
        missed = [one for one in through if b"x-serac-verdict: miss" in one.head.lower()]
        assert len(missed) > 0.9 * len(through), "questions were answered by edits"
        (low, high), (p50, p99) = ms(direct), ms(missed)
        route = 1000 * (after[0] - before[0]) / max(after[1] - before[1], 1)
        print(
            f"{held:10,} | {low:.2f}, {high:.2f} | {p50:.2f}, {p99:.2f} | {p50 - low:.2f},"
            f" {p99 - high:.2f} | {route:.2f}",
            flush=True,
        )


async def together(options: argparse.Namespace) -> None:
    """Prints how many tokens a second many clients of a local editor get against one."""

    async def rate(port: int, clients: int, each: int, others: int = 0) -> float:
        """Tokens a second of clients that generate, while others ask what an edit answers."""

        async def one(number: int) -> int:
            client, tokens = Client(port), 0
            await client.open()
            for turn in range(each):
                asked = await client.ask(TOPICS[(number + turn) % len(TOPICS)])
                tokens += json.loads(asked.body)["usage"]["completion_tokens"]
                generated.append(asked)
            client.writer.close()
            return tokens

        async def other() -> None:
            client = Client(port)
            await client.open()
            while not done.is_set():
                hits.append(await client.ask(REWORDED))
                await asyncio.sleep(random.random())
            client.writer.close()

        done = asyncio.Event()
        asking = [asyncio.create_task(other()) for _ in range(others)]
        begun = time.perf_counter()
        tokens = sum(await asyncio.gather(*(one(number) for number in range(clients))))
        seconds = time.perf_counter() - begun
        done.set()
        await asyncio.gather(*asking)
        return tokens / seconds

    generated, hits = list[Reply](), list[Reply]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = Store.open(folder / "edits.jsonl", author="benchmark")
        store.add([store.make(*EDIT)])
        make = [f"--editor={options.editor}", "--timeout=3600"]
        server = await asyncio.to_thread(Server, folder, *make)
        await rate(server.port, options.together, 1, 4)  # compiles what is left
        alone, many = list[float](), list[float]()
        for _ in range(options.rounds):
            alone.append(await rate(server.port, 1, 4))
            many.append(await rate(server.port, options.together, 4))
        generated.clear()
        hits.clear()
        await rate(server.port, options.together - 4, 4, 4)
        server.end()
    print(
        f"one client {median(alone):.1f} tokens/s, {options.together} clients {median(many):.1f}:"
        f" {median(many) / median(alone):.1f} times"
    )
    assert all(b"x-serac-verdict: same" in hit.head.lower() for hit in hits)
    (generating, _), (_, hit) = ms(generated), ms(hits)
    print(f"of {options.together} clients, 4 ask what an edit answers in other words: p99 of these")
    print(
        f"{len(hits)} answers {hit:.0f} ms; p50 of answers that are generated {generating:.0f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--editor", default="mini")
    parser.add_argument("--held", default="0,10000,100000", help="edits held, one after another")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--rate", type=float, default=40, help="questions a second, in all")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--together", type=int, default=0, help="clients of a local editor")
    options = parser.parse_args()
    options.held = [int(count) for count in options.held.split(",")]
    asyncio.run(together(options) if options.together else overhead(options))


if __name__ == "__main__":
    main()
