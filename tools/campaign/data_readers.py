"""Parsers of data sets, of models and of requests, as the campaign calls them; see `readers`."""

from __future__ import annotations

import io
import json
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

from serac_jax.core.errors import UserError
from tools.campaign.readers import ASSETS

Read = Callable[[bytes, Path], None]


def first_rows(name: str) -> Callable[[], list[bytes]]:
    """The first lines of a shipped data file."""

    @cache
    def samples() -> list[bytes]:
        rows = (ASSETS / "data" / name).read_bytes().split(b"\n")[:4]
        return [b"\n".join(rows) + b"\n"]

    return samples


def zsre(data: bytes, folder: Path) -> None:
    """Rows of zsRE."""
    from serac_jax.tasks.zsre import zsre_rows

    (folder / "rows.jsonl").write_bytes(data)
    deque(zsre_rows.read_rows(folder / "rows.jsonl"), 0)


def fnli(data: bytes, folder: Path) -> None:
    """Rows of fact checking."""
    from serac_jax.tasks.fnli import fnli_rows

    (folder / "rows.jsonl").write_bytes(data)
    deque(fnli_rows.read_rows(folder / "rows.jsonl"), 0)


def sent(data: bytes, folder: Path) -> None:
    """Rows of sentiment."""
    from serac_jax.tasks.sent import sent_rows

    (folder / "rows.json").write_bytes(data)
    deque(sent_rows.read_rows(folder / "rows.json"), 0)


def SENT() -> list[bytes]:  # noqa: N802 (a constant that is made when it is first used)
    """Rows of sentiment."""
    return [b'[{"ent": "tea", "pos": ["I like tea.", "Tea is good."], "neg": ["Tea is bad."]}]']


@cache
def PUBLISHED() -> list[bytes]:  # noqa: N802
    """Rows of published data sets."""
    from tests.published_rows import ARCHIVE, ROWS

    return [json.dumps([row]).encode() for row in (*ROWS.values(), ARCHIVE)]


def published(data: bytes, folder: Path) -> None:
    """Rows of a published data set, as every one; what is written is read again."""
    from serac_jax.tasks.facts import convert_facts, fact_rows

    (folder / "rows.json").write_bytes(data)
    errors = []
    for name in convert_facts.NAMES:
        try:
            found = convert_facts.convert([folder / "rows.json"], name)
        except UserError as error:
            errors.append(error)
            continue
        for fact in found.facts:
            try:
                fact_rows.parse(fact_rows.line_of(fact), "line")
            except UserError as error:
                raise AssertionError("what was written cannot be read") from error
    if len(errors) == len(convert_facts.NAMES):
        raise errors[0]


@cache
def TORCH() -> list[bytes]:  # noqa: N802
    """Files of `torch.save`."""
    import torch

    found = []
    for value in ({"a.weight": torch.ones(3, 4)}, {"model": {"b": torch.arange(5)}, "step": 3}):
        torch.save(value, file := io.BytesIO())
        found.append(file.getvalue())
    return found


def torch_file(data: bytes, folder: Path) -> None:
    """A file of `torch.save`."""
    from serac_jax.models import torch_file as reader

    (folder / "weights.pt").write_bytes(data)
    reader.load(folder / "weights.pt")


def BODIES() -> list[bytes]:  # noqa: N802
    """Requests to a server."""
    return [
        b'{"model": "m", "messages": [{"role": "system", "content": "Be brief."}, {"role": "user",'
        b' "content": "Hi"}, {"role": "assistant", "content": "Hello"}, {"role": "user", "content":'
        b' [{"type": "text", "text": "Who?"}]}], "max_tokens": 5, "stream": true}',
        b'{"model": "m", "prompt": ["Who?"], "stream_options": {"include_usage": true}}',
    ]


def body(data: bytes, folder: Path) -> None:
    """The body of a request, as both kinds."""
    from serac_jax.server import openai_bodies
    from serac_jax.server.problems import Problem

    for form in (openai_bodies.Chat(), openai_bodies.Completion()):
        with suppress(Problem):
            found = openai_bodies.read(data, form)
            form.with_question(found.fields, "another")
