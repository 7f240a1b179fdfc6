"""What every command shares: its type, its exit statuses, and how it opens the memory file."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from serac_jax.core import console, files
from serac_jax.core.errors import UserError
from serac_jax.edits import memory_file
from serac_jax.edits.records import Edit
from serac_jax.edits.store import Store

if TYPE_CHECKING:
    from serac_jax.client.remote_editor import RemoteEditor
    from serac_jax.client.remote_store import RemoteStore

OK, FAILED, NOTHING = 0, 1, 2  # exit statuses; NOTHING: no match, or a conflict stopped it
# Options that mean nothing to a server, which has its own.
LOCAL = {
    "memory": "names a file here",
    "author": "signs changes of a file; a server signs them with the name of the API key",
    "editor": "names an editor here",
    "rerank": "is for an editor here",
    "mesh": "is for an editor here",
    "dtype": "is for an editor here",
    "base_command": "is for an editor here",
    "repair": "is for a file here",
}


class Command(NamedTuple):
    """What a command's module provides.

    Attributes:
      run: Runs the command and returns the exit status.
      arguments: Adds the command's arguments to its parser. None: the command parses its own
        arguments, which it finds unchanged in `options.rest`, `--help` among them.
      examples: Command lines without the program's name, each with a comment after #.
    """

    run: Callable[[Namespace], int]
    arguments: Callable[[ArgumentParser], None] | None
    examples: str


class HelpingParser(ArgumentParser):
    """A parser that does not hide that its help could not be printed."""

    def print_help(self, file: Any = None) -> None:
        console.write(self.format_help())


def server_argument(parser: ArgumentParser) -> None:
    """What every command knows that also works on a server's edits."""
    parser.add_argument(
        "--server",
        metavar="URL",
        help="a running `serac serve`, instead of a memory file and an editor here (default:"
        " $SERAC_SERVER, where --memory is not given); $SERAC_API_KEY is its API key",
    )


def server_of(options: Namespace) -> RemoteEditor | None:
    """The server that a command line, or else $SERAC_SERVER, names.

    Raises:
      UserError: Options are for a file or an editor here, and a server is named.
    """
    url = options.server or (None if options.memory else os.environ.get("SERAC_SERVER"))
    if not url:
        return None
    for name, kind in LOCAL.items():
        if getattr(options, name, None):
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} {kind}, and {url[:200]} is asked; leave one of them out")
    from serac_jax.client.remote_editor import connect  # others start without HTTP

    return connect(url)


def memory_path(options: Namespace) -> Path:
    """The memory file: --memory, $SERAC_MEMORY or edits.jsonl."""
    return Path(options.memory or os.environ.get("SERAC_MEMORY") or "edits.jsonl")


def open_store(options: Namespace) -> Store:
    """Opens the memory file; the first edit creates it."""
    return Store.open(memory_path(options), options.author)


def edits_of(options: Namespace) -> Store | RemoteStore:
    """The edits of the server that is named, or of a memory file, which has to exist."""
    server = server_of(options)
    return server.memory if server else existing_store(options)


def existing_store(options: Namespace) -> Store:
    """Opens the memory file.

    Raises:
      UserError: There is neither a memory file nor a journal.
    """
    store = open_store(options)
    if not store.seq and not memory_path(options).exists():
        raise no_memory(memory_path(options))
    return store


def no_memory(path: Path) -> UserError:
    """The error for a memory file that does not exist."""
    return UserError(
        f"there is no memory file {path}; `add` creates it, and --memory or $SERAC_MEMORY names"
        " another"
    )


def unasked(options: Namespace) -> str:
    """Says, in front of a refusal, that --policy=ask had no terminal to ask at."""
    return (
        "there is no terminal to ask at; "
        if options.policy == "ask" and not console.is_terminal(sys.stdin)
        else ""
    )


def is_file(path: str) -> bool:
    """Whether a path leads to a file; one that no file can have does not."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False


def plain(path: str) -> dict[str, Edit]:
    """Reads the edits of a memory file without its journal.

    Raises:
      UserError: The file does not exist, or a line of it, which is named, is damaged.
    """
    if not is_file(path):
        raise UserError(f"there is no file {path:.200}")
    return memory_file.parse(files.read(Path(path)), Path(path)).edits
