"""Printing. All text that people see goes through here, so that nothing that an edit, a model or a
file's name holds can move the cursor of a terminal or turn its text around."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import IO, Any

from serac_jax.core import files
from serac_jax.core.errors import UserError

# no-break and ideographic space, and the joiners that scripts and emoji need: printed as they are
HARMLESS = frozenset("\u00a0\u3000\u200c\u200d")
# DEL, C1 controls, line separators and bidirectional controls, which JSON would leave as they are
UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def escaped(text: str) -> str:
    """A text on one line, with control and format characters escaped as in Python."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter in HARMLESS else repr(letter)[1:-1]
        for letter in text
    )


def say(line: str = "", file: IO[str] | None = None, *, flush: bool = False) -> None:
    """Prints one line; line breaks in it are escaped too."""
    print(escaped(line), file=file, flush=flush)


def say_lines(text: str, *, flush: bool = False) -> None:
    """Prints a text of several lines."""
    for line in text.split("\n"):
        say(line)
    if flush:
        sys.stdout.flush()


def complain(line: str) -> None:
    """Prints one line on the standard error, if that is open."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):  # full or closed: there is nowhere left to complain to
            say(line, sys.stderr)


def note(message: Warning | str, *_: Any, **__: Any) -> None:
    """Prints a warning as a person reads it: in one line, without the place in the program."""
    complain(f"note: {message}")


def show_progress(line: str, last: bool) -> None:
    """Prints a line on a terminal's standard error in the place of the one before."""
    if is_terminal(sys.stderr):
        print(f"{escaped(line)} ", end="\n" if last else "\r", file=sys.stderr, flush=True)


def show_json(value: Any) -> None:
    """Prints one line of JSON; control characters are escaped."""
    text = json.dumps(value, ensure_ascii=False)
    print(UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text))


def write(text: str) -> None:
    """Writes a text for programs to the standard output as it is; on a terminal, as people may see
    it."""
    if is_terminal(sys.stdout):
        say_lines(text.removesuffix("\n"))
    else:
        sys.stdout.write(text)


def is_terminal(stream: IO[str] | None) -> bool:
    """Whether a person is at the other end; a stream that is closed has none."""
    return stream is not None and stream.isatty()


def standard_input() -> IO[str]:
    """The standard input.

    Raises:
      UserError: It is closed, or a device, some of which never end.
    """
    if sys.stdin is None:
        raise UserError("the standard input is closed")
    with suppress(OSError):  # it has no descriptor, where a program replaced it
        files.refuse_device(sys.stdin.fileno(), "the standard input")
    return sys.stdin


def input_bytes() -> bytes:
    """The standard input as it is. Raises UserError where it is closed."""
    stream: Any = standard_input()
    return stream.buffer.read()


def input_lines() -> Iterator[str]:
    """The lines of the standard input that are not blank, without blanks around them.

    Raises:
      UserError: It is closed, or is not UTF-8 text.
    """
    try:
        yield from filter(None, map(str.strip, standard_input()))
    except UnicodeDecodeError as error:
        raise UserError(f"the standard input is not UTF-8 text ({error.reason})") from error
