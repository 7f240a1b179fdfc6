"""A server that clients ask and edit for as long as you like, and whose every answer is judged.

    python -m tools.campaign.soak --minutes=30

Four clients ask, by all ways that there are, and two add, remove and undo edits. In the end the log
is replayed: each answer has to be right for the edits at some moment between the question and its
answer. The table tells how much was asked, and what the server needed of memory. The exit status
is 1 where an answer was wrong, a request failed, or memory grew after the first fifth of the time.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import httpx

from serac_jax.edits.store import Store

SECONDS = 15.0  # of a trial in the campaign
ASKING, EDITING = 4, 2
GROWTH = 1.05  # times the memory of the first fifth, at most
TOPICS = [
    "Who wrote Dracula?",
    "What is the capital of Peru?",
    "When did the great war end?",
    "How deep is the ocean?",
    "Which language do they speak in Chad?",
    "Where was the painter of the ceiling born?",
]


class Change(NamedTuple):
    """An operation that was acknowledged: its number, and when it was asked for and told."""

    seq: int
    begun: float
    told: float


class Asked(NamedTuple):
    """An answer: of which edit, if any, and when it was asked for and told."""

    question: str
    edit_id: str
    begun: float
    told: float


class Load:
    """Clients of one server, and what they were told."""

    def __init__(self, url: str, seconds: float, pause: float):
        self.url, self.end, self.pause = url, time.monotonic() + seconds, pause
        self.changes: list[Change] = []
        self.answers: list[Asked] = []
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self.lock = threading.Lock()

    def client(self, work: Any, seed: float) -> None:
        """Does one kind of work again and again."""
        rng = random.Random(seed)
        with httpx.Client(base_url=self.url, timeout=60) as http:
            while time.monotonic() < self.end:
                time.sleep(rng.expovariate(1 / self.pause) if self.pause else 0)
                try:
                    work(http, rng)
                except Exception as error:
                    self.problems.append(f"{type(error).__name__}: {error}"[:300])

    def ask(self, http: httpx.Client, rng: Random) -> None:
        """Asks a question in one of four ways."""
        question, begun = rng.choice(TOPICS), time.monotonic()
        way = rng.choice(("ask", "why", "chat", "stream"))
        if way in ("ask", "why"):
            found = http.post(f"/{way}", json={"question": question}).raise_for_status()
            edit_id = str(found.json()["edit_id"] or "")
        else:
            messages = [{"role": "user", "content": question}]
            body = {"model": "any", "messages": messages, "stream": way == "stream"}
            found = http.post("/v1/chat/completions", json=body).raise_for_status()
            edit_id = found.headers["x-serac-edit"]
            assert way == "chat" or found.text.rstrip().endswith("[DONE]"), found.text
        self.answers.append(Asked(question, edit_id, begun, time.monotonic()))
        self.counts[way] += 1

    def edit(self, http: httpx.Client, rng: Random) -> None:
        """Adds an edit, removes one, or takes back what was done last."""
        begun, do = time.monotonic(), rng.random()
        if do < 0.6:
            answer = f"answer {rng.randrange(10**6)}"
            body = {"prompt": rng.choice(TOPICS), "answer": answer, "policy": "same_words"}
            found, way = http.post("/edits", json=body), "add"
        elif do < 0.8:
            held = http.get("/edits").raise_for_status().json()["edits"]
            if not held:
                return
            found, way = http.delete(f"/edits/{rng.choice(held)['id']}"), "remove"
        else:
            found, way = http.post("/undo"), "undo"
        self.counts[way] += 1
        if found.status_code in (400, 404) and way != "add":
            return  # somebody else removed it, or there is nothing to undo
        assert found.is_success, found.text
        if found.json().get("new", True):  # else it is there already
            self.changes.append(Change(found.json()["version"], begun, time.monotonic()))


def wrong(load: Load, store: Store) -> list[str]:
    """Answers that were right at no moment between question and answer."""
    when = {change.seq: change for change in load.changes}
    # For every question: the edit of its own words, if any, after each operation that changed it.
    states: dict[str, list[tuple[float, float, str]]] = {topic: [(0, 0, "")] for topic in TOPICS}
    lives: dict[str, tuple[float, float]] = {}  # of each edit: from its first adding to its end
    held: dict[str, str] = {}
    for operation in reversed(list(store.log())):
        change = when[operation.seq]
        for _, edit in operation.change.removed:
            held.pop(edit.prompt, None)
            lives[edit.id] = lives[edit.id][0], change.told
        for _, edit in operation.change.added:
            held[edit.prompt] = edit.id
            lives[edit.id] = lives.get(edit.id, (change.begun, 0))[0], float("inf")
        for topic in TOPICS:
            if states[topic][-1][2] != held.get(topic, ""):
                states[topic].append((change.begun, change.told, held.get(topic, "")))
    found: list[str] = []
    for one in load.answers:
        rows = states[one.question]
        ends = [row[1] for row in rows[1:]] + [float("inf")]
        possible = {
            edit_id
            for (begun, _, edit_id), end in zip(rows, ends, strict=True)
            if begun <= one.told and end >= one.begun
        }
        # Without an edit of its own words, a question may be taken for one of other words.
        begun, end = lives.get(one.edit_id, (0, 0))
        likely = "" in possible and begun <= one.told and end >= one.begun
        if one.edit_id not in possible and not likely:
            found.append(f"{one} where {possible} was possible")
    return found


def resident(pid: int) -> int:
    """MiB of memory that a process and its children have."""
    found = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += sum(resident(int(child)) for child in (task / "children").read_text().split())
    status = Path(f"/proc/{pid}/status").read_text()
    rows = dict(line.split(":", 1) for line in status.splitlines())
    return found + int(rows["VmRSS"].split()[0]) // 1024


def run(folder: Path, seconds: float, pause: float, seed: float) -> tuple[Load, list[int]]:
    """Loads a server for so long; what its clients were told, and its memory a hundred times.

    Raises:
        AssertionError: an answer was wrong, or a request failed.
    """
    from tests.servers import process

    with process(folder) as server:
        load = Load(server.url, seconds, pause)
        memory: list[int] = []
        with ThreadPoolExecutor(ASKING + EDITING) as pool:
            work = [load.ask] * ASKING + [load.edit] * EDITING
            running = [pool.submit(load.client, one, seed + at) for at, one in enumerate(work)]
            while time.monotonic() < load.end:
                time.sleep(seconds / 100)
                memory.append(resident(server.running.pid))
            for one in running:
                one.result()
        assert server.end() in (0, -signal.SIGTERM), server.errors.read_text()[-1000:]
    problems = load.problems + wrong(load, Store.open(folder / "edits.jsonl", "Reader"))
    assert not problems, f"{len(problems)} of {sum(load.counts.values())}, such as {problems[0]}"
    return load, memory


def trial(rng: Random, folder: Path) -> int:
    """A few seconds of it.

    Returns:
        The number of requests.
    """
    load, _ = run(folder, SECONDS, 0.02, rng.random())
    return sum(load.counts.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between two requests")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        load, memory = run(Path(folder), options.minutes * 60, options.pause, 0.0)
    print(json.dumps(load.counts))
    print("MiB: " + " ".join(str(memory[at]) for at in range(4, 100, 5) if at < len(memory)))
    early, late = max(memory[: len(memory) // 5]), max(memory[len(memory) // 5 :])
    print(f"at most {early} MiB in the first fifth, {late} MiB afterwards")
    return int(late > early * GROWTH)


if __name__ == "__main__":
    sys.exit(main())
