"""The code blocks of README and docs, and how their examples are run.

Blocks in `python` with `>>>` and blocks in `console` with `$ ` are run and must print what the
page says. Other `python` blocks must compile and import; `bash` blocks and blocks without language
are read, and their commands, options and config fields must exist; `json` blocks must parse."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.conftest import ROOT

PAGES = (
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
# words of commands that load a model: their sessions belong to the slow tier
NEEDS_A_MODEL = ("ask", "why", "chat", "calibrate", "train", "eval", "SERAC_EDITOR", "--editor")
VARIES = re.compile(r"\d{4}-\d\d-\d\dT[\d:]*Z|[-+]?\d+\.\d+")  # times; scores, which are rounded


class Block(NamedTuple):
    page: str
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """All blocks in one of these languages."""
    found = []
    for page in PAGES:
        text, name = page.read_text(), str(page.relative_to(ROOT))
        for match in FENCE.finditer(text):
            if match[2] in languages:
                line = text.count("\n", 0, match.start()) + 1
                found.append(Block(name, line, match[2], match[3]))
    return found


def run_console(text: str, folder: Path) -> str:
    """What a shell prints for the commands of console blocks, with the commands themselves."""
    commands = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    script = f'serac() {{ {sys.executable} -m serac_jax "$@"; }}\n' + "".join(
        f"echo {shlex.quote('$ ' + line)}\n{line}\n" for line in commands
    )
    done = subprocess.run(
        ["bash"],
        input=script,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return done.stdout.replace(f"{folder}/", "")


def same_output(wanted: str, got: str) -> bool:
    """Whether they agree except for times and scores.

    A line `…` stands for any number of lines."""
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "…" else re.escape(VARIES.sub("#", line)) + r"\n"
        for line in wanted.splitlines()
    )
    return re.fullmatch(pattern, VARIES.sub("#", got)) is not None


def rewrite(page: Path) -> None:
    """Puts what the sessions of a page print now into the page."""
    with tempfile.TemporaryDirectory() as folder:
        name = str(page.resolve().relative_to(ROOT))
        found = [block for block in blocks("console") if block.page == name]
        got = run_console("".join(block.text for block in found), Path(folder))
    text = page.read_text()
    for block in found:
        commands = [line for line in block.text.splitlines() if line.startswith("$ ")]
        printed = ""
        for command in commands:
            assert got.startswith(command + "\n"), (command, got[:200])
            rest = got[len(command) + 1 :]
            end = re.search(r"^\$ ", rest, re.MULTILINE)
            stop = end.start() if end else len(rest)
            printed, got = printed + command + "\n" + rest[:stop], rest[stop:]
        text = text.replace(f"```console\n{block.text}```", f"```console\n{printed}```")
    page.write_text(text)


if __name__ == "__main__":  # python -m tests.doc_blocks PAGE…
    for argument in sys.argv[1:]:
        rewrite(Path(argument))
