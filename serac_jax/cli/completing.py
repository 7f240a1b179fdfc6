"""The command that prints what lets a shell complete command lines."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from serac_jax.cli.command import OK, Command

SHELLS = ("bash", "zsh", "fish")
FILES = (
    "FILE",
    "FOLDER",
    "FROM",
    "TO",
    "THEIRS",
    "BASE",
)  # what help calls arguments that may be files


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS)


def run(options: Namespace) -> int:
    import shtab

    from serac_jax.cli.main import parser  # the table that it reads names this command too

    top = parser("serac")
    for one in (
        top,
        *next(
            action.choices for action in top._actions if isinstance(action.choices, dict)
        ).values(),
    ):
        for action in one._actions:
            if action.metavar in FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
    print(shtab.complete(top, shell=options.shell))
    return OK


COMMANDS = (
    Command(
        "completion",
        "print a script with which bash, zsh or fish completes commands",
        """
completion bash > ~/.local/share/bash-completion/completions/serac
completion zsh > ~/.zfunc/_serac
completion fish > ~/.config/fish/completions/serac.fish
""",
        arguments,
        run,
    ),
)
