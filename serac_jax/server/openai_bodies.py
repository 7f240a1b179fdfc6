"""Bodies of OpenAI's interface: the question that a request asks, and the responses of a model."""

from __future__ import annotations

import json
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

from serac_jax.server.problems import Problem
from serac_jax.text.templates import Turn

Question = tuple[str, tuple[Turn, ...], bool]


class Request(NamedTuple):
    """What a body asks.

    Attributes:
        fields: the whole body.
        question: the last message of the user, or the prompt.
        history: earlier turns, pairs of a question and its answer.
        limit: the most tokens of the answer.
        answered: whether messages follow it, such as the results of tools.
        stream: whether the answer is wanted as it comes.
        usage: whether a stream ends with numbers of tokens.
        stops: texts before which an answer ends that no edit gives.
    """

    fields: dict[str, Any]
    question: str
    history: tuple[Turn, ...] = ()
    limit: int | None = None
    answered: bool = False
    stream: bool = False
    usage: bool = False
    stops: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """The model that was asked for."""
        return str(self.fields.get("model") or "")


def read(body: bytes, form: Form) -> Request:
    """The request of a body. Raises Problem, which names the field that is not right."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Problem(400, f"the body is not JSON ({str(error)[:100]})", "json") from error
    if not isinstance(fields, dict):
        raise Problem(400, "the body should be a JSON object", "json")
    question, history, answered = form.question_of(fields)
    stream, options = fields.get("stream") or False, fields.get("stream_options") or {}
    if not isinstance(stream, bool):
        raise Problem(400, "'stream' should be true or false", param="stream")
    usage = isinstance(options, dict) and options.get("include_usage") is True
    if not question.strip():
        raise Problem(400, "the question is empty", param=form.field)
    try:
        question.encode()
    except UnicodeEncodeError as error:
        raise Problem(400, "the question has a lone surrogate", param=form.field) from error
    limit, stops = limit_of(fields), stops_of(fields)
    return Request(fields, question, history, limit, answered, stream, usage, stops)


def limit_of(fields: dict[str, Any]) -> int | None:
    """The most tokens of the answer."""
    for name in ("max_completion_tokens", "max_tokens"):
        if (limit := fields.get(name)) is not None:
            if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
                raise Problem(400, f"'{name}' should be a number from 1", param=name)
            return limit
    return None


def stops_of(fields: dict[str, Any]) -> tuple[str, ...]:
    """The stop sequences of the answer."""
    given = fields.get("stop") or []
    stops = [given] if isinstance(given, str) else given
    if not isinstance(stops, list) or not all(isinstance(one, str) and one for one in stops):
        raise Problem(400, "'stop' should be a text, or a list of texts", param="stop")
    return tuple(stops)


class Form(ABC):
    """One of the two forms of requests and responses."""

    field: str  # of the body, with the question
    kind: str  # what responses call themselves
    chunk: str  # what parts of a stream call themselves
    prefix: str  # of ids

    @abstractmethod
    def question_of(self, fields: dict[str, Any]) -> Question:
        """The question, earlier turns, and whether messages follow it."""

    @abstractmethod
    def with_question(self, fields: dict[str, Any], question: str) -> dict[str, Any]:
        """The same body with another question."""

    @abstractmethod
    def choice(self, text: str) -> dict[str, Any]:
        """A whole answer."""

    @abstractmethod
    def part(self, text: str, first: bool) -> dict[str, Any]:
        """A part of an answer."""

    def response(self, model: str, text: str, reason: str, usage: dict[str, int]) -> Any:
        """The body of a whole answer."""
        choice = {"index": 0, **self.choice(text), "logprobs": None, "finish_reason": reason}
        return self.head(self.kind, model) | {"choices": [choice], "usage": usage}

    def head(self, kind: str, model: str) -> dict[str, Any]:
        """What every body begins with."""
        return {
            "id": f"{self.prefix}-{secrets.token_hex(12)}",
            "object": kind,
            "created": int(time.time()),
            "model": model,
        }

    def chunks(self, model: str) -> Stream:
        """The parts of a stream."""
        return Stream(self, self.head(self.chunk, model))


class Stream(NamedTuple):
    """Makes the parts of one stream."""

    form: Form
    head: dict[str, Any]

    def part(self, text: str, first: bool) -> str:
        """The next text."""
        return self.of(self.form.part(text, first), None)

    def end(self, reason: str, usage: dict[str, int] | None) -> Iterator[str]:
        """What ends the stream."""
        yield self.of(self.form.part("", False), reason)
        if usage:
            yield json.dumps(self.head | {"choices": [], "usage": usage})
        yield "[DONE]"

    def of(self, part: dict[str, Any], reason: str | None) -> str:
        choice = {"index": 0, **part, "logprobs": None, "finish_reason": reason}
        return json.dumps(self.head | {"choices": [choice]})


class Chat(Form):
    """/v1/chat/completions."""

    field, kind, chunk = "messages", "chat.completion", "chat.completion.chunk"
    prefix = "chatcmpl"

    def question_of(self, fields: dict[str, Any]) -> Question:
        messages = fields.get("messages")
        if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
            raise Problem(400, "'messages' should be a list of objects", param="messages")
        for place in reversed(range(len(messages))):
            if messages[place].get("role") == "user":
                question = text_of(messages[place].get("content"))
                return question, turns_of(messages[:place]), place < len(messages) - 1
        raise Problem(400, "'messages' has no message of the user", param="messages")

    def with_question(self, fields: dict[str, Any], question: str) -> dict[str, Any]:
        messages = list(fields["messages"])
        place = max(at for at, one in enumerate(messages) if one.get("role") == "user")
        content = messages[place]["content"]
        if isinstance(content, list):  # images and the like stay
            rest = [part for part in content if part.get("type") != "text"]
            content = [{"type": "text", "text": question}, *rest]
        else:
            content = question
        messages[place] = messages[place] | {"content": content}
        return fields | {"messages": messages}

    def choice(self, text: str) -> dict[str, Any]:
        return {"message": {"role": "assistant", "content": text, "refusal": None}}

    def part(self, text: str, first: bool) -> dict[str, Any]:
        role = {"role": "assistant"} if first else {}
        return {"delta": role | ({"content": text} if text or first else {})}


class Completion(Form):
    """/v1/completions."""

    field, kind, chunk = "prompt", "text_completion", "text_completion"
    prefix = "cmpl"

    def question_of(self, fields: dict[str, Any]) -> Question:
        prompt = fields.get("prompt")
        if isinstance(prompt, list) and len(prompt) == 1:
            (prompt,) = prompt
        if not isinstance(prompt, str):
            raise Problem(400, "'prompt' should be one text", param="prompt")
        return prompt, (), False

    def with_question(self, fields: dict[str, Any], question: str) -> dict[str, Any]:
        return fields | {"prompt": question}

    def choice(self, text: str) -> dict[str, Any]:
        return {"text": text}

    def part(self, text: str, first: bool) -> dict[str, Any]:
        return {"text": text}


def turns_of(messages: list[dict[str, Any]]) -> tuple[Turn, ...]:
    """Earlier turns: messages of the user, each with the assistant's answer that follows it."""
    turns: list[Turn] = []
    for asked, said in pairwise(messages):
        if (asked.get("role"), said.get("role")) == ("user", "assistant"):
            turns.append((text_of(asked.get("content")), text_of(said.get("content") or "")))
    return tuple(turns)


def text_of(content: Any) -> str:
    """The text of a message, whose content is a text or a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise Problem(400, "the content of a message should be a text", param="messages")
    texts = [part.get("text") for part in content if part.get("type") == "text"]
    if not all(isinstance(text, str) for text in texts):
        raise Problem(400, "a part of type 'text' should have a text", param="messages")
    return "\n".join(texts)


CHAT, COMPLETION = Chat(), Completion()
