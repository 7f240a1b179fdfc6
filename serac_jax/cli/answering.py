"""Commands that answer: ask, why. What they share with others that need an editor."""

from __future__ import annotations

import os
import re
import sys
import warnings
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any

from serac_jax.cli.base_command import PATIENCE, BaseCommand
from serac_jax.cli.command import OK, Command, open_store, server_argument, server_of
from serac_jax.cli.printing import SHORT
from serac_jax.core.console import complain, input_lines, is_terminal, say, say_lines, show_json
from serac_jax.core.errors import UserError
from serac_jax.core.fields import DTYPES
from serac_jax.edits.store import Store

if TYPE_CHECKING:
    from serac_jax.client.remote_editor import RemoteEditor
    from serac_jax.serving.loading import Answer, EditorService


DEMONSTRATION = (
    "note: this is a demonstration model, which knows a small made-up world; --editor names another"
)
UNCALIBRATED = (
    "note: this editor's threshold is not calibrated; `calibrate` fits it to a false-positive rate"
)


def editor_argument(parser: ArgumentParser, what: str) -> None:
    """What every command that loads an editor knows: which one, on which devices, and in which
    dtype."""
    parser.add_argument("--editor", metavar="NAME", help=what)
    parser.add_argument(
        "--mesh",
        metavar="AXES",
        help=(
            "devices that the editor works on: data=4,model=2 splits rows over four and every model"
            " over two; by default $SERAC_MESH, or one device"
        ),
    )
    dtype_argument(parser)


def dtype_argument(parser: ArgumentParser, which: str = "") -> None:
    """Adds the dtype of an editor. which: of the command's editors have one."""
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        help=f"{which}what the base model is held and computed in; by default as the editor says",
    )


def mesh_of(options: Namespace) -> dict[str, int] | None:
    """The number of devices of each axis that is named; None: one device does everything. Raises
    UserError."""
    name, text = (
        ("--mesh", options.mesh) if options.mesh else ("$SERAC_MESH", os.environ.get("SERAC_MESH"))
    )
    if not text:
        return None
    parts = [re.fullmatch(r"\s*(\w+)\s*=\s*(-?\d+)\s*", part) for part in text.split(",")]
    mesh = {part[1]: int(part[2]) for part in parts if part}
    if len(mesh) < len(parts):
        raise UserError(
            f"{name} should be the number of devices of an axis, or of two axes, as data=4 or"
            f" data=4,model=2, not {text!r}"
        )
    return mesh


def editor_arguments(parser: ArgumentParser) -> None:
    editor_argument(
        parser,
        "mini, a run's folder, one that `save` wrote, or a repository of the Hub; by default"
        " $SERAC_EDITOR, or mini",
    )
    parser.add_argument(
        "--rerank",
        default="",
        metavar="MODEL",
        help="a cross-attention classifier that reads again the edits that embeddings propose",
    )
    parser.add_argument(
        "--base-command",
        default="",
        metavar="COMMAND",
        help=(
            "a command that is the base model: it reads a question from its input and prints an"
            " answer"
        ),
    )
    parser.add_argument(
        "--base-timeout",
        type=seconds,
        default=PATIENCE,
        metavar="SECONDS",
        help=f"how long --base-command may take for an answer ({PATIENCE:g})",
    )


def query_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--tag",
        action="append",
        metavar="TAG",
        help="who asks: sees edits with this tag and those without any; by default all edits",
    )
    editor_arguments(parser)
    server_argument(parser)


def opened(options: Namespace) -> EditorService | RemoteEditor:
    """The editor that a command line names, with its memory, or a server's."""
    if server := server_of(options):
        return server
    editor = loaded(
        named(options) or "mini",
        memory=open_store(options),
        base=base_of(options),
        rerank=options.rerank,
        mesh=mesh_of(options),
        dtype=options.dtype,
    )
    if editor.parts.is_demonstration and is_terminal(sys.stderr):
        complain(DEMONSTRATION)
    return told_if_uncalibrated(editor)


def told_if_uncalibrated(editor: EditorService) -> EditorService:
    """The same editor; says that it is not calibrated, if so."""
    if not editor.calibrated:
        complain(UNCALIBRATED)
    return editor


def loaded(name: str, **how: Any) -> EditorService:
    """An editor, without the warning that it is not calibrated, which `told_if_uncalibrated`
    gives in its way."""
    from serac_jax.serving.loading import Uncalibrated, load  # other commands start without JAX

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Uncalibrated)
        return load(name, **how)


def named(options: Namespace) -> str | None:
    """The name of an editor."""
    return options.editor or os.environ.get("SERAC_EDITOR")


def base_of(options: Namespace) -> BaseCommand | None:
    """The base model of a command line, where it is a command."""
    if options.base_command:
        return BaseCommand(options.base_command, options.base_timeout)
    return None


def seconds(value: str) -> float:
    """A time that is more than none.

    Raises:
      ArgumentTypeError: It is not.
    """
    with suppress(ValueError):
        if 0 < (found := float(value)) < inf:
            return found
    raise ArgumentTypeError(f"expected a number of seconds above 0, not {value!r}")


def judge_argument(parser: ArgumentParser) -> None:
    editor_argument(
        parser,
        "an editor, such as mini, that looks for conflicts in other words too; by default"
        " $SERAC_EDITOR",
    )


def judge(options: Namespace, store: Store) -> EditorService | None:
    """The editor that looks for conflicts, where one is named. Raises UserError where none is that
    could use the devices or the dtype of a command line."""
    if not (name := named(options)):
        for option in ("mesh", "dtype"):
            if getattr(options, option):
                raise UserError(
                    f"--{option} is for an editor, and none is named; give --editor or"
                    " $SERAC_EDITOR too"
                )
        return None
    # only edits are asked about, so the base model is not loaded, unless it is what reads them
    how: dict[str, Any] = {"memory": store, "mesh": mesh_of(options), "dtype": options.dtype}
    editor = loaded(name, base=str, **how)
    if editor.reader is editor.base:
        editor = loaded(name, **how)
    return told_if_uncalibrated(editor)


def tags_of(options: Namespace) -> tuple[str, ...] | None:
    return None if options.tag is None else tuple(options.tag)


def ask_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "questions",
        nargs="+",
        metavar="QUESTION",
        help="what is asked; several are answered together; - reads one a line",
    )
    query_arguments(parser)


def ask(options: Namespace) -> int:
    read = list(input_lines()) if "-" in options.questions else []
    questions = [
        text for given in options.questions for text in (read if given == "-" else [given])
    ]
    for answer in opened(options).ask(questions, tags_of(options)):
        (
            show_json(answer.as_fields())
            if options.json
            else say(f"{answer.text}  ({origin(answer)})")
        )
    return OK


def origin(answer: Answer) -> str:
    """Where an answer is from, for people."""
    if answer.edit_id:
        return f"edit {answer.edit_id[:SHORT]}, {answer.score:.2f}"
    return "base model" + (
        f"; unsure: edit {answer.nearest.edit.id[:SHORT]}, {answer.score:.2f}"
        if answer.unsure and answer.nearest
        else ""
    )


def why_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("question", metavar="QUESTION")
    query_arguments(parser)


def why(options: Namespace) -> int:
    found = opened(options).why(options.question, tags_of(options))
    if options.json:
        show_json(found.as_fields())
    else:
        say_lines(str(found))
    return OK


COMMANDS = {
    "ask": Command(
        ask,
        ask_arguments,
        """
ask "Who is the author of Dracula?"
ask "Who leads the team?" --tag=team-a --json  # as team-a sees it
ask - < questions.txt                          # one a line, answered together
ask "Who leads the team?" --editor=runs/mine   # by what train.py has trained
ask "Who leads the team?" --base-command=llm   # over any base model
ask --mesh=data=4,model=2 - < questions.txt    # on eight devices
""",
    ),
    "why": Command(
        why,
        why_arguments,
        """
why "Who is the author of Dracula?"
""",
    ),
}
