"""The command chat: a session with the base model in which its answers can be corrected."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING

from serac_jax.errors import UserError
from serac_jax.shell.answering import opened, origin, query_arguments, tags_of
from serac_jax.shell.command import OK, Command, one_line, show_change, title, visible

if TYPE_CHECKING:
    from serac_jax.live import LiveEditor

HELP = """Ask anything, or
  /edit ANSWER               that is the answer to the last question, and to everything that asks the same
  /edit QUESTION => ANSWER   … to this one
  /why [QUESTION]            what decided the last answer, or the one to this question
  /undo, /redo               take back the last change of the memory, or do it again
  /list                      the edits
  /quit                      or the end of the input"""


class Session:
    """What a session remembers besides the memory: the last question."""

    def __init__(self, editor: LiveEditor, tags: tuple[str, ...] | None):
        self.editor, self.tags, self.last = editor, tags, ""
        self.commands: dict[str, Callable[[str], None]] = {
            "/edit": self.edit,
            "/why": self.why,
            "/undo": lambda rest: print(f"undone: {title(editor.undo())}"),
            "/redo": lambda rest: print(f"done again: {title(editor.redo())}"),
            "/list": self.list,
            "/help": lambda rest: print(HELP),
        }

    def say(self, line: str) -> bool:
        """Answers a line, or does what it commands; whether the session goes on."""
        command, _, rest = line.partition(" ")
        if command == "/quit":
            return False
        if line.startswith("/"):
            try:
                if command not in self.commands:
                    raise UserError(f"there is no {command}; /help shows what there is")
                self.commands[command](rest.strip())
            except UserError as error:
                print(f"error: {error}")
        else:
            self.last = line
            answer = self.editor.ask(line, self.tags)
            print(f"{visible(answer.text)}  ({origin(answer)})")
        return True

    def edit(self, rest: str) -> None:
        question, arrow, answer = (part.strip() for part in rest.rpartition("=>"))
        question = question if arrow else self.last
        if not question or not answer:
            raise UserError("/edit needs an answer, and a question that was asked before or stands before =>")
        made = self.editor.memory.make(question, answer, tags=self.tags or ())
        edits, conflicts = self.editor.edit_many([made])
        show_change([conflict.old for conflict in conflicts if conflict.kind == "contradiction"], edits)
        for conflict in conflicts:
            if conflict.kind != "contradiction":
                print(f"note: {conflict}")

    def why(self, rest: str) -> None:
        if not (question := rest or self.last):
            raise UserError("nothing was asked yet")
        print(self.editor.why(question, self.tags))

    def list(self, rest: str) -> None:
        print("\n".join(one_line(edit) for edit in self.editor.memory.live().values()) or "no edits")


def chat(options: Namespace) -> int:
    session = Session(opened(options), tags_of(options))
    people = sys.stdin.isatty()
    if people:
        print(HELP)
    while True:
        try:
            line = input("> " if people else "").strip()
        except EOFError:
            return OK
        if line and not session.say(line):
            return OK


COMMANDS = (
    Command(
        "chat",
        "talk with the model and correct what it says: /edit, /undo, /why",
        """
chat
chat --editor=mini/sent                      # with a dialogue model
chat --editor=mini --base-command=llm --tag=me
""",
        query_arguments,
        chat,
    ),
)
