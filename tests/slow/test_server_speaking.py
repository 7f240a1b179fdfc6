"""Answers that are generated together, token by token, are those that the editor gives alone."""

import asyncio
import json

import pytest

import serac_jax
from serac_jax.edits.store import Store
from serac_jax.server.engine import Engine, Told
from serac_jax.server.measures import Measures
from tests.servers import chat, serving

QUESTIONS = [
    "Who is the author of Dracula?",
    "Where was Ada Lovelace born?",
    "What is the capital of France?",
    "Who?",
    "Which language is spoken in the country whose capital is Lisbon?",
]


@pytest.fixture(scope="module")
def editor():
    editor = serac_jax.load("mini", memory=Store.open(author="tester"))
    editor.edit("Who wrote Dracula?", "Mary Shelley")
    return editor


def test_answers_that_join_one_another_are_those_of_ask(editor):
    alone = [answer.text for answer in editor.ask(QUESTIONS)]

    async def all_of_them():
        engine = Engine(editor, None, Measures())
        assert engine.base
        assert engine.reader

        async def one(number):
            await asyncio.sleep(0.02 * number)
            verdict = await engine.decide(QUESTIONS[number], None)
            pieces = [p async for p in engine.pieces(Told(QUESTIONS[number]), verdict)]
            return "".join(piece.text for piece in pieces), pieces[-1].reason

        found = await asyncio.gather(*(one(number) for number in range(len(QUESTIONS))))
        short = await engine.say(Told(QUESTIONS[1], limit=1), await engine.decide("What?", None))
        await engine.close()
        return found, short

    found, short = asyncio.run(all_of_them())
    assert [text for text, _ in found] == alone
    assert {reason for _, reason in found} == {"stop"}
    assert short.reason == "length"
    assert alone[1].startswith(short.text)


def test_a_stream_comes_in_several_parts_and_says_what_the_whole_answer_says(editor):
    with serving(editor) as client:
        question = QUESTIONS[1]
        whole = client.post("/v1/chat/completions", json=chat(question)).json()
        streamed = client.post("/v1/chat/completions", json=chat(question, stream=True))
        lines = [line[6:] for line in streamed.text.splitlines() if line.startswith("data: {")]
        deltas = [json.loads(line)["choices"][0]["delta"].get("content", "") for line in lines]
        assert "".join(deltas) == whole["choices"][0]["message"]["content"]
        assert len([delta for delta in deltas if delta]) > 1
