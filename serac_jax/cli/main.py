"""The program `serac`: finds the command, runs it, and turns errors into one line and a status."""

from __future__ import annotations

import os
import sys
import warnings
from argparse import (
    SUPPRESS,
    ArgumentParser,
    Namespace,
    RawDescriptionHelpFormatter,
    _SubParsersAction,
)
from collections.abc import Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

from serac_jax.cli.command import FAILED, OK, HelpingParser
from serac_jax.cli.commands import GROUPS, ROWS, Row
from serac_jax.core import files
from serac_jax.core.console import complain, note
from serac_jax.core.errors import UserError
from serac_jax.core.version import VERSION

ABOUT = "Edit what a language model answers: edits are text in a memory file, kept like code."
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
STATUSES = "Exit status: 0 done; 1 error; 2 nothing found, or a conflict stopped it."


class Parser(HelpingParser):
    """A parser whose errors are one line and this program's status."""

    def error(self, message: str) -> NoReturn:
        complain(f"error: {message}; see `{self.prog} --help`")
        sys.exit(FAILED)


class Top(Parser):
    """The parser of the whole command line, whose help lists the commands by group."""

    commands: _SubParsersAction[CommandParser]

    def format_help(self) -> str:
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        shown = {action.dest: action for action in self.commands._get_subactions()}
        for title, rows in GROUPS.items():
            formatter.start_section(title)
            formatter.add_arguments([shown[row.name] for row in rows])
            formatter.end_section()
        formatter.start_section("options")
        formatter.add_arguments([action for action in self._actions if action is not self.commands])
        formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()


class CommandParser(Parser):
    """The parser of one command, whose module is imported when it is first used."""

    row: Row

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Namespace, list[str]]:
        command = self.row.load()
        if command.arguments is None:
            return Namespace(run=command.run, rest=list(args or ())), []
        self.fill()
        return super().parse_known_args(args, namespace)

    def fill(self) -> None:
        """Adds the command's arguments and examples."""
        command = self.row.load()
        if command.arguments is not None:
            common(self, SUPPRESS)
            command.arguments(self)
        self.epilog = f"{examples(command.examples, self.prog)}\n\n{STATUSES}"
        self.set_defaults(run=command.run)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit status."""
    set_encodings()
    # Where orbax fails to write one array, others may never begin. Python says so at exit, when
    # the warnings of `run` are no longer notes.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    try:
        if sys.stdout is None:
            raise UserError("the standard output is closed")
        status = run(arguments)
        sys.stdout.flush()
        return status
    except UserError as error:
        complain(f"error: {error}")
        finish_output()
    except BrokenPipeError:  # the reader, such as `head`, has stopped reading
        discard_output()
    except OSError as error:
        complain(f"error: {files.reason(error)}: {error.filename or 'the standard output'!s:.200}")
        discard_output()
    except (KeyboardInterrupt, EOFError):  # Ctrl-C, or Ctrl-D where a person was asked
        return INTERRUPTED
    return FAILED


def run(arguments: Sequence[str] | None) -> int:
    """Runs a command line; its warnings are notes."""
    try:
        options = parser().parse_args(arguments)
        with warnings.catch_warnings():
            warnings.showwarning = note
            return options.run(options)
    except SystemExit as ended:  # after `--help`, or an error of the command line
        return int(ended.code or OK)


def set_encodings() -> None:
    """Files and pipes are UTF-8; a terminal keeps its encoding, with escapes for the rest."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            encoding = None if stream.isatty() else "utf-8"
            stream.reconfigure(encoding=encoding, errors="backslashreplace")
    if isinstance(sys.stdin, TextIOWrapper) and not sys.stdin.isatty():
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")


def finish_output() -> None:
    """Prints what waits to be printed, if it can be."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        discard_output()


def discard_output() -> None:
    """Lets Python's own flush at exit succeed."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser(prog: str | None = None) -> Top:
    """The parser of all commands; a command's own arguments are added when it is used."""
    installed = Path(sys.argv[0]).name == "serac"
    prog = prog or ("serac" if installed else "python -m serac_jax")
    top = Top(
        prog=prog,
        usage=f"{prog} [options] COMMAND …",
        description=ABOUT,
        epilog=f"`{prog} COMMAND --help` shows a command's arguments and examples. {STATUSES}",
    )
    common(top, None)
    top.add_argument("--version", action="version", version=f"serac {VERSION}")
    top.commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=CommandParser)
    for row in ROWS.values():
        one = top.commands.add_parser(
            row.name,
            prog=f"{prog} {row.name}",
            help=row.help,
            description=f"{row.help[0].upper()}{row.help[1:]}.",
            formatter_class=RawDescriptionHelpFormatter,
        )
        one.row = row
    return top


def common(one: ArgumentParser, default: object) -> None:
    """Adds the options of every command, which may stand before or after its name."""
    one.add_argument(
        "--memory",
        metavar="FILE",
        default=default,
        help="the memory file (default: $SERAC_MEMORY, else edits.jsonl)",
    )
    one.add_argument(
        "--author",
        metavar="NAME",
        default=default,
        help="who signs the change (default: $SERAC_AUTHOR, git's user.name, the login name)",
    )
    one.add_argument(
        "--json",
        action="store_true",
        default=default or False,
        help="print JSON for programs, one object a line",
    )


def examples(text: str, prog: str) -> str:
    """A command's examples, as its help shows them."""
    rows = [[part.strip() for part in line.split("#", 1)] for line in text.strip().split("\n")]
    width = max(len(line) for line, *_ in rows)
    program = prog.rpartition(" ")[0]
    shown = (
        f"  {program} {line:<{width}}  # {comment[0]}" if comment else f"  {program} {line}"
        for line, *comment in rows
    )
    return "\n".join(("examples:", *shown))
