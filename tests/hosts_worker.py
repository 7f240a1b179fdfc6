"""Trains tiny editors for a few steps over any number of processes and devices: what
tests/slow/test_hosts.py compares, in its own process and in others.

python -m tests.hosts_worker --out=FOLDER --cases=serac:2,2,2;mend:1,1,8 [--resume=FOLDER]
[--coordinator=… --processes=… --process=…]"""

import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

import jax
import numpy as np
import optax

from serac_jax.cli.options import launch
from serac_jax.core import sharding
from serac_jax.runtime import distributed
from serac_jax.training import experiment, steps
from serac_jax.training.checkpoints import Checkpoints
from tests.tiny import config_of, tiny

EDITORS = {
    "serac": {},
    "mend": {"editor": "mend", "mend.rank": 8, "mend.edit_lr": 1e-2},
    "enn": {"editor": "enn"},
}
STEPS, SAVED = 4, 2


def train(
    editor: str, mesh: tuple[int, ...], out: Path, resume: Path | None = None
) -> dict[str, np.ndarray]:
    """What the editor has learned after STEPS steps, by path, with a checkpoint in `out` of step
    SAVED, or from such a checkpoint on.

    Adam with a large ε: it divides by no gradient that is only rounding.
    """
    axes = dict(zip(("mesh.data", "mesh.fsdp", "mesh.model"), mesh, strict=True))
    fields = {
        "train.edits": 4,
        "train.accumulate": 2,
        "data.question_tokens": 40,
        "data.answer_tokens": 24,
    }
    config = config_of(**tiny() | EDITORS[editor] | fields | axes)
    run = experiment.build(config, out / "cache")
    optimizer = optax.adam(1e-2, eps=0.1)
    first = steps.init_state(run.editor, optimizer, run.base_params, 0, run.mesh)
    step, update = (
        steps.make_train_step(run.editor, first, config.train.accumulate, 0),
        steps.make_update_step(optimizer, first),
    )

    def go_on(state: steps.TrainState, data, last: int) -> steps.TrainState:
        for number in range(int(jax.device_get(state.step)), last):
            state, _ = step(state, run.base_params, steps.shard_batch(next(data), run.mesh))
            state = update(state) if number % config.train.accumulate else state
        return state

    data = iter(run.task.batches("train", config.train.edits, True))
    if resume:
        state, _ = Checkpoints(resume / editor).restore_or_start(first, data, "")
        assert int(jax.device_get(state.step)) == SAVED
    else:
        state, checkpoints = go_on(first, data, SAVED), Checkpoints(out / editor)
        checkpoints.save(state, data, {})
        checkpoints.close()
    return named(go_on(state, data, STEPS).params)


def named(params) -> dict[str, np.ndarray]:
    return {
        sharding.path_name(path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(sharding.fetch(params))
    }


def main(options: Namespace) -> None:
    out = Path(options.out)
    for case in options.cases.split(";"):
        editor, _, mesh = case.partition(":")
        found = train(
            editor,
            tuple(map(int, mesh.split(","))),
            out,
            Path(options.resume) if options.resume else None,
        )
        if distributed.is_primary():
            np.savez(out / f"{editor}.npz", **found)
    distributed.wait("the end")
    print(f"{jax.process_count()} processes, {jax.device_count()} devices")


def parsed() -> Namespace:
    parser = ArgumentParser()
    parser.add_argument("--out", required=True, help="where parameters and checkpoints go")
    parser.add_argument(
        "--cases", required=True, help="editor:data,fsdp,model, separated by semicolons"
    )
    parser.add_argument("--resume", help="a folder of another run, whose checkpoints are continued")
    distributed.add_arguments(parser)
    return parser.parse_args()


if __name__ == "__main__":
    jax.config.update(
        "jax_num_cpu_devices", int(os.environ["JAX_NUM_CPU_DEVICES"])
    )  # tests/conftest.py, imported above, asks for 8
    given = parsed()
    sys.exit(launch(lambda: main(given), given))
