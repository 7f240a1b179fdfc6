"""The command that prints what lets a shell complete command lines."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from serac_jax.shell.command import OK, Command

SHELLS = ("bash", "zsh", "fish")


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS)


def run(options: Namespace) -> int:
    import shtab

    from serac_jax.shell.main import parser  # the table that it reads names this command too

    print(shtab.complete(parser("serac"), shell=options.shell))
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
