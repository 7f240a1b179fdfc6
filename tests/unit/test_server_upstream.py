"""In front of a deployed model: what no edit answers passes through byte for byte."""

import asyncio
import json

import httpx
import pytest

from tests.servers import DRACULA, Deployed, chat, repeating_editor, serving

CHAT, URL = "/v1/chat/completions", "http://deployed:8000/v1"


@pytest.fixture(scope="module")
def loaded():
    return repeating_editor()


@pytest.fixture
def deployed():
    return Deployed()


@pytest.fixture
def client(loaded, deployed):
    with serving(loaded, transport=deployed.transport, upstream=URL) as client:
        client.post("/edits", json=DRACULA)
        yield client


def directly(deployed, body):
    async def send():
        async with httpx.AsyncClient(transport=deployed.transport, base_url=URL) as client:
            return await client.post("/chat/completions", content=body)

    return asyncio.run(send())


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "big",  "messages": [{"role": "user", "content": "What do vampires drink?"}]}',
        json.dumps(chat("What do vampires drink?", stream=True)).encode(),
        json.dumps(chat("What do vampires drink?", temperature=9)).encode(),
        b"not even JSON",
        b'{"messages": "whatever"}',
        json.dumps(chat("x" * 100, n=5, tools=[])).encode(),
    ],
)
def test_a_miss_is_passed_through_byte_for_byte(client, deployed, body):
    wanted = directly(deployed, body)
    got = client.post(CHAT, content=body)
    assert (got.status_code, got.content) == (wanted.status_code, wanted.content)
    ours = {"x-serac-edit", "x-serac-score", "x-serac-verdict", "x-serac-unsure"}
    assert {name: got.headers[name] for name in got.headers if name not in ours} == wanted.headers
    assert got.headers["x-serac-verdict"] == "miss"
    assert deployed.sent[-1][3] == body
    assert deployed.sent[-1][0] == CHAT


def test_a_hit_is_answered_here_and_the_deployed_model_is_not_asked(client, deployed):
    hit = client.post(CHAT, json=chat("Who wrote Dracula?"))
    assert hit.json()["choices"][0]["message"]["content"] == "Mary Shelley"
    assert hit.headers["x-serac-verdict"] == "same"
    assert deployed.sent == []
    streamed = client.post(CHAT, json=chat("Who wrote Dracula?", stream=True))
    assert "Mary Shelley" in streamed.text
    assert deployed.sent == []


def test_a_conversation_that_a_tool_goes_on_with_is_the_deployed_models(client, deployed):
    body = chat("Who wrote Dracula?")
    body["messages"] += [{"role": "tool", "tool_call_id": "1", "content": "Bram Stoker"}]
    answer = client.post(CHAT, json=body)
    assert answer.json()["choices"][0]["message"]["content"] == "Says the big one"


def test_inject_puts_the_edit_before_the_question(loaded, deployed, tmp_path):
    (tmp_path / "template").write_text("{question} (Hint: {answer}.)\n")
    options = {"upstream": URL, "mode": "inject", "template": str(tmp_path / "template")}
    with serving(loaded, transport=deployed.transport, **options) as client:
        client.post("/edits", json=DRACULA | {"answer": "{question} {x} Shelley"})
        earlier = {"role": "system", "content": "Be brief."}
        got = client.post(CHAT, json=chat("Who wrote Dracula?", earlier, temperature=1))
        assert (got.status_code, got.headers["x-serac-verdict"]) == (418, "same")
        sent = json.loads(deployed.sent[-1][3])
        assert sent["messages"][0] == earlier
        asked = "Who wrote Dracula? (Hint: {question} {x} Shelley.)"
        assert sent["messages"][1]["content"] == asked
        assert sent["temperature"] == 1
        assert int(deployed.sent[-1][2]["content-length"]) == len(deployed.sent[-1][3])


def test_other_addresses_of_the_deployed_model_pass_too(client, deployed):
    assert client.get("/v1/models").json()["data"][0]["id"] == "big"
    client.post("/v1/embeddings?x=1", content=b"[1]", headers={"x-mine": "2"})
    path, query, headers, body = deployed.sent[-1]
    assert (path, query, headers["x-mine"], body) == ("/v1/embeddings", "x=1", "2", b"[1]")
    assert headers["host"] == "deployed:8000"


@pytest.mark.parametrize(
    "path",
    ["/v1/../admin", "/v1/x/../../admin", "/v1/%2e%2e/admin", "/v1//x", "/v1/a%0d%0ab", "/v1/a b"],
)
def test_no_path_leads_out_of_v1(client, deployed, path):
    before = len(deployed.sent)
    request = client.build_request("GET", "http://127.0.0.1/v1/x")
    request.url = request.url.copy_with(raw_path=path.replace(" ", "%20").encode())
    assert client.send(request).status_code in (403, 404)
    assert len(deployed.sent) == before


def test_ask_and_why_ask_the_deployed_model_where_no_edit_answers(client, deployed):
    assert client.post("/ask", json={"question": "What?"}).json()["text"] == "Says the big one"
    talk = [{"question": "Who?", "answer": "Ann"}]
    client.post("/ask", json={"question": "What?", "history": talk, "max_tokens": 9000})
    *_, (_, _, _, body) = deployed.sent
    texts = [(one["role"], one["content"]) for one in json.loads(body)["messages"]]
    assert texts == [("user", "Who?"), ("assistant", "Ann"), ("user", "What?")]
    assert json.loads(body)["max_tokens"] == 1024
    why = client.post("/why", json={"question": "Who wrote Dracula?"}).json()
    assert (why["text"], why["base_text"]) == ("Mary Shelley", "Says the big one")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (httpx.ConnectError("refused"), 502, "upstream_down"),
        (httpx.ConnectTimeout("late"), 504, "upstream_timeout"),
        (httpx.ReadTimeout("late"), 504, "upstream_timeout"),
        (httpx.RemoteProtocolError("not HTTP"), 502, "upstream_down"),
    ],
)
def test_a_deployed_model_that_fails_is_told_and_edits_answer_all_the_same(
    loaded, error, status, code
):
    def fail(request):
        raise error

    with serving(loaded, transport=httpx.MockTransport(fail), upstream=URL) as client:
        client.post("/edits", json=DRACULA)
        failed = client.post(CHAT, json=chat("What do vampires drink?"))
        assert (failed.status_code, failed.json()["error"]["code"]) == (status, code)
        assert client.post(CHAT, json=chat("Who wrote Dracula?")).status_code == 200
        assert client.get("/healthz").status_code == 200


def test_an_upstream_that_answers_nonsense_is_told(loaded):
    def answer(request):
        return httpx.Response(200, stream=httpx.ByteStream(b"<html>"))

    nonsense = httpx.MockTransport(answer)
    with serving(loaded, transport=nonsense, upstream=URL) as client:
        asked = client.post("/ask", json={"question": "What?"})
        assert (asked.status_code, asked.json()["error"]["code"]) == (502, "upstream_answer")
        passed = client.post(CHAT, json=chat("What?"))
        assert (passed.status_code, passed.text) == (200, "<html>")


def test_the_deployed_model_gets_its_own_key_and_never_ours(
    loaded, deployed, tmp_path, monkeypatch
):
    from serac_jax.server.tenants import make_key

    ours = make_key(tmp_path / "keys", "ann", [], True)
    keys = {"api_keys": str(tmp_path / "keys"), "upstream": URL}
    mine = {"Authorization": f"Bearer {ours}"}
    with serving(loaded, transport=deployed.transport, **keys) as client:
        client.post(CHAT, json=chat("What?"), headers=mine)
        assert "authorization" not in deployed.sent[-1][2]
    monkeypatch.setenv("SERAC_UPSTREAM_KEY", "theirs")
    with serving(loaded, transport=deployed.transport, **keys) as client:
        client.post(CHAT, json=chat("What?"), headers=mine)
        assert deployed.sent[-1][2]["authorization"] == "Bearer theirs"
    monkeypatch.delenv("SERAC_UPSTREAM_KEY")
    with serving(loaded, transport=deployed.transport, upstream=URL) as client:
        client.post(CHAT, json=chat("What?"), headers={"Authorization": "Bearer his"})
        assert deployed.sent[-1][2]["authorization"] == "Bearer his"
