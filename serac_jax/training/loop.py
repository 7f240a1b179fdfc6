"""Training an editor, from its config to its last checkpoint."""

from __future__ import annotations

import itertools
from pathlib import Path

import jax

from serac_jax.core.console import say, say_lines
from serac_jax.core.types import Config
from serac_jax.runtime import allocator, program
from serac_jax.tasks.task import Task
from serac_jax.training import experiment, run_folder, steps
from serac_jax.training.checkpoints import Checkpoints
from serac_jax.training.progress import Progress


def train(config: Config, folder: Path, evaluate: str) -> None:
    """Trains the editor of a config in a run's folder, from its last checkpoint where it has one.

    Args:
      config: Checked and locked.
      folder: Made if need be. Holds the config, the log and the checkpoints.
      evaluate: The command that evaluates a run, for the last line of output.

    Raises:
      UserError: Something that the config names is missing or malformed, or the folder is in use.
    """
    train = config.train
    cache = program.cache_folder(config)
    program.use_compilation_cache(cache)
    with run_folder.claimed(folder):
        run_folder.enter(folder, config)
        say(f"run folder: {folder}", flush=True)
        run = experiment.build(config, cache, folder=folder)
        if run.editor.loss is None:
            say_lines(f"{config.editor} learns nothing\nnext: {evaluate} --workdir={folder}")
            return
        for split in (config.data.train_split, config.data.val_split):
            run.task.needs(split)  # reads every row: a malformed one ends the run before it begins
        data = iter(run.task.batches(config.data.train_split, train.edits, True))
        validation = run.task.batches(config.data.val_split, train.edits, False)
        read_all(run.task, config)
        optimizer = steps.make_optimizer(train, run.editor)
        state = steps.init_state(run.editor, optimizer, run.base_params, config.seed, run.mesh)
        checkpoints = Checkpoints(folder)
        state, loop = checkpoints.restore_or_start(state, data, train.init_from)
        train_step = steps.make_train_step(run.editor, state, train.accumulate, config.seed)
        update_step = steps.make_update_step(optimizer, state)
        eval_step = steps.make_eval_step(run.editor, run.base, run.task.score)
        step = int(jax.device_get(state.step))
        writers = run_folder.writers(folder, config, step)
        skipped = int(jax.device_get(state.opt_state.skipped))
        progress = Progress(train, folder, writers, step, skipped, loop)

        while not (reason := progress.finished(step)):
            if progress.validation_is_due(step):  # also one that a signal has ended before
                allocator.give_back()
                scores = steps.evaluate(
                    eval_step,
                    state.params,
                    run.base_params,
                    validation,
                    run.mesh,
                    train.val_batches,
                    run.task.kinds,
                    progress.stopping,
                )
                allocator.give_back()
                if scores is not None:
                    progress.validated(step, scores)
                    checkpoints.save(state, data, progress.loop)
                continue
            with jax.transfer_guard("disallow"):  # every transfer is explicit
                batch = steps.shard_batch(next(data), run.mesh)
                state, metrics = train_step(state, run.base_params, batch)
                step += 1
                if step % train.accumulate == 0:
                    state = update_step(state)
                progress.trained(step, metrics, state.opt_state.skipped)
            if step % train.save_every == 0 and not progress.validation_is_due(step):
                checkpoints.save(state, data, progress.loop)
        checkpoints.save(state, data, progress.loop)
        checkpoints.close()
        data.close()  # ends its worker processes
        say_lines(f"{reason}\nnext: {evaluate} --workdir={folder}")


def read_all(task: Task, config: Config) -> None:
    """Reads what a validation reads. Raises DataError where something is too long, which would end
    the run after thousands of steps."""
    data, train = config.data, config.train
    batches = task.batches(data.val_split, train.edits, False, task.encode.lengths)
    for _ in itertools.islice(batches, train.val_batches or None):
        pass
