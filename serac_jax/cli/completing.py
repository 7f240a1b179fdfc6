"""The command that prints a completion script for a shell."""

from __future__ import annotations

from argparse import Action, ArgumentParser, Namespace

from serac_jax.cli.command import OK, Command
from serac_jax.core import console

SHELLS = ("bash", "zsh", "fish")
FILES = ("FILE", "FOLDER", "FROM", "TO", "THEIRS", "BASE")  # metavars of arguments that are files


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell to print it for")


def run(options: Namespace) -> int:
    import shtab

    from serac_jax.cli.main import parser  # which imports the table that names this module

    top = parser("serac")
    actions: list[Action] = list(top._actions)
    for one in top.commands.choices.values():
        one.fill()
        actions += one._actions
    for action in actions:
        if action.metavar in FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
    console.write(shtab.complete(top, shell=options.shell) + "\n")
    return OK


COMMANDS = {
    "completion": Command(
        run,
        arguments,
        """
completion bash > ~/.local/share/bash-completion/completions/serac
completion zsh > ~/.zfunc/_serac
completion fish > ~/.config/fish/completions/serac.fish
""",
    ),
}
