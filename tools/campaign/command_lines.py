"""Command lines that nobody would type."""

from __future__ import annotations

import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random
from unittest.mock import patch

from serac_jax.core.console import HARMLESS
from serac_jax.core.errors import UserError
from serac_jax.edits import check
from serac_jax.edits.store import Store

LINES = 60
COMMANDS = "add rm undo redo list show log diff import export merge check".split()
WORDS = [
    "", " ", "-", "--", "---", "-n", "-1", "0", "1", "99999999999999999999", "٣", "x", "Who?", "ü",
    "\u202e", "\x1b[2J", "\udcff", "\x9b", "a\nb", "\0", "é" * 300, "x" * 5000, ".", "..", "/",
    "~nosuch", "a/b", "edits.jsonl", "edits.jsonl/x", "edits.jsonl.journal", "rows.csv", "loop",
    "/dev/null", "/dev/full", "2026-01-31", "0001-01-01T00:00+23:59", "now", "newest", "ask",
]  # fmt: skip
OPTIONS = [
    "--json", "--tag", "--note", "--source", "--expires", "--message", "--policy", "--author",
    "--memory", "--as-of", "--by", "--all", "--full", "--format", "--alternatives", "--base",
    "--repair", "--help", "--nothing",
]  # fmt: skip


def trial(rng: Random, folder: Path) -> int:
    """Every line ends with a status and at most a line on the standard error; nothing that is
    printed moves a cursor, and the memory stays sound.

    Returns:
        The number of lines.
    """
    os.chdir(folder)
    Path("loop").symlink_to("loop")
    Path("rows.csv").write_text("question,answer\nq,a\n\x1b[2J,\x9b\n", encoding="utf-8")
    for _ in range(LINES):
        line = [rng.choice(COMMANDS), *(word(rng) for _ in range(rng.randrange(6)))]
        try:
            one(line)
        except Exception as error:
            error.add_note(f"for {line!r:.300}")
            raise
    os.chdir("/")
    return LINES


def word(rng: Random) -> str:
    """A word of a command line."""
    if rng.random() < 0.6:
        return rng.choice(WORDS)
    name = rng.choice(OPTIONS)
    return name if rng.random() < 0.4 else f"{name}={rng.choice(WORDS)}"


def one(line: list[str]) -> None:
    """Runs a command line."""
    from serac_jax.cli.main import main

    typed = io.TextIOWrapper(io.BytesIO(b"question,answer\nq2,a2\n"), "utf-8")
    out, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(errors), patch.object(sys, "stdin", typed):
        status = main(line)
    assert status in (0, 1, 2), status
    assert status != 1 or errors.getvalue().startswith("error: "), errors.getvalue()
    assert status != 1 or errors.getvalue().count("\n") == 1, errors.getvalue()
    if line[0] != "export":  # which writes for programs
        letters = set(out.getvalue() + errors.getvalue()) - {"\n"}
        assert all(letter.isprintable() or letter in HARMLESS for letter in letters), letters
    file = Path("edits.jsonl")
    if file.exists():
        problems = check.problems(file)
        try:
            Store.open(file)
        except UserError as error:
            problems = problems or [str(error)]  # type: ignore[list-item]
        assert not problems, problems
