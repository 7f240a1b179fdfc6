"""A command of the shell as a base model: it reads a question and prints an answer."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from typing import IO

from serac_jax.core.errors import UserError

MOST = 1 << 20  # bytes of an answer; a command that prints without an end would fill the memory
PATIENCE = 120.0  # seconds


class BaseCommand:
    """Answers a question by running a command.

    Args:
      command: What the shell runs.
      patience: How many seconds an answer may take.
    """

    def __init__(self, command: str, patience: float = PATIENCE):
        self.command, self.patience = command, patience

    def __call__(self, question: str) -> str:
        """Returns what the command prints after reading the question.

        Raises:
          UserError: It fails, takes or prints too much, or prints what is no text.
        """
        with tempfile.TemporaryFile() as asked:
            asked.write(question.encode())
            asked.seek(0)
            with subprocess.Popen(
                self.command,
                shell=True,
                stdin=asked,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # so that what it started ends with it
            ) as run:
                try:
                    out, errors = self.printed(run)
                except BaseException:
                    with suppress(ProcessLookupError):
                        os.killpg(run.pid, signal.SIGKILL)
                    raise
        if run.returncode:
            said = errors.decode(errors="replace").strip()[-200:] or "it said nothing"
            raise UserError(f"--base-command ended with status {run.returncode}: {said}")
        try:
            return out.decode().strip()
        except UnicodeDecodeError as error:
            raise UserError(f"--base-command printed what is not UTF-8 ({error.reason})") from error

    def printed(self, run: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
        """What a command prints on both its outputs, until it ends."""
        end = time.monotonic() + self.patience
        assert run.stdout
        assert run.stderr
        found: dict[IO[bytes], bytearray] = {run.stdout: bytearray(), run.stderr: bytearray()}
        with selectors.DefaultSelector() as ready:
            for stream in found:
                ready.register(stream, selectors.EVENT_READ)
            while ready.get_map():
                for key, _ in ready.select(max(end - time.monotonic(), 0)) or self.late():
                    assert not isinstance(key.fileobj, int)
                    if data := os.read(key.fd, 1 << 16):
                        found[key.fileobj] += data  # type: ignore[index]
                    else:
                        ready.unregister(key.fileobj)
                if sum(map(len, found.values())) > MOST:
                    raise UserError(f"--base-command printed more than {MOST >> 20} MiB")
        try:
            run.wait(max(end - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            self.late()
        return bytes(found[run.stdout]), bytes(found[run.stderr])

    def late(self) -> list[tuple[selectors.SelectorKey, int]]:
        """Ends the wait for an answer."""
        raise UserError(
            f"--base-command gave no answer within {self.patience:g} seconds; --base-timeout"
            " changes that"
        )
