"""Inputs that were right until they were damaged, and a part of the campaign for whoever reads
them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from serac_jax.core.errors import UserError

INPUTS = 1000  # of a trial
TOKENS = [
    b"\0", b"\n", b"\r", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b'"', b"\\", b"\\ud800", b"{",
    b"}", b"[", b"]", b",", b":", b"null", b"true", b"NaN", b"1e999", b"-0", b"9" * 5000,
    b"[" * 2000, b'{"a":' * 2000, "\u2028".encode(), b"\x0c", b"\x1b[2J", b"a" * 70_000,
    b"<<<<<<< ours\n", b"\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x80\x02}", b"PK\x03\x04",
]  # fmt: skip
VALUES: list[Any] = [
    None, True, False, 0, -1, 1 << 70, 1e308, float("nan"), float("inf"), "", " ", "x", "\ud800",
    "\u2028", [], {}, [[]], [None], {"": None}, "9999-12-31T23:59:59-23:59", "a" * 1000,
]  # fmt: skip


def fuzzed(
    read: Callable[[bytes, Path], object], samples: Callable[[], Sequence[bytes]]
) -> Callable[[Random, Path], int]:
    """A part: damaged samples are read, or refused with `UserError`, and nothing else.

    Args:
      read: Reads an input; it may write to the folder that it is given.
      samples: Makes inputs that are right.
    """

    def trial(rng: Random, folder: Path) -> int:
        right = samples()
        for sample in right:
            read(sample, folder)  # which is no error
        for _ in range(INPUTS):
            data = damaged(rng, right)
            try:
                read(data, folder)
            except UserError as error:
                told = str(error)
                assert told.strip(), f"an error without words for {data[:200]!r}"
                assert len(told) < 5000, f"an error of {len(told)} letters for {data[:200]!r}"
            except Exception as error:
                error.add_note(f"for {data[:300]!r}")
                raise
        return INPUTS

    return trial


def damaged(rng: Random, samples: Sequence[bytes]) -> bytes:
    """A sample that was changed in a few places."""
    data = rng.choice(samples)
    if rng.random() < 0.3:
        data = other_values(rng, data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        data = changed(rng, data, rng.choice(samples))
    return data


def changed(rng: Random, data: bytes, other: bytes) -> bytes:
    """One change: bits that flip, parts that are lost, repeated, moved or of another sample."""
    begin, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
    short = min(end, begin + rng.choice((1, 4, 40)))
    match rng.randrange(8):
        case 0:
            many = bytearray(data)
            for _ in range(rng.choice((1, 1, 3, 16)) if data else 0):
                many[rng.randrange(len(many))] ^= 1 << rng.randrange(8)
            return bytes(many)
        case 1:
            return data[:end]
        case 2:
            return data[:begin] + data[short:]
        case 3:
            return data[:end] + data[begin:end] + data[end:]
        case 4:
            return data[:begin] + rng.choice(TOKENS) + data[begin:]
        case 5:
            return data[:begin] + rng.choice(TOKENS) + data[short:]
        case 6:
            return data[:begin] + other[rng.randrange(len(other) + 1) :]
        case _:
            rows = data.split(b"\n")
            rng.shuffle(rows)
            return b"\n".join(rows)


def other_values(rng: Random, data: bytes) -> bytes:
    """The input with other values in a line of JSON, if it has one."""
    rows = data.split(b"\n")
    at = rng.randrange(len(rows))
    try:
        value = json.loads(rows[at])
    except ValueError:
        return data
    rows[at] = json.dumps(other_value(rng, value)).encode()
    return b"\n".join(rows)


def other_value(rng: Random, value: Any) -> Any:
    """A value of JSON with another one somewhere in it, or a field more or less."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        name = rng.choice(list(value))
        match rng.randrange(6):
            case 0:
                return {key: each for key, each in value.items() if key != name}
            case 1:
                return value | {rng.choice(("", "x", name.upper())): rng.choice(VALUES)}
            case _:
                return value | {name: other_value(rng, value[name])}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return [*value[:at], other_value(rng, value[at]), *value[at + 1 :]]
    return rng.choice(VALUES)
