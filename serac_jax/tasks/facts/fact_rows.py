"""Facts in the interchange form: JSON lines, one fact each, with the questions that test it.

A line is an object with

    prompt       the question, or the beginning of a sentence, that the edit answers
    answer       what it answers
    subject      what the fact is about; null or left out where it is not known
    true_answer  what is true without the edit; null or left out where it is not known
    asks         [{"kind", "question", "answer"}, …]: questions, each of a kind of `fact_kinds`. An
                 answer is a text, or a list of texts of which any is right. Null, or left out,
                 stands for the edit's own answer in a rephrasing and under another name of the
                 subject, and for the base model's answer out of scope.

`id`, `source`, `relation` and `note` may be there, and are not read; any other field is an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.edits.records import LINES, NOT_EMPTY, is_list, is_object, shown, text
from serac_jax.edits.same_prompt import normal
from serac_jax.tasks.facts.fact_kinds import BY_NAME, SAME_ANSWER
from serac_jax.text.queries import DataError

FIELDS = ("prompt", "answer", "subject", "true_answer", "asks")
IGNORED = ("id", "source", "relation", "note")
ASK_FIELDS = ("kind", "question", "answer")


class Ask(NamedTuple):
    """A question that tests an edit.

    Attributes:
      kind: One of `fact_kinds.BY_NAME`.
      question: What is asked.
      answers: The texts of which any is right; empty where the answer should be the base model's.
    """

    kind: str
    question: str
    answers: tuple[str, ...] = ()

    @property
    def inside(self) -> bool:
        """Whether the question is in the scope of its edit."""
        return BY_NAME[self.kind].inside


class Fact(NamedTuple):
    """An edit with the questions that test it.

    Attributes:
      prompt: What the edit answers.
      answer: Its answer.
      subject: What it is about, if known.
      true_answer: What is true without the edit, if known.
      asks: Further questions; the prompt is not among them.
      source: The file and line.
    """

    prompt: str
    answer: str
    subject: str | None = None
    true_answer: str | None = None
    asks: tuple[Ask, ...] = ()
    source: str = ""

    @property
    def questions(self) -> tuple[Ask, ...]:
        """All questions, the edit's own words first."""
        return (Ask("prompt", self.prompt, (self.answer,)), *self.asks)


def read(path: str | Path) -> list[Fact]:
    """Reads the facts of a file.

    Raises:
      DataError: The file cannot be read, or a line of it, which is named, is not a fact.
    """
    name = str(path)
    try:
        content = files.content(Path(path)).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        if isinstance(error, UnicodeDecodeError):
            line = error.object[: error.start].count(b"\n") + 1
            raise DataError(f"{name}:{line}: not UTF-8 text") from error
        raise DataError(f"cannot read {name:.200} ({files.reason(error)})") from error
    # Lines end at "\n" only: a text may contain other separators, such as U+2028.
    found = [
        parse(line, f"{name}:{number}")
        for number, line in enumerate(content.split("\n"), 1)
        if line.strip()
    ]
    if not found:
        raise DataError(f"{name}: no facts; expected a line of JSON for each, with {needed()}")
    return found


def parse(line: str, where: str) -> Fact:
    """Parses a line.

    Args:
      line: One JSON object.
      where: The file and line, with which an error begins.

    Raises:
      DataError: Names the field that is not right.
    """
    try:
        row = LINES.decode(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not a line of JSON ({error!s:.200})") from error
    if not is_object(row):
        raise DataError(f"{where}: expected an object with {needed()}, not {shown(row)}")
    if unknown := [name for name in row if name not in (*FIELDS, *IGNORED)]:
        raise DataError(
            f"{where}: unknown field {shown(unknown[0])}; a fact has {', '.join(FIELDS)}"
            " (`serac convert` reads other data sets)"
        )
    prompt, answer = (needed_text(row, name, where) for name in ("prompt", "answer"))
    subject, true_answer = (optional_text(row, name, where) for name in ("subject", "true_answer"))
    asks = row.get("asks") or []
    if not is_list(asks):
        raise DataError(f"{where}: field 'asks' should be a list of questions, not {shown(asks)}")
    read_asks = [
        parse_ask(ask, prompt, answer, f"{where}: asks[{index}]") for index, ask in enumerate(asks)
    ]
    return Fact(prompt, answer, subject, true_answer, tuple(filter(None, read_asks)), where)


def parse_ask(ask: Any, prompt: str, answer: str, where: str) -> Ask | None:
    """Parses a question; None for the edit's own words, which are always asked."""
    if not is_object(ask):
        raise DataError(
            f"{where} should be an object with {', '.join(ASK_FIELDS)}, not {shown(ask)}"
        )
    if unknown := [name for name in ask if name not in (*ASK_FIELDS, *IGNORED)]:
        raise DataError(
            f"{where}: unknown field {shown(unknown[0])}; a question has {', '.join(ASK_FIELDS)}"
        )
    kind = needed_text(ask, "kind", where)
    if kind not in BY_NAME:
        raise DataError(
            f"{where}: field 'kind' is {shown(kind)}; expected one of {', '.join(BY_NAME)}"
        )
    question, given = needed_text(ask, "question", where), ask.get("answer")
    answers = tuple(
        checked(one, f"{where}: field 'answer'")
        for one in (given if is_list(given) else [] if given is None else [given])
    )
    if kind == "prompt":
        if normal(question) != normal(prompt):
            raise DataError(f"{where}: kind 'prompt' is for the edit's own words; use 'rephrase'")
        return None
    if BY_NAME[kind].inside and not answers:
        if kind not in SAME_ANSWER:
            raise DataError(f"{where}: a question of kind {kind!r} needs an 'answer'")
        answers = (answer,)
    return Ask(kind, question, answers)


def needed() -> str:
    """The fields that a fact must have, for messages."""
    return "'prompt' and 'answer'"


def needed_text(row: dict[str, Any], name: str, where: str) -> str:
    """A field that must be there, and not be empty."""
    if name not in row:
        raise DataError(
            f"{where}: the field {name!r} is missing; it has"
            f" {', '.join(map(shown, row)) or 'no fields'}"
        )
    return checked(row[name], f"{where}: field {name!r}")


def optional_text(row: dict[str, Any], name: str, where: str) -> str | None:
    """A field that may be missing or null."""
    return None if row.get(name) is None else checked(row[name], f"{where}: field {name!r}")


def checked(value: Any, where: str) -> str:
    """The value, if it is a text that is not empty."""
    try:
        return text(value, where, NOT_EMPTY)
    except UserError as error:
        raise DataError(str(error)) from error


class OneAPrompt(NamedTuple):
    """Facts of which each has a prompt of its own.

    Attributes:
      facts: In their order.
      joined: How many facts repeated a prompt with the same answer; their questions went to the
        first one.
      dropped: How many repeated a prompt with another answer.
    """

    facts: list[Fact]
    joined: int
    dropped: int


def one_a_prompt(facts: Iterable[Fact]) -> OneAPrompt:
    """Keeps one fact a prompt: the first, with the questions of those that say the same."""
    kept: dict[str, Fact] = {}
    joined = dropped = 0
    for fact in facts:
        first = kept.setdefault(normal(fact.prompt), fact)
        if first is fact:
            continue
        if normal(first.answer) != normal(fact.answer):
            dropped += 1
            continue
        joined += 1
        asks = tuple(dict.fromkeys((*first.asks, *fact.asks)))
        kept[normal(fact.prompt)] = first._replace(asks=asks)
    return OneAPrompt(list(kept.values()), joined, dropped)


def line_of(fact: Fact) -> str:
    """The fact's line in a file, with its end."""
    asks = [
        {"kind": ask.kind, "question": ask.question, "answer": text_or_texts(ask.answers)}
        for ask in fact.asks
    ]
    row = dict(zip(FIELDS, (*fact[:4], asks), strict=True))
    return json.dumps(row, ensure_ascii=False) + "\n"


def text_or_texts(answers: Sequence[str]) -> str | list[str] | None:
    """Answers as a line has them: a text where there is one, null where there is none."""
    return list(answers) if len(answers) > 1 else answers[0] if answers else None
