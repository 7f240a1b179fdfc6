"""Scores a trained editor.

    python eval.py [--workdir=FOLDER] [--config.eval.FIELD=VALUE …]

Restores the best checkpoint of a run, by default of the newest one under runs/, applies edits of
the evaluation split, and prints what they changed, for each kind of question. Writes results.json
and predictions.jsonl (a line per question) into the run's folder. Fields of the run's config that
do not change the trained editor can be given anew: eval., data. and mesh.
"""

import shlex
import signal
import sys
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from configs import common
from serac_jax.evaluation.evaluate import evaluate_and_write
from serac_jax.runtime import distributed, program
from serac_jax.training import experiment, run_folder, steps
from serac_jax.training.checkpoints import trained

CONFIG = config_flags.DEFINE_config_dict(
    "config", common.get_config(), "Fields to change: --config.eval.split=…"
)
WORKDIR = flags.DEFINE_string("workdir", None, "A run's folder; by default the newest under runs/.")


def main() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing to save
    changed = config_flags.get_override_values(flags.FLAGS["config"])
    folder = Path(WORKDIR.value) if WORKDIR.value else run_folder.newest()
    config = run_folder.config_of(folder, changed, common.get_config())
    cache = program.cache_folder(config)
    program.use_compilation_cache(cache)
    program.writable(folder, "workdir")

    run = experiment.build(config, cache)
    start = steps.init_params(run.editor, run.base_params, config.seed, run.mesh)
    step, params = trained(folder, run.editor, start)
    evaluate_and_write(
        run,
        params,
        config,
        folder,
        name=f"{folder}, step {step}",
        step=step,
        split_asked="eval.split" in changed,
        command=shlex.join(["python", *sys.argv]),
    )


if __name__ == "__main__":
    program.run(distributed.run_distributed(main))
