"""Servers as processes: kills, signals, several on one memory, and the clients that people use."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

from serac_jax.edits.store import Store
from serac_jax.server.tenants import make_key
from tests.servers import DRACULA, Deployed, chat, process, wait_for

CHAT = "/v1/chat/completions"


def test_what_was_answered_201_is_there_after_a_kill(tmp_path):
    acknowledged = []
    for turn in range(5):
        with process(tmp_path, "--no-warm-up") as server:

            def add(number, server=server, turn=turn):
                edit = {"prompt": f"Who is {turn} {number}?", "answer": f"Number {number}"}
                try:
                    done = server.client.post("/edits", json=edit | {"policy": "keep"})
                except httpx.HTTPError:
                    return
                if done.status_code == 201:
                    acknowledged.append(done.json()["id"])

            def kill(server=server, turn=turn):
                wait_for(lambda: len(acknowledged) >= 15 * (turn + 1))
                time.sleep(
                    turn / 100
                )  # so that the kill meets another moment of a change each time
                server.end(signal.SIGKILL)

            killer = threading.Thread(target=kill)
            killer.start()
            with ThreadPoolExecutor(4) as pool:
                list(pool.map(add, range(400)))
            killer.join()
        held = Store.open(tmp_path / "edits.jsonl").edits
        assert set(acknowledged) <= held.keys()
    assert len(acknowledged) >= 75


def test_two_processes_share_a_memory_and_their_metrics(tmp_path):
    with process(tmp_path, "--workers=2", "--no-warm-up") as server:
        for number in range(20):
            prompt, answer = f"Who is {number}?", f"Number {number}"
            added = httpx.post(f"{server.url}/edits", json={"prompt": prompt, "answer": answer})
            assert added.status_code == 201, added.text
            for _ in range(4):  # connections of their own, so that both processes are asked
                asked = httpx.post(f"{server.url}/ask", json={"question": prompt}, timeout=60)
                assert asked.json()["edit_id"] == added.json()["id"]
        counted = httpx.get(f"{server.url}/metrics").text
        assert 'serac_requests_total{method="POST",route="/edits",status="201"} 20.0' in counted
        assert server.end() == 0


def test_a_hangup_reads_keys_again(tmp_path):
    keys = tmp_path / "keys"
    first = make_key(keys, "first", [], True)
    with process(tmp_path, f"--api-keys={keys}", "--no-warm-up") as server:
        mine = {"Authorization": f"Bearer {first}"}
        assert server.client.get("/edits", headers=mine).status_code == 200
        second = make_key(keys, "second", [], True)
        server.running.send_signal(signal.SIGHUP)
        theirs = {"Authorization": f"Bearer {second}"}
        wait_for(lambda: server.client.get("/edits", headers=theirs).status_code == 200, 10)
        assert server.running.poll() is None


def test_a_server_that_is_stopped_finishes_its_streams(tmp_path):
    deployed = Deployed()
    deployed.pause = 0.5
    with (
        deployed.listening() as url,
        process(tmp_path, f"--upstream={url}", "--no-warm-up") as server,
        server.client.stream("POST", CHAT, json=chat("What?", stream=True)) as streamed,
    ):
        lines = streamed.iter_lines()
        assert "Says" in next(lines)
        server.running.send_signal(signal.SIGTERM)
        assert "data: [DONE]" in list(lines)
        assert server.running.wait(30) in (0, -signal.SIGTERM)


def test_a_client_that_goes_ends_the_upstreams_work(tmp_path):
    deployed = Deployed()
    with (
        deployed.listening() as url,
        process(tmp_path, f"--upstream={url}", "--no-warm-up") as server,
    ):
        with server.client.stream("POST", CHAT, json=chat("forever", stream=True)) as streamed:
            next(streamed.iter_lines())
        wait_for(lambda: deployed.cut == 1, 10)
        with pytest.raises(httpx.RemoteProtocolError):
            server.client.post(CHAT, json=chat("dropped", stream=True))
        assert server.client.post(CHAT, json=chat("What?")).status_code == 200


def test_rude_clients_are_refused_and_hold_up_nobody(tmp_path):
    with process(tmp_path, "--timeout=2", "--max-body=100000", "--no-warm-up") as server:
        port = int(server.url.rpartition(":")[2])

        def raw(data, wait=5.0):
            with socket.create_connection(("127.0.0.1", port), timeout=wait) as connection:
                connection.sendall(data)
                try:
                    return connection.recv(65536)
                except TimeoutError:
                    return b"nothing"

        head = b"POST /edits HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        assert b" 400 " in raw(b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 100_000 + b"\r\n")
        assert b" 400 " in raw(b"nonsense\r\n\r\n")
        assert b" 413 " in raw(head + b"Content-Length: 99999999\r\n\r\n")
        assert b" 408 " in raw(head + b"Content-Length: 50\r\n\r\n{")  # the rest never comes
        assert b" 400 " in raw(head + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}")
        slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
        for connection in slow:
            connection.sendall(head)
        begun = time.monotonic()
        assert server.client.get("/healthz").status_code == 200
        assert time.monotonic() - begun < 1
        for connection in slow:
            connection.close()
        injected = server.client.get("/v1/models/x%0d%0aX-Evil:%201")
        assert "x-evil" not in injected.headers


def test_openais_client_asks_and_streams_unchanged(tmp_path):
    with process(tmp_path, "--no-warm-up") as server:
        server.client.post("/edits", json=DRACULA)
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0)
        question = [{"role": "user", "content": "Who wrote Dracula?"}]
        answer = client.chat.completions.create(model="mini", messages=question)
        assert answer.choices[0].message.content == "Mary Shelley"
        raw = client.chat.completions.with_raw_response.create(model="mini", messages=question)
        assert raw.headers["x-serac-edit"]
        parts = client.chat.completions.create(model="mini", messages=question, stream=True)
        texts = [part.choices[0].delta.content or "" for part in parts if part.choices]
        assert "".join(texts) == "Mary Shelley"
        text = client.completions.create(model="mini", prompt="Who wrote Dracula?")
        assert text.choices[0].text == "Mary Shelley"
        assert [model.id for model in client.models.list()] == ["mini"]
        with pytest.raises(openai.BadRequestError, match="no message of the user"):
            client.chat.completions.create(model="mini", messages=[])
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("other")


def test_the_openapi_description_keeps_its_word(tmp_path):
    """schemathesis makes requests from the description, right and wrong ones."""
    with process(tmp_path, "--no-warm-up") as server:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"),
                "--max-examples=15",
                "--checks=not_a_server_error,status_code_conformance",
                "--checks=response_schema_conformance,content_type_conformance",
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            timeout=900,
        )
        assert done.returncode == 0, done.stdout[-6000:]
        assert server.client.get("/readyz").status_code == 200


def test_a_key_is_made_and_a_server_without_the_extra_says_what_to_install(tmp_path, capsys):
    from serac_jax.cli.main import main

    assert main(["serve", "key", "ann", f"--api-keys={tmp_path / 'keys'}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["key"].startswith("sk-serac-")
    assert main(["serve", "--host=0.0.0.0"]) == 1
    assert "there are no API keys" in capsys.readouterr().err
