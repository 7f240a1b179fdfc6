"""Scores a trained editor.

    python eval.py [--workdir=FOLDER] [--config.eval.FIELD=VALUE …]

Restores the best checkpoint of a run, by default of the newest one under runs/, applies edits of
the evaluation split, and prints and writes (results.json in the run's folder) what they changed.
Fields of the run's config that do not change the trained editor can be given anew: eval., data.,
mesh."""

import itertools
import json
import signal
from pathlib import Path

from absl import flags
from ml_collections import config_flags

from configs import common
from serac_jax.core.sharding import fetch
from serac_jax.evaluation import report
from serac_jax.runtime import distributed, program
from serac_jax.training import experiment, run_folder, steps
from serac_jax.training.checkpoints import trained

CONFIG = config_flags.DEFINE_config_dict(
    "config", common.get_config(), "Fields to change: --config.eval.split=…"
)
WORKDIR = flags.DEFINE_string("workdir", None, "A run's folder; by default the newest under runs/.")


def main() -> None:
    signal.signal(
        signal.SIGTERM, signal.SIG_DFL
    )  # nothing to save: one of several processes need not tell the others first
    folder = Path(WORKDIR.value) if WORKDIR.value else run_folder.newest()
    config = run_folder.config_of(
        folder, config_flags.get_override_values(flags.FLAGS["config"]), common.get_config()
    )
    cache = program.cache_folder(config)
    program.use_compilation_cache(cache)
    program.writable(folder, "workdir")

    run = experiment.build(config, cache)
    step, params = trained(
        folder, run.editor, steps.init_params(run.editor, run.base_params, config.seed, run.mesh)
    )
    print(
        f"{folder}, step {step}: {config.eval.edits} edits at a time, split {config.eval.split!r}"
        f" of {config.task}",
        flush=True,
    )
    eval_step = steps.make_eval_step(run.editor, run.base, run.task.score)
    answer_step = steps.make_answer_step(run.editor, run.base)

    scores, texts, clock = [], [], report.Clock()
    for batch in itertools.islice(
        run.task.batches(config.eval.split, config.eval.edits, False), config.eval.batches or None
    ):
        batch = steps.pad_rows_to_mesh(batch, run.mesh)
        placed = steps.shard_batch(batch, run.mesh)
        teacher_forced, answers = fetch(
            (
                eval_step(params, run.base_params, placed),
                answer_step(params, run.base_params, placed),
            )
        )
        scores.append(teacher_forced | run.task.score_answers(answers, batch))
        texts += report.examples(
            batch, answers, run.base.tokenizer, run.task.words, config.eval.examples - len(texts)
        )
        clock.tick(batch)

    results = report.results(scores, clock, config, step, texts)
    print(report.table(results), report.shown(texts), sep="\n\n")
    if distributed.is_primary():
        (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    print(f"\nwritten: {folder / 'results.json'}")


if __name__ == "__main__":
    program.run(distributed.run_distributed(main))
