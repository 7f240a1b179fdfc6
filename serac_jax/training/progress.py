"""What a training run prints and logs, and when it stops."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import jax

from serac_jax.core import files
from serac_jax.core.console import say_lines
from serac_jax.core.errors import UserError
from serac_jax.core.types import Config
from serac_jax.runtime import distributed
from serac_jax.training.run_folder import Writer
from serac_jax.training.steps import Sums, averages

HOPELESS = 100  # so many batches that are skipped one after the other end a run


class Progress:
    """Averages the metrics of steps, prints and logs them, and decides when to stop.

    `loop` is what a resumed run needs: the step of the last validation, the best validation loss so
    far and its step.
    """

    def __init__(
        self,
        train: Config,
        folder: Path,
        writers: list[Writer],
        step: int,
        skipped: int,
        loop: dict[str, float],
    ):
        self.train, self.folder, self.writers, self.loop = train, folder, writers, dict(loop)
        self.pending: list[Sums] = []
        self.skipped, self.looked, self.kept = skipped, step, step
        # the first step compiles and is not part of the estimate
        self.start: tuple[int, float] | None = None
        self.since = step, time.monotonic()
        self.signalled, self.asked = False, 0
        signal.signal(signal.SIGINT, self.on_signal)
        if jax.process_count() == 1:  # with several, JAX handles SIGTERM and informs all processes
            signal.signal(signal.SIGTERM, self.on_signal)

    def on_signal(self, number: int, frame: Any) -> None:
        if jax.process_count() == 1:
            self.signalled = True
        else:
            signal.raise_signal(signal.SIGTERM)

    def stopping(self) -> bool:
        """Whether a signal asks to stop. All processes ask equally often."""
        self.asked += 1
        return self.signalled or distributed.stopped(self.asked)

    def validation_is_due(self, step: int) -> bool:
        """Whether this step is to be validated, and was not yet."""
        here = step % self.train.val_every == 0 or step == self.train.steps
        return here and step != self.loop["validated"]

    def finished(self, step: int) -> str:
        """Why training stops at this step; empty to continue."""
        due = self.validation_is_due(step)
        if step >= self.train.steps and not due:
            return "all steps done"
        if self.stopping():
            return "stopped by a signal; run the same command with this workdir to continue"
        if not due and step - self.loop.get("best_step", step) >= self.train.patience:
            return (
                "stopped early: the validation loss has not improved since step"
                f" {int(self.loop['best_step'])}"
            )
        return ""

    def trained(self, step: int, metrics: Sums, skipped: Any) -> None:
        """Counts a step. Waits for the device only at the first step and when a line is due."""
        self.pending.append(metrics)
        if self.start is None:
            jax.block_until_ready(metrics)
            self.start = self.since = step, time.monotonic()
        self.profile(step - self.start[0], metrics)
        if step % self.train.log_every and step != self.train.steps:
            return
        scalars = averages(self.pending) | {"skipped": float(jax.device_get(skipped))}
        self.pending = []
        self.check_skipped(step, int(scalars["skipped"]))
        if step > self.since[0]:
            scalars["steps_per_second"] = (step - self.since[0]) / (
                time.monotonic() - self.since[1]
            )
        if memory := jax.local_devices()[0].memory_stats():
            scalars["device_memory_gb"] = memory["peak_bytes_in_use"] / 2**30
        self.since = step, time.monotonic()
        self.tell(step, scalars)

    def check_skipped(self, step: int, skipped: int) -> None:
        """Raises UserError where too many batches were skipped, one after the other."""
        if skipped - self.skipped < step - self.looked:
            self.kept = step
        self.skipped, self.looked = skipped, step
        if step > self.kept and (step - self.kept >= HOPELESS or step == self.train.steps):
            raise UserError(
                f"step {step}: the loss or its gradient was not finite in any of the last"
                f" {step - self.kept} batches, so that all of them were skipped; lower train.lr, or"
                " look into the models and rows that the config names"
            )

    def validated(self, step: int, scores: dict[str, float]) -> None:
        """Records a validation, whose time does not count as training time."""
        self.loop["validated"] = step
        if scores["loss"] < self.loop.get("best_loss", float("inf")):
            self.loop |= {"best_loss": scores["loss"], "best_step": step}
        self.tell(step, {f"val_{name}": value for name, value in scores.items()})
        self.since = step, time.monotonic()

    def profile(self, count: int, metrics: Sums) -> None:
        """Writes a trace of the first `train.profile` compiled steps into the run's folder, for
        TensorBoard or Perfetto."""
        if not self.train.profile or not distributed.is_primary():
            return
        if count == 0:
            jax.profiler.start_trace(str(self.folder / "profile"))
        if count == self.train.profile:
            jax.block_until_ready(metrics)
            jax.profiler.stop_trace()

    def tell(self, step: int, scalars: dict[str, float]) -> None:
        """Writes and prints numbers. Raises UserError where they cannot be written."""
        try:
            for writer in self.writers:
                writer.write(step, scalars)
        except OSError as error:
            raise UserError(
                f"step {step}: cannot write the log of {self.folder} ({files.reason(error)}); make"
                " room, and run the same command again to continue from the last checkpoint"
            ) from error
        line = f"step {step}/{self.train.steps}{self.left(step)}  {shown(scalars)}"
        say_lines(line, flush=True)

    def left(self, step: int) -> str:
        """The estimated time left, validations included."""
        if self.start is None or step <= self.start[0]:
            return ""
        seconds = (
            (self.train.steps - step) * (time.monotonic() - self.start[1]) / (step - self.start[0])
        )
        hours, minutes = divmod(int(seconds) // 60, 60)
        return f"  {hours}:{minutes:02d}:{int(seconds) % 60:02d} left"


def shown(scalars: dict[str, float]) -> str:
    """Numbers for people: a line for those of no kind of questions, and one for each kind.

    Those that pool several kinds are left to the files.
    """
    of_kind: dict[str, list[str]] = {"": []}
    for name, value in scalars.items():
        score, _, kind = name.partition("/")
        if not score.endswith("_pooled"):
            of_kind.setdefault(kind, []).append(f"{score} {value:.4g}")
    first, *others = of_kind.items()
    lines = [f"    {kind}:  {'  '.join(line).replace('val_', '')}" for kind, line in others]
    return "\n".join(["  ".join(first[1]), *lines])
