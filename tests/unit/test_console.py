"""What is printed: safe on a terminal, byte for byte for programs, and quiet where nobody reads."""

import errno
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serac_jax.core import console
from serac_jax.core.errors import UserError

BAD = "\x1b[2J\x9b2J\x07\r\n\x7f\u202e\u2066\u2028\udcff"


@given(st.text())
def test_what_is_printed_is_one_line_of_letters(text):
    shown = console.escaped(text)
    assert all(letter.isprintable() or letter in console.HARMLESS for letter in shown)
    if all(letter.isprintable() for letter in text):
        assert shown == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_has_no_letter_that_moves_a_cursor_and_says_the_same(text):
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", out)
        console.show_json({"text": text})
    assert json.loads(out.getvalue()) == {"text": text}
    assert not console.UNSAFE.search(out.getvalue())
    assert out.getvalue().count("\n") == 1


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_programs_get_a_text_as_it_is_and_people_as_they_may_see_it(monkeypatch, capsys):
    console.write(f"a{BAD[:-1]}\n")
    assert capsys.readouterr().out == f"a{BAD[:-1]}\n"
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    console.write(f"a{BAD}\n")
    assert not set(BAD) - set("[2J\n") & set(terminal.getvalue())


class Full(io.StringIO):
    def write(self, text):
        raise OSError(errno.ENOSPC, "full")


def test_a_stream_that_is_closed_or_full_is_no_reason_to_fail(monkeypatch):
    monkeypatch.setattr("sys.stderr", None)
    console.complain("lost")
    console.show_progress("lost", last=True)
    assert not console.is_terminal(None)
    monkeypatch.setattr("sys.stderr", Full())
    console.complain("lost")
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UserError, match="the standard input is closed"):
        list(console.input_lines())


def test_input_that_is_not_utf8_is_one_error(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\nb\xff\n"), "utf-8"))
    with pytest.raises(UserError, match="the standard input is not UTF-8 text"):
        list(console.input_lines())
