"""The commands, in the order in which help lists them. A module with commands of its own puts them here."""

from __future__ import annotations

from serac_jax.shell import answering, calibrating, changing, chatting, checking, completing, exchanging, merging, reading
from serac_jax.shell.command import Command

COMMANDS: tuple[Command, ...] = (
    *changing.COMMANDS,
    *answering.COMMANDS,
    *chatting.COMMANDS,
    *reading.COMMANDS,
    *exchanging.COMMANDS,
    *merging.COMMANDS,
    *checking.COMMANDS,
    *completing.COMMANDS,
    *calibrating.COMMANDS,
)
