"""The command chat: a session with the base model in which its answers can be corrected."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from serac_jax.cli.answering import opened, origin, query_arguments, tags_of
from serac_jax.cli.command import OK, Command
from serac_jax.cli.printing import one_line, show_change, title
from serac_jax.core.console import say, say_lines, standard_input
from serac_jax.core.errors import UserError

if TYPE_CHECKING:
    from serac_jax.client.remote_editor import RemoteEditor
    from serac_jax.serving.loading import EditorService

HELP = """Ask anything, or
  /edit QUESTION => ANSWER  correct the answer to a question, and to others that ask the same
  /edit ANSWER              … to the last question
  /why [QUESTION]           show what decided the last answer, or the answer to this question
  /history                  show the conversation so far
  /new                      begin a new conversation
  /undo, /redo              take back the last change of the edits, or do it again
  /list                     show the edits
  /help                     show this text
  /quit                     end; so does Ctrl-D. Ctrl-C drops the line or the question"""
# What looks like a question and its answer, but for the arrow.
MISTAKEN = re.compile(r"\?\s*\S|(^|\s)(=|==|:=|->|→|>)\s")


class Turn(NamedTuple):
    """A question, its answer, and what was shown: the answer and where it came from."""

    question: str
    answer: str = ""
    shown: str = ""


class Session:
    """A conversation: its turns, and the commands that act on the edits.

    Args:
        follows: whether the models read earlier turns before a question.
    """

    def __init__(
        self,
        editor: EditorService | RemoteEditor,
        tags: tuple[str, ...] | None,
        follows: bool,
    ):
        self.editor, self.tags, self.follows = editor, tags, follows
        self.turns: list[Turn] = []
        self.commands: dict[str, Callable[[str], None]] = {
            "/edit": self.edit,
            "/why": self.why,
            "/undo": lambda rest: say(f"undone: {title(editor.undo())}"),
            "/redo": lambda rest: say(f"done again: {title(editor.redo())}"),
            "/history": self.history,
            "/new": lambda rest: self.turns.clear(),
            "/list": self.list,
            "/help": lambda rest: say_lines(HELP),
        }

    @property
    def last(self) -> str:
        """The last question."""
        return self.turns[-1].question if self.turns else ""

    def before(self, turns: Sequence[Turn]) -> list[tuple[str, str]]:
        """Turns as the models read them; those that failed are left out."""
        return [(turn.question, turn.answer) for turn in turns if turn.shown and self.follows]

    def say(self, line: str) -> bool:
        """Answers a line, or does what it commands; whether the session goes on, which errors do
        not end."""
        command, rest = [*line.split(maxsplit=1), ""][:2]
        if command == "/quit":
            return False
        try:
            if not line.startswith("/"):
                self.ask(line)
            elif command not in self.commands:
                raise UserError(f"there is no {command}; /help shows what there is")
            elif rest and command not in ("/edit", "/why"):
                raise UserError(f"{command} takes nothing behind it; nothing was done")
            else:
                self.commands[command](rest)
        except UserError as error:
            say(f"error: {error}")
        return True

    def ask(self, question: str) -> None:
        history = self.before(self.turns)
        self.turns.append(Turn(question))  # also where the model fails to answer
        answer = self.editor.ask(question, self.tags, history)
        shown = f"{answer.text}  ({origin(answer)})"
        self.turns[-1] = Turn(question, answer.text, shown)
        say(shown)

    def history(self, rest: str) -> None:
        if not self.turns:
            say("nothing was asked yet")
        for turn in self.turns:
            say(f"> {turn.question}")
            if turn.shown:
                say(turn.shown)

    def edit(self, rest: str) -> None:
        question, arrow, answer = (part.strip() for part in rest.rpartition("=>"))
        if not arrow and MISTAKEN.search(answer):
            raise UserError(
                "that looks like a question and an answer; write /edit QUESTION => ANSWER, or"
                " /edit => ANSWER for the last question; nothing was changed"
            )
        question = question or self.last
        if not question or not answer:
            raise UserError(
                "/edit needs an answer, and a question: /edit QUESTION => ANSWER, or ask it first"
            )
        made = self.editor.memory.make(question, answer, tags=self.tags or ())
        edits, conflicts, replaced = self.editor.edit_many([made])
        show_change(replaced, edits)
        gone = {edit.id for edit in replaced}
        for conflict in conflicts:
            if conflict.old.id not in gone:
                say(f"note: {conflict}")

    def why(self, rest: str) -> None:
        if not (question := rest or self.last):
            raise UserError("nothing was asked yet")
        history = self.before(self.turns if rest else self.turns[:-1])
        say_lines(str(self.editor.why(question, self.tags, history)))

    def list(self, rest: str) -> None:
        edits = self.editor.memory.live().values()
        for line in [one_line(edit) for edit in edits] or ["no edits"]:
            say(line)


def chat(options: Namespace) -> int:
    if options.json:
        raise UserError("chat is for people; for programs there are ask, why and add with --json")
    people = standard_input().isatty()
    editor = opened(options)
    # A command gets the question alone, and other models than causal ones were made for one
    # question.
    follows = not options.base_command and editor.reads_history
    session = Session(editor, tags_of(options), follows)
    if people:
        with suppress(ImportError):  # then lines are edited by the terminal alone
            import readline  # noqa: F401 gives `input` keys to edit and recall lines
        say_lines(HELP)
    while True:
        try:
            line = input("> " if people else "").strip()
            if line and not session.say(line):
                return OK
        except EOFError:
            return OK
        except KeyboardInterrupt:
            if not people:
                raise
            say()  # takes back the line, or the question


COMMANDS = {
    "chat": Command(
        chat,
        query_arguments,
        """
chat
chat --editor=mini/sent                      # with a dialogue model
chat --editor=mini --base-command=llm --tag=me
""",
    ),
}
