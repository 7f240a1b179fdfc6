"""Checkpoints of a run: the last two and the best, written in the background.

A killed run resumes from them bit for bit. Each is verified by checksums when it is restored; one
that is damaged is passed over for the newest that is whole.
"""

from __future__ import annotations

import errno
import re
import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from serac_jax.core import files
from serac_jax.core.errors import UserError
from serac_jax.core.sharding import place
from serac_jax.runtime import distributed, program
from serac_jax.tasks.sampling import go_to
from serac_jax.training import checksums
from serac_jax.training.steps import TrainState

FOLDER, ASIDE = "checkpoints", "damaged"  # in a run's folder
KEPT = 2  # the last ones: where the newest is damaged, the one before it is still there

# What the library raises where it cannot write.
WRITING = (OSError, ValueError, RuntimeError)
NOTE = r" \[(?:os_error_code|tensorstore_spec)="  # what begins after the system's own words


class DamagedCheckpoint(UserWarning):
    """A checkpoint was passed over, since it is not what was saved."""


class UnsavedCheckpoint(UserWarning):
    """A checkpoint could not be written; the one before it stands."""


class Damage(Exception):
    """Why a checkpoint cannot be restored."""


class Restored(NamedTuple):
    """Of the first checkpoint that is whole: its step, what was read, and newer steps that are
    damaged."""

    step: int
    found: Any
    damaged: Sequence[int]


class Kept(policies.PreservationPolicy):
    """Keeps the last checkpoints, and the one with the lowest validation loss."""

    best = -1  # its step

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        last = {one.step for one in checkpoints[-KEPT:]}
        return [one.step in last or one.step == self.best for one in checkpoints]


class Checkpoints:
    """Saves parameters, optimizer state, position in the data and the loop's own numbers."""

    def __init__(self, workdir: Path):
        program.quiet_libraries()
        self.workdir, self.kept = workdir, Kept()
        self.last: tuple[int, dict[str, float]] | None = None  # what was saved or restored last

    @cached_property
    def manager(self) -> ocp.CheckpointManager:
        """Of what is on disk; makes the folder where there is none."""
        options = ocp.CheckpointManagerOptions(
            preservation_policy=self.kept,
            lightweight_initialize=True,  # reads no descriptions, one of which may be damaged
        )
        return ocp.CheckpointManager((self.workdir / FOLDER).resolve(), options=options)

    def save(self, state: TrainState, data: grain.DatasetIterator, loop: dict[str, float]) -> None:
        """Writes in the background; a run killed meanwhile resumes from the previous checkpoint.

        Where it cannot be written, which the next call finds out, the run goes on.

        Args:
          loop: the loop's own numbers, of which `best_step` is the step of the best checkpoint.

        Warns:
          UnsavedCheckpoint: the previous one could not be written.
        """
        step = int(jax.device_get(state.step))
        if self.last == (step, loop):
            return
        self.wait()
        self.kept.best = int(loop.get("best_step", -1))
        trees = arrays_of(state)
        numbers = {"data": data.get_state(), "loop": loop}  # the same in every process
        try:
            require_room(self.workdir / FOLDER, trees)
            if step in self.manager.all_steps():  # of before its validation
                self.manager.delete(step)
            self.manager.save(
                step,
                args=ocp.args.Composite(
                    **{name: ocp.args.StandardSave(tree) for name, tree in trees.items()},
                    **{name: ocp.args.JsonSave(value) for name, value in numbers.items()},
                    checksums=ocp.args.JsonSave(
                        {name: checksums.of_json(value) for name, value in numbers.items()}
                        | checksums.of_arrays(trees)
                    ),
                ),
            )
        except WRITING as error:
            warnings.warn(self.unsaved(step, error), UnsavedCheckpoint, stacklevel=2)
        else:
            self.last = step, dict(loop)

    def wait(self) -> None:
        """Waits until everything is on disk.

        Warns:
          UnsavedCheckpoint: it cannot be written.
        """
        try:
            self.manager.wait_until_finished()
        except WRITING as error:
            step = self.last[0] if self.last else None
            warnings.warn(self.unsaved(step, error), UnsavedCheckpoint, stacklevel=3)

    def unsaved(self, step: int | None, error: Exception) -> str:
        """Removes what there is of a checkpoint that could not be written, and says so."""
        with suppress(Exception):  # it repeats the error
            self.manager.close()
        self.last = None
        self.remove_unfinished()
        del self.manager
        stands = self.manager.latest_step()
        return (
            f"the checkpoint of step {step} could not be written to {self.manager.directory}"
            f" ({brief(error)});"
            f" {'there is none yet' if stands is None else f'that of step {stands} stands'}"
        )

    def remove_unfinished(self) -> None:
        """Removes what a save left that was killed, or failed. Only for who trains."""
        if distributed.is_primary():
            for rest in (self.workdir / FOLDER).glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(rest, ignore_errors=True)

    def restore_or_start(
        self, state: TrainState, data: grain.DatasetIterator, init_from: str
    ) -> tuple[TrainState, dict[str, float]]:
        """Restores the newest checkpoint that is whole, or starts a new run.

        Newer ones, which are damaged, are moved to the folder "damaged" of the run.

        Args:
          state: What a new run starts from; its shardings are used for what is restored.
          data: Moved to the checkpoint's position.
          init_from: The run whose best parameters a new run starts from, or "".

        Returns:
          The state, and the loop's own numbers.

        Raises:
          UserError: There are checkpoints, but none is whole.
        """
        self.remove_unfinished()
        if not (steps := self.newest_first()):
            if init_from:
                found = Checkpoints(Path(init_from)).best_params(state.params)[1]
                state = state._replace(params=found)
            return state, {"validated": 0}
        read = partial(self.read, trees=arrays_of(state))
        step, saved, damaged = self.first_whole(steps, read)
        self.put_aside(damaged)
        go_to(data, saved["data"], step)
        # Version 0.4 saved no step of the last validation, and never before a validation.
        loop = {"validated": step} | saved["loop"]
        self.kept.best = int(loop.get("best_step", -1))
        self.last = step, dict(loop)
        counted = place(np.asarray(step, state.step.dtype), state.step.sharding)
        return TrainState(counted, saved["params"], saved["opt_state"]), loop

    def best_params(self, params: Any) -> tuple[int, Any]:
        """The step and parameters with the lowest validation loss, else of the last checkpoint.

        Args:
          params: Arrays whose shardings are used for what is restored.

        Raises:
          UserError: There is no checkpoint yet, or none is whole.
        """
        if not (steps := (self.workdir / FOLDER).is_dir() and self.newest_first()):
            raise UserError(
                f"{self.workdir} has no checkpoint yet; continue the run until its first one"
            )
        last, saved, _ = self.first_whole(steps, self.read)
        best = int(saved["loop"].get("best_step", last))
        order = [best, *(step for step in steps if step != best)]
        step, found, _ = self.first_whole(order, partial(self.read, trees={"params": params}))
        return step, found["params"]

    def newest_first(self) -> list[int]:
        """The steps of all checkpoints."""
        return sorted(self.manager.all_steps(), reverse=True)

    def first_whole(self, steps: Iterable[int], read: Callable[[int], Any]) -> Restored:
        """What `read` gives of the first checkpoint that is whole.

        Warns:
          DamagedCheckpoint: of each before it.

        Raises:
          UserError: None is whole.
        """
        problems: dict[int, str] = {}
        for step in steps:
            try:
                found = read(step)
            except Damage as error:
                problems[step] = str(error)
                continue
            for other, problem in problems.items():
                warnings.warn(
                    f"the checkpoint of step {other} in {self.manager.directory} is damaged"
                    f" ({problem}); that of step {step} is used instead",
                    DamagedCheckpoint,
                    stacklevel=3,
                )
            return Restored(step, found, list(problems))
        step, problem = next(iter(problems.items()))
        raise UserError(
            f"no checkpoint in {self.manager.directory} is whole (that of step {step}: {problem});"
            " restore one from a backup, or delete the folder to train anew"
        )

    def read(self, step: int, trees: Mapping[str, Any] = {}) -> dict[str, Any]:
        """The numbers of a checkpoint, and the arrays that `trees` have the names and shapes of.

        Raises:
          Damage: Not all of it is there, or something differs from what was saved.
        """
        numbers = ["data", "loop"]
        if (self.manager.directory / str(step) / "checksums").exists():  # not before 0.5
            numbers.append("checksums")
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, dict(trees))
        items = {name: ocp.args.StandardRestore(tree) for name, tree in abstract.items()}
        items |= {name: ocp.args.JsonRestore() for name in numbers}
        found, problem = {}, ""
        try:
            restored: Any = self.manager.restore(step, args=ocp.args.Composite(**items))
            found = {name: restored[name] for name in items}
            problem = differing(found, trees) if "checksums" in found else ""
        except (MemoryError, PermissionError, jax.errors.JaxRuntimeError):
            raise  # say nothing of what is on disk
        except Exception as error:  # whatever the library meets in damaged files
            problem = files.reason(error)
        if not distributed.all_agree(not problem):
            raise Damage(problem or "another process cannot read it")
        return found

    def put_aside(self, steps: Iterable[int]) -> None:
        """Moves damaged checkpoints out of the way of new ones."""
        for step in steps:
            if distributed.is_primary():
                aside = self.workdir / ASIDE / str(step)
                shutil.rmtree(aside, ignore_errors=True)
                aside.parent.mkdir(exist_ok=True)
                (self.workdir / FOLDER / str(step)).rename(aside)
        distributed.wait("damaged checkpoints")
        self.manager.close()
        del self.manager  # which knows them

    def close(self) -> None:
        """Waits until everything is on disk.

        Raises:
          UserError: The last checkpoint is not.
        """
        try:
            self.manager.close()
        except WRITING as error:
            said = self.unsaved(self.last and self.last[0], error)
            raise UserError(f"{said}; make room, and run the same command again") from error
        if self.last is None:  # which was told
            raise UserError(
                f"the last steps are not saved in {self.workdir}; make room, and run the same"
                " command again"
            )


def brief(error: Exception) -> str:
    """Why something could not be written: of the library's message, what the system said."""
    said, *notes = re.split(NOTE, str(error), maxsplit=1)
    return said.rpartition(": ")[2] if notes else files.reason(error)


def require_room(folder: Path, trees: Any) -> None:
    """Raises OSError where the disk has no room for arrays.

    Before the library finds out with half of them written, which it may not survive.
    """
    disk = shutil.disk_usage(folder)
    needed = sum(leaf.nbytes for leaf in jax.tree.leaves(trees))
    if not distributed.all_agree(needed <= disk.free or not disk.total):
        raise OSError(
            errno.ENOSPC,
            f"it needs {needed / 1e6:.1f} MB, but the disk has {disk.free / 1e6:.1f} MB left",
        )


def arrays_of(state: TrainState) -> dict[str, Any]:
    """The arrays of a checkpoint under the names of its items."""
    return {"params": state.params, "opt_state": state.opt_state}


def differing(found: dict[str, Any], trees: Iterable[str]) -> str:
    """What of a restored checkpoint is not as it was saved; "" where all is."""
    sums = {name: checksums.of_json(found[name]) for name in ("data", "loop")}
    sums |= checksums.of_arrays({name: found[name] for name in trees})
    name = checksums.difference(found["checksums"], sums)
    return name and f"{name} differs from what was saved"
