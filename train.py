"""Trains an editor.

    python train.py --config=configs/zsre_rep.py[:mini] [--config.FIELD=VALUE …] [--workdir=FOLDER]

As several processes: docs/devices.md.
A run that was killed or stopped goes on, without a difference, when it is started again with its
workdir."""

from pathlib import Path

import jax
from absl import flags
from ml_collections import config_flags

from serac_jax.runtime import distributed, program
from serac_jax.training import experiment, run_folder, steps
from serac_jax.training.checkpoints import Checkpoints
from serac_jax.training.progress import Progress

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "A file of configs/, with :mini for the small variant.", lock_config=True
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "The run's folder; by default a new one under runs/."
)
flags.mark_flag_as_required("config")


def main() -> None:
    config, train = CONFIG.value, CONFIG.value.train
    folder = run_folder.enter(
        Path(
            WORKDIR.value
            or run_folder.new_name(config_flags.get_config_filename(flags.FLAGS["config"]))
        ),
        config,
    )
    cache = program.cache_folder(config)
    program.use_compilation_cache(cache)
    print(f"run folder: {folder}", flush=True)

    run = experiment.build(config, cache)
    if run.editor.loss is None:
        print(f"{config.editor} learns nothing\nnext: python eval.py --workdir={folder}")
        return
    data = iter(run.task.batches(config.data.train_split, train.edits, True))
    validation = run.task.batches(config.data.val_split, train.edits, False)
    optimizer = steps.make_optimizer(train, run.editor)
    state = steps.init_state(run.editor, optimizer, run.base_params, config.seed, run.mesh)
    checkpoints = Checkpoints(folder)
    state, loop = checkpoints.restore_or_start(state, data, train.init_from)
    train_step = steps.make_train_step(run.editor, state, train.accumulate, config.seed)
    update_step = steps.make_update_step(optimizer, state)
    eval_step = steps.make_eval_step(run.editor, run.base, run.task.score)
    step = int(jax.device_get(state.step))
    progress = Progress(train, folder, run_folder.writers(folder, config, step), step, loop)

    while not (reason := progress.finished(step)):
        with jax.transfer_guard("disallow"):  # what goes to the devices, or is waited for, says so
            state, metrics = train_step(
                state, run.base_params, steps.shard_batch(next(data), run.mesh)
            )
            step += 1
            if step % train.accumulate == 0:
                state = update_step(state)
            progress.trained(step, metrics, state.opt_state.skipped)
        scores = None
        if step % train.val_every == 0 or step == train.steps:
            scores = steps.evaluate(
                eval_step,
                state.params,
                run.base_params,
                validation,
                run.mesh,
                train.val_batches,
                run.task.kinds,
            )
            progress.validated(step, scores)
        if scores or step % train.save_every == 0:
            checkpoints.save(state, data, progress.loop, scores["loss"] if scores else None)
    checkpoints.save(state, data, progress.loop, None)
    checkpoints.close()
    print(f"{reason}\nnext: python eval.py --workdir={folder}")


if __name__ == "__main__":
    program.run(distributed.run_distributed(main))
