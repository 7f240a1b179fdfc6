"""Command lines of programs that take a config: a preset, its fields, and a few options."""

from __future__ import annotations

import contextlib
import sys
from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from serac_jax.cli.command import OK, HelpingParser
from serac_jax.core.errors import UserError
from serac_jax.core.types import Config

FIELDS = """fields:
  --train.lr=1e-4, --serac.cosine, … change a field of the config, with or without "config." before
  its name; `serac config PRESET` prints all of them"""


class Parser(HelpingParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see `{self.prog} --help`")


def parser(name: str, about: str, *, preset: bool = True, fields: bool = True) -> Parser:
    """The parser of a program's own options.

    Args:
      name: The command, as typed after `serac`.
      about: What it does, for `--help`.
      preset: Whether it takes a preset, or a config file.
      fields: Whether it takes fields of a config.
    """
    one = Parser(
        prog=f"serac {name}",
        description=about,
        epilog=FIELDS if fields else None,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if preset:
        one.add_argument(
            "preset", nargs="?", metavar="PRESET", help="such as zsre_rep, or zsre_rep:mini"
        )
        one.add_argument(
            "--config", metavar="FILE.py[:mini]", help="a config file instead of a preset"
        )
    return one


def parse(one: Parser, arguments: Iterable[str]) -> Namespace:
    """The options, with the fields that they change in `fields`.

    Raises:
      UserError: There is no such option or field, or a value is not of its type.
    """
    fields, others = [], []
    for argument in joined(arguments):  # argparse takes a value with a space for a positional
        (fields if is_field(argument) else others).append(argument)
    options, rest = one.parse_known_args(others)
    fields += rest
    if fields and one.epilog is None:
        one.error(f"there is no option {fields[0]}")
    with packages_of("train"):
        from serac_jax.training import overrides  # here, so that --help needs no JAX

    options.fields = overrides.parse(fields)
    return options


@contextlib.contextmanager
def packages_of(extra: str) -> Iterator[None]:
    """Raises UserError where a package of an extra is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "serac_jax").startswith("serac_jax"):
            raise
        raise UserError(
            f"this command needs the package {error.name!r}; pip install 'serac_jax[{extra}]'"
        ) from error


def is_field(argument: str) -> bool:
    """Whether an argument sets a field of a section: those have a dot in their names."""
    return argument.startswith("--") and "." in argument.partition("=")[0]


def joined(arguments: Iterable[str]) -> Iterator[str]:
    """The arguments, with a field and its value as one: `--train.lr 1e-4` as `--train.lr=1e-4`."""
    pending = ""
    for argument in arguments:
        if pending and not argument.startswith("--"):
            yield f"{pending}={argument}"
            pending = ""
            continue
        if pending:
            yield pending
        pending = ""
        if is_field(argument) and "=" not in argument:
            pending = argument
        else:
            yield argument
    if pending:
        yield pending


def named(options: Namespace) -> str:
    """The preset or config file that is named. Raises UserError where none or two are."""
    if bool(options.preset) == bool(options.config):
        raise UserError(
            "name one preset, such as zsre_rep:mini, or one config file with --config=…"
        )
    return options.preset or options.config


def configured(options: Namespace) -> Config:
    """The config that is named, with its fields changed, checked and locked. Raises UserError."""
    from serac_jax import presets
    from serac_jax.training import overrides

    return overrides.apply(presets.load(named(options)), options.fields)


def launch(main: Callable[[], None], options: Namespace | None = None) -> int:
    """Runs a program that computes; with the options of `distributed`, as one of several processes.

    Returns the exit status.
    """
    from serac_jax.runtime import distributed, program

    with packages_of("train"):
        program.prepare()
        if options is None:
            main()
        else:
            distributed.run(main, options)
    return OK


def sibling(command: str) -> str:
    """How another program is started by someone who started this one."""
    started = Path(sys.argv[0]).name
    if started in ("train.py", "eval.py"):
        return f"python {command}.py"
    return f"serac {command}" if started == "serac" else f"python -m serac_jax {command}"
