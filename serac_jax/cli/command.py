"""What every command shares: its type, its exit statuses, and how it opens the memory file."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from serac_jax.core import console, files
from serac_jax.core.errors import UserError
from serac_jax.edits import memory_file
from serac_jax.edits.records import Edit
from serac_jax.edits.store import Store

OK, FAILED, NOTHING = 0, 1, 2  # exit statuses; NOTHING: no match, or a conflict stopped it


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


def no_arguments(parser: ArgumentParser) -> None:
    """Adds nothing."""


def memory_path(options: Namespace) -> Path:
    """The memory file: --memory, $SERAC_MEMORY or edits.jsonl."""
    return Path(options.memory or os.environ.get("SERAC_MEMORY") or "edits.jsonl")


def open_store(options: Namespace) -> Store:
    """Opens the memory file; the first edit creates it."""
    return Store.open(memory_path(options), options.author)


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
