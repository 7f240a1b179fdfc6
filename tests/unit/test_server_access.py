"""Who may call the server, what a key sees and changes, and what a request may take."""

import json
import os
import stat
import sys
from contextlib import suppress

import pytest

from serac_jax.core.errors import UserError
from serac_jax.server.settings import Settings
from serac_jax.server.tenants import make_key
from tests.servers import DRACULA, chat, repeating_editor, serving

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def loaded():
    return repeating_editor()


@pytest.fixture
def keys(tmp_path):
    """Headers of an owner who may do all, of one of team-a, and of one who only asks."""
    file = tmp_path / "keys.jsonl"
    made = {
        "owner": make_key(file, "owner", [], True),
        "team-a": make_key(file, "team-a", ["a"], True),
        "reader": make_key(file, "reader", ["a"], False),
    }
    return file, {name: {"Authorization": f"Bearer {key}"} for name, key in made.items()}


@pytest.fixture
def client(loaded, keys):
    with serving(loaded, api_keys=str(keys[0])) as client:
        yield client


def test_a_key_is_kept_as_a_hash_that_only_its_owner_may_read(tmp_path):
    key = make_key(tmp_path / "keys", "ann", ["b", "a"], True)
    text = (tmp_path / "keys").read_text()
    assert key not in text
    assert json.loads(text)["tags"] == ["a", "b"]
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o600
    with pytest.raises(UserError, match="has a key of the name 'ann'"):
        make_key(tmp_path / "keys", "ann", [], False)
    with pytest.raises(UserError, match="a key needs a name"):
        make_key(tmp_path / "keys", "\x1b[2J", [], False)


def test_without_a_key_nobody_asks_and_health_is_open(client, keys):
    for headers in ({}, {"Authorization": "Bearer no"}, {"Authorization": "Basic no"}):
        for path in ("/edits", "/log", "/metrics", "/v1/models"):
            refused = client.get(path, headers=headers)
            assert refused.status_code == 401
            assert refused.headers["www-authenticate"] == "Bearer"
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 200
    assert client.get("/edits", headers=keys[1]["owner"]).status_code == 200


def test_a_key_sees_and_changes_what_has_its_tags(client, keys):
    owner, team, reader = (keys[1][name] for name in ("owner", "team-a", "reader"))
    secret = {"prompt": "Who leads team b?", "answer": "Kim", "tags": ["b"]}
    hidden = client.post("/edits", json=secret, headers=owner).json()["id"]
    assert client.post("/edits", json=DRACULA, headers=owner).status_code == 201

    def seen(headers):
        return [edit["prompt"] for edit in client.get("/edits", headers=headers).json()["edits"]]

    assert seen(owner) == [secret["prompt"], DRACULA["prompt"]]
    assert seen(team) == [DRACULA["prompt"]]
    assert client.get(f"/edits/{hidden}", headers=team).status_code == 404
    assert secret["prompt"] not in client.get("/log", headers=team).text
    assert secret["prompt"] not in client.get("/edits/export", headers=team).text
    asked = {"question": secret["prompt"]}
    assert client.post("/ask", json=asked, headers=team).json()["edit_id"] is None
    assert client.post("/ask", json=asked, headers=owner).json()["edit_id"] == hidden
    other = client.post("/ask", json=asked | {"tags": ["b"]}, headers=team)
    assert (other.status_code, other.json()["error"]["code"]) == (403, "forbidden")
    chosen = client.post(CHAT, json=chat(secret["prompt"]), headers=team | {"X-Serac-Tags": "b"})
    assert chosen.status_code == 403

    own = {"prompt": "Who leads team a?", "answer": "Lee", "tags": ["a"]}
    assert client.post("/edits", json=own, headers=reader).status_code == 403
    added = client.post("/edits", json=own, headers=team).json()
    assert added["author"] == "team-a"
    assert client.get("/log", headers=team).json()["operations"][0]["author"] == "team-a"
    for tags in ([], ["b"], ["a", "b"]):
        refused = client.post("/edits", json=own | {"tags": tags}, headers=team)
        assert refused.status_code == 403
    assert client.delete(f"/edits/{hidden}", headers=team).status_code == 404
    assert client.post("/undo", headers=reader).status_code == 403
    assert client.post("/undo", headers=team).status_code == 200  # its own
    assert client.post("/undo", headers=team).status_code == 403  # the owner's
    assert client.get("/check", headers=team).status_code == 403


def test_an_edit_of_several_tags_is_not_replaced_by_who_has_one_of_them(client, keys):
    owner, team = keys[1]["owner"], keys[1]["team-a"]
    shared = DRACULA | {"tags": ["a", "b"]}
    client.post("/edits", json=shared, headers=owner)
    mine = DRACULA | {"answer": "Kim", "tags": ["a"], "policy": "newest"}
    assert client.post("/edits", json=mine, headers=team).status_code == 409
    assert client.post("/edits", json=mine, headers=owner).status_code == 201


def test_keys_are_read_again_when_their_file_changes(client, keys):
    file, made = keys
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:2]) + "\n")
    client.app.state.context.reload()
    assert client.get("/edits", headers=made["reader"]).status_code == 401
    assert client.get("/edits", headers=made["owner"]).status_code == 200
    file.write_text("nonsense")
    client.app.state.context.reload()
    assert client.get("/edits", headers=made["owner"]).status_code == 200
    assert client.get("/readyz").json()["trouble"].startswith(f"{file}:1: not a line of JSON")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),  # a name that was made to lead here
        ({"Host": "127.0.0.1.evil.example:8800"}, 403),
        ({"Host": ""}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:9999"}, 403),  # another server of this machine
        ({"Origin": "http://127.0.0.1"}, 200),
        ({"Host": "localhost:8800", "Origin": "http://localhost:8800"}, 200),
        ({"Host": "[::1]:8800"}, 200),
        ({"Origin": "https://friend.example"}, 200),
    ],
)
def test_pages_of_other_sites_do_not_get_through(loaded, headers, status):
    with serving(loaded, origins=("https://friend.example",)) as client:
        assert client.get("/edits", headers=headers).status_code == status
        assert client.post("/undo", headers=headers).status_code == (403 if status == 403 else 400)


def test_an_origin_that_is_admitted_may_read_what_was_told(loaded):
    friend = {"Origin": "https://friend.example"}
    with serving(loaded, origins=("https://friend.example",)) as client:
        got = client.post(CHAT, json=chat("What?"), headers=friend)
        assert got.headers["access-control-allow-origin"] == "https://friend.example"
        assert "X-Serac-Edit" in got.headers["access-control-expose-headers"]


def test_a_server_without_keys_listens_to_this_machine_only(tmp_path):
    with pytest.raises(UserError, match=r"--host=0\.0\.0\.0 can be reached.*serac serve key"):
        Settings(host="0.0.0.0").check()
    Settings(host="::1").check()
    Settings(host="0.0.0.0", api_keys="keys.jsonl").check()
    for wrong in ({"mode": "inject"}, {"upstream": "localhost:8000"}, {"timeout": 0}, {"rate": -1}):
        with pytest.raises(UserError, match="--"):
            Settings(**wrong).check()


def test_each_limit_has_its_status(loaded):
    with serving(loaded, max_body=1000, rate=60, concurrent=3) as client:
        large = client.post("/edits", content=b"x" * 1001)
        assert (large.status_code, large.json()["error"]["code"]) == (413, "body_too_large")
        chunks = client.post("/edits", content=(b"x" * 100 for _ in range(11)))
        assert chunks.status_code == 413
        many = client.get("/edits", headers={f"x-{number}": "y" for number in range(300)})
        assert many.status_code == 431
        late = [client.get("/edits") for _ in range(70)][-1]
        assert late.status_code == 429
        assert int(late.headers["retry-after"]) >= 1
        assert client.get("/healthz").status_code == 200
    with serving(loaded, concurrent=1) as client:
        client.app.state.context  # noqa: B018 the app has started
        limits = next(each for each in layers(client.app) if hasattr(each, "buckets"))
        limits.running = 1
        full = client.get("/edits")
        assert (full.status_code, full.headers["retry-after"]) == (503, "1")


def layers(app):
    layer = app.middleware_stack
    while layer is not None:
        yield layer
        layer = getattr(layer, "app", None)


def test_logs_have_no_texts_unless_they_are_asked_for(loaded, capfd):
    from serac_jax.server import request_log

    request_log.configure()
    for log_texts in (False, True):
        with serving(loaded, log_texts=log_texts) as client:
            client.post(CHAT, json=chat("Is it \x1b[31mred\x9b?"))
            client.get("/edits/%1b[2J")
        lines = capfd.readouterr().err.splitlines()
        assert all(json.loads(line)["level"] in ("info", "warning") for line in lines)
        assert "\x1b" not in "".join(lines)
        assert "\x9b" not in "".join(lines)
        assert ("red" in "".join(lines)) is log_texts
        asked = json.loads(lines[0])
        assert (asked["route"], asked["status"], asked["edit"]) == (CHAT, 200, "")


@pytest.mark.parametrize("gone", ["full", "closed", "pipe"])
def test_a_log_that_takes_nothing_fails_no_request(loaded, tmp_path, monkeypatch, gone):
    from serac_jax.server import request_log

    full = os.open("/dev/full", os.O_WRONLY)
    reading, writing = os.pipe()
    os.close(reading)
    with suppress(OSError), os.fdopen(full, "w"), os.fdopen(writing, "w", buffering=1) as broken:
        error = broken if gone == "pipe" else os.fdopen(os.dup(full), "w", buffering=1)
        if gone == "closed":
            error.close()
        monkeypatch.setattr(sys, "stderr", error)
        request_log.configure()
        with serving(loaded, tmp_path / "edits.jsonl") as client:
            added = client.post("/edits", json=DRACULA).status_code
            with (tmp_path / "edits.jsonl").open("a") as memory:
                memory.write("no edit\n")
            refused = client.post("/edits", json=DRACULA | {"answer": "Ann"})  # and a warning
        monkeypatch.undo()
        error.close()
    assert (added, refused.status_code) == (201, 503)
    assert "edits.jsonl:3: " in refused.json()["error"]["message"]


def test_metrics_count_what_happened(loaded):
    with serving(loaded) as client:
        client.post("/edits", json=DRACULA)
        client.post(CHAT, json=chat("Who wrote Dracula?"))
        client.post(CHAT, json=chat("What do vampires drink?"))
        text = client.get("/metrics").text
    assert 'serac_answers_total{by="edit"} 1.0' in text
    assert 'serac_answers_total{by="base"} 1.0' in text
    assert "serac_edits 1.0" in text
    assert 'serac_stage_seconds_count{stage="route"} 2.0' in text
    assert 'serac_requests_total{method="POST",route="/edits",status="201"} 1.0' in text
