"""The table of commands, by group, in the order in which `serac --help` lists them.

A new command is one row here and one entry of `COMMANDS` in its module, which is imported only when
the command runs.
"""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

from serac_jax.cli.command import Command


class Row(NamedTuple):
    """A command as `serac --help` shows it.

    Attributes:
      name: What is typed after `serac`.
      module: The module of `serac_jax.cli` whose `COMMANDS` has it.
      help: What it does, in one line.
    """

    name: str
    module: str
    help: str

    def load(self) -> Command:
        """Imports the command's module."""
        return import_module(f"serac_jax.cli.{self.module}").COMMANDS[self.name]


GROUPS: dict[str, tuple[Row, ...]] = {
    "edits": (
        Row("add", "changing", "add an edit, or update its note, source or expiry"),
        Row("rm", "changing", "remove edits"),
        Row("undo", "changing", "undo the newest operation, whoever made it"),
        Row("redo", "changing", "redo what was undone last"),
        Row("list", "browsing", "list the edits in use, oldest first"),
        Row("show", "browsing", "show every field of an edit"),
        Row("log", "browsing", "show who did what, newest first"),
        Row("diff", "browsing", "show what differs between two states of the memory"),
        Row("import", "exchanging", "import edits from JSON lines, JSON or CSV"),
        Row("export", "exchanging", "export edits to JSON lines, CSV or zsRE rows"),
        Row("merge", "merging", "merge another memory file into this one"),
        Row("check", "checking", "find damaged lines, conflicting edits and unanswered edits"),
    ),
    "answers": (
        Row("ask", "answering", "answer questions, by an edit where one applies"),
        Row("why", "answering", "show how an answer was chosen"),
        Row("chat", "chatting", "talk to the model and correct its answers"),
        Row("calibrate", "calibrating", "fit an editor's threshold to a false-positive rate"),
    ),
    "server": (Row("serve", "serve", "answer over HTTP, alone or in front of a deployed model"),),
    "training": (
        Row("train", "programs", "train an editor"),
        Row("eval", "programs", "score a trained editor"),
        Row("table", "programs", "train and score every editor on every experiment"),
        Row("config", "programs", "print every field of a config, and what it means"),
        Row("convert", "converting", "turn a published data set into rows of facts"),
        Row("facts", "converting", "write the rows of facts that facts_serac learns from"),
        Row("download", "download", "fetch the models and data that a config needs"),
        Row("aot", "aot", "check, without the hardware, whether a config fits"),
        Row("import-archive", "import_archive", "turn an archive of the original into a run"),
    ),
    "shell": (Row("completion", "completing", "print a completion script for your shell"),),
}
ROWS = {row.name: row for rows in GROUPS.values() for row in rows}
