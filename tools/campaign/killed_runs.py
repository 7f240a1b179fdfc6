"""Training runs and servers that are killed at any moment."""

from __future__ import annotations

import atexit
import shutil
import signal
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from random import Random

from serac_jax.edits import check
from serac_jax.edits.store import Store

RUNS, SERVERS = 4, 3  # kills of a trial


@cache
def whole_run() -> tuple[Path, Path]:
    """The cache of the data, and the folder of a run that nothing interrupted."""
    from tests.programs import arguments, finish, start

    folder = Path(tempfile.mkdtemp(prefix="serac-jax-campaign-"))
    atexit.register(shutil.rmtree, folder)
    finish(start("train.py", *arguments(folder / "cache", folder / "whole")))
    return folder / "cache", folder / "whole"


def training(rng: Random, folder: Path) -> int:
    """Kills a run again and again, saves included. It ends with the numbers of one that nothing
    interrupted, bit for bit.

    Returns:
        The number of kills.
    """
    from tests.programs import arguments, finish, read_until, same, start

    cached, whole = whole_run()
    command = arguments(cached, folder / "run", **{"train.save_every": 2})
    for _ in range(RUNS):
        run = start("train.py", *command)
        if rng.random() < 0.1:
            time.sleep(rng.uniform(0, 10))
        else:
            read_until(run, "step ")  # it trains
            time.sleep(rng.uniform(0, 0.5))
        run.send_signal(signal.SIGKILL)
        _, said = run.communicate()
        assert "Traceback" not in said, said
    finish(start("train.py", *command))
    same(whole, folder / "run")
    return RUNS


def servers(rng: Random, folder: Path) -> int:
    """Kills a server that four clients send edits to. Every edit that was answered 201 is in the
    memory, which is sound; the next server holds it.

    Returns:
        The number of kills.
    """
    import httpx

    from tests.servers import process

    told = set[str]()
    for turn in range(SERVERS):
        with process(folder, "--no-warm-up") as server:
            begun = threading.Event()

            def add(number: int, server=server, turn=turn, begun=begun) -> None:
                edit = {"prompt": f"Who is {turn} {number}?", "answer": f"Number {number}"}
                try:
                    done = server.client.post("/edits", json=edit | {"policy": "keep"})
                except httpx.HTTPError:
                    return  # it was killed
                assert done.status_code == 201, done.text
                told.add(done.json()["id"])
                begun.set()

            with ThreadPoolExecutor(4) as pool:
                added = [pool.submit(add, number) for number in range(1000)]
                begun.wait(60)
                time.sleep(rng.uniform(0, 0.3))
                server.end(signal.SIGKILL)
                pool.shutdown(cancel_futures=True)
            for one in added:
                if not one.cancelled():
                    one.result()
        held = Store.open(folder / "edits.jsonl", "Reader").edits
        assert told <= held.keys(), f"lost: {sorted(told - held.keys())}"
        assert not check.problems(folder / "edits.jsonl")
    return SERVERS
