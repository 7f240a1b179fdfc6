"""The commands, in the order in which help lists them. A module with commands of its own puts them
here."""

from __future__ import annotations

from serac_jax.cli import (
    answering,
    browsing,
    calibrating,
    changing,
    chatting,
    checking,
    completing,
    exchanging,
    merging,
)
from serac_jax.cli.command import Command

COMMANDS: tuple[Command, ...] = (
    *changing.COMMANDS,
    *answering.COMMANDS,
    *chatting.COMMANDS,
    *browsing.COMMANDS,
    *exchanging.COMMANDS,
    *merging.COMMANDS,
    *checking.COMMANDS,
    *completing.COMMANDS,
    *calibrating.COMMANDS,
)
