"""From a command line to the command, and from errors to one line and a status."""

from __future__ import annotations

import os
import sys
from argparse import SUPPRESS, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Sequence
from io import TextIOWrapper
from typing import NoReturn

from serac_jax.cli.command import FAILED, Command
from serac_jax.cli.commands import COMMANDS
from serac_jax.core.errors import UserError

ABOUT = """A memory of edits that people keep as they keep code: what to answer to a question, and to everything that asks the same."""
INTERRUPTED = 130  # as shells have it
STATUSES = (
    "Exit status: 0 done; 1 an error; 2 nothing was found, or a conflict kept it from being done."
)


class Parser(ArgumentParser):
    """Ends with this program's status where a command line is wrong."""

    def error(self, message: str) -> NoReturn:
        print(f"error: {message}; `{self.prog} --help` tells more", file=sys.stderr)
        sys.exit(FAILED)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; its exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(
            stream, TextIOWrapper
        ):  # files and programs get UTF-8; a terminal that knows fewer letters gets escapes for the others
            stream.reconfigure(
                encoding=None if stream.isatty() else "utf-8", errors="backslashreplace"
            )
    options = parser().parse_args(arguments)
    try:
        status = options.run(options)
        sys.stdout.flush()
        return status
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # the reader, such as `head`, has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (KeyboardInterrupt, EOFError):  # a question was answered by Ctrl-C or Ctrl-D
        return INTERRUPTED


def parser(prog: str | None = None) -> Parser:
    """All commands, as argparse knows them."""
    prog = prog or ("serac" if os.path.basename(sys.argv[0]) == "serac" else "python -m serac_jax")  # noqa: PTH119
    top = Parser(prog=prog, description=ABOUT, epilog=STATUSES)
    common(top, None)
    commands = top.add_subparsers(metavar="COMMAND", required=True, parser_class=Parser)
    for command in COMMANDS:
        one = commands.add_parser(
            command.name,
            help=command.help,
            description=command.help[0].upper() + command.help[1:] + ".",
            epilog=epilog(command, prog),
            formatter_class=RawDescriptionHelpFormatter,
        )
        common(one, SUPPRESS)
        command.arguments(one)
        one.set_defaults(run=command.run)
    return top


def common(one: ArgumentParser, default: object) -> None:
    """What every command knows, before its name and behind it."""
    one.add_argument(
        "--memory",
        metavar="FILE",
        default=default,
        help="the memory file; by default $SERAC_MEMORY, or edits.jsonl",
    )
    one.add_argument(
        "--author",
        metavar="NAME",
        default=default,
        help="who signs what is done; by default $SERAC_AUTHOR, git's user.name or the login name",
    )
    one.add_argument(
        "--json",
        action="store_true",
        default=default or False,
        help="print JSON for programs, one object a line",
    )


def epilog(command: Command, prog: str) -> str:
    lines = [line.split("#") for line in command.examples.strip().splitlines()]
    width = max(len(line[0].rstrip()) for line in lines)
    shown = (
        f"  {prog} {line[0].rstrip():<{width}}"
        + (f"  # {line[1].strip()}" if len(line) > 1 else "")
        for line in lines
    )
    return "examples:\n" + "\n".join(row.rstrip() for row in shown) + f"\n\n{STATUSES}"
