"""OpenAI's interface in front of a local editor: whole answers, streams, and what is refused."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serac_jax.core.errors import UserError
from serac_jax.server import openai_bodies
from serac_jax.server.problems import Problem
from serac_jax.server.stopping import Until
from tests.servers import DRACULA, chat, repeating_editor, serving
from tests.threads import Repeating

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


@pytest.fixture(scope="module")
def loaded():
    return repeating_editor()


@pytest.fixture
def client(loaded):
    with serving(loaded) as client:
        client.post("/edits", json=DRACULA)
        yield client


def events(response):
    lines = [line for line in response.text.splitlines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_an_edit_answers_a_chat_and_the_headers_say_so(client):
    hit = client.post(CHAT, json=chat("who wrote dracula?"))
    choice = hit.json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Mary Shelley", "stop")
    assert hit.json()["usage"]["total_tokens"] > 2
    (edit,) = client.get("/edits").json()["edits"]
    assert hit.headers["x-serac-edit"] == edit["id"]
    assert (hit.headers["x-serac-verdict"], hit.headers["x-serac-score"]) == ("same", "1.0000")
    assert (edit["answers"], edit["last_answered"] > "2020") == (1, True)
    miss = client.post(CHAT, json=chat("What do vampires drink?"))
    assert (miss.headers["x-serac-edit"], miss.headers["x-serac-verdict"]) == ("", "miss")
    assert miss.json()["choices"][0]["message"]["content"] == ""


def test_a_chat_streams_and_ends_with_its_usage_where_that_is_asked_for(client):
    body = chat("Who wrote Dracula?", stream=True, stream_options={"include_usage": True})
    streamed = client.post(CHAT, json=body)
    assert streamed.headers["content-type"].startswith("text/event-stream")
    found = events(streamed)
    assert found[0]["choices"][0]["delta"]["role"] == "assistant"
    texts = [one["choices"][0]["delta"].get("content", "") for one in found[:-1]]
    assert "".join(texts) == "Mary Shelley"
    assert [one["choices"][0]["finish_reason"] for one in found[:-1]][-1] == "stop"
    assert found[-1]["usage"]["completion_tokens"] > 0
    assert len({one["id"] for one in found}) == 1


def test_a_prompt_is_completed_whole_and_as_a_stream(client):
    whole = client.post(TEXT, json={"model": "any", "prompt": "Who wrote Dracula?"}).json()
    assert (whole["object"], whole["choices"][0]["text"]) == ("text_completion", "Mary Shelley")
    streamed = client.post(TEXT, json={"prompt": ["Who wrote Dracula?"], "stream": True})
    texts = [one["choices"][0]["text"] for one in events(streamed)]
    assert "".join(texts) == "Mary Shelley"


def test_the_question_is_the_last_message_of_the_user_and_may_have_parts(client):
    parts = [{"type": "text", "text": "Who wrote Dracula?"}]
    earlier = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    answer = client.post(CHAT, json=chat(parts, *earlier)).json()
    assert answer["choices"][0]["message"]["content"] == "Mary Shelley"


def test_earlier_turns_are_history_and_limits_are_read():
    earlier = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Who wrote Emma?"},
        {"role": "assistant", "content": "Jane Austen"},
        {"role": "user", "content": "never answered"},
    ]
    body = json.dumps(chat("And Dracula?", *earlier, max_tokens=7)).encode()
    asked = openai_bodies.read(body, openai_bodies.CHAT)
    assert asked.question == "And Dracula?"
    assert asked.history == (("Who wrote Emma?", "Jane Austen"),)
    assert (asked.limit, asked.answered, asked.stream) == (7, False, False)
    for stop, wanted in ((None, ()), ("\n", ("\n",)), (["a", "b"], ("a", "b"))):
        body = json.dumps(chat("Who?", stop=stop)).encode()
        assert openai_bodies.read(body, openai_bodies.CHAT).stops == wanted
    with pytest.raises(Problem, match="'stop' should be a text"):
        openai_bodies.read(json.dumps(chat("Who?", stop=[""])).encode(), openai_bodies.CHAT)
    body = json.dumps(chat("Who?", max_completion_tokens=0)).encode()
    with pytest.raises(Problem, match="max_completion_tokens"):
        openai_bodies.read(body, openai_bodies.CHAT)


@given(st.lists(st.text("ab\n", max_size=4), max_size=6), st.lists(st.text("ab\n", min_size=1)))
def test_an_answer_ends_before_a_stop_sequence_however_it_comes(pieces, stops):
    until, told = Until(stops), ""
    for piece in pieces:
        told += until.add(piece)
        if until.over:
            break
    else:
        told += until.rest()
    # The first of them that has come whole ends the answer.
    texts = ["".join(pieces[:count]) for count in range(len(pieces) + 1)]
    whole = next((text for text in texts if any(stop in text for stop in stops)), texts[-1])
    ends = [at for stop in stops if (at := whole.find(stop)) >= 0]
    assert told == whole[: min(ends, default=None)]
    assert until.over == bool(ends)


def test_an_edits_answer_is_not_stopped_and_a_generated_one_is(loaded):
    class Talking(Repeating):
        def __call__(self, questions, histories=None, limit=None):
            return ["One.\nTwo." for _ in questions]

    editor = copy.copy(loaded)
    editor.base = Talking()
    with serving(editor) as client:
        client.post("/edits", json=DRACULA)
        for question, wanted in (("Who wrote Dracula?", "Mary Shelley"), ("Else?", "One.")):
            answer = client.post(CHAT, json=chat(question, stop=["\n", "S"])).json()["choices"][0]
            assert answer["message"]["content"] == wanted
            assert answer["finish_reason"] == "stop"


def test_a_conversation_that_the_model_has_no_room_for_is_refused_before_a_stream_begins(client):
    class Full:
        def begin(self, *asked):
            raise UserError("the question and what is read before it have 9 tokens")

        def close(self):
            pass

    client.app.state.context.engine.base = Full()
    for stream in (False, True):
        refused = client.post(CHAT, json=chat("What do vampires drink?", stream=stream))
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "context_length_exceeded"


def test_models_are_listed(client):
    (model,) = client.get("/v1/models").json()["data"]
    assert model["id"] == "mini"
    assert client.get("/v1/models/mini").json() == model
    missing = client.get("/v1/models/other")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
    assert client.post("/v1/embeddings", json={}).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"messages": "hello"}',
        b'{"messages": []}',
        b'{"messages": [{"role": "system", "content": "x"}]}',
        b'{"messages": [{"role": "user", "content": 3}]}',
        b'{"messages": [{"role": "user", "content": ""}]}',
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b'{"messages": [{"role": "user", "content": [{"type": "text"}]}]}',
        b'{"messages": [{"role": "user", "content": "x"}], "stream": "yes"}',
        b'{"messages": [{"role": "user", "content": "x"}], "n": 2}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_bodies_that_ask_nothing_are_refused_in_openais_form(client, body):
    refused = client.post(CHAT, content=body)
    assert refused.status_code == 400, refused.text
    error = refused.json()["error"]
    assert error.keys() >= {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"


def test_a_question_that_is_too_long_is_refused(loaded):
    with serving(loaded, max_prompt=50) as client:
        for path, body in ((CHAT, chat("x" * 51)), ("/ask", {"question": "x" * 51})):
            refused = client.post(path, json=body)
            assert refused.status_code == 400
            assert refused.json()["error"]["code"] == "context_length_exceeded"


def test_why_tells_the_score_the_threshold_and_the_base_models_answer(client):
    why = client.post("/why", json={"question": "Who wrote Dracula?"}).json()
    assert (why["text"], why["base_text"], why["score"]) == ("Mary Shelley", "", 1.0)
    assert why["margin"] == pytest.approx(1.0 - why["threshold"])
    assert why["nearest"]["edit"]["answer"] == "Mary Shelley"
