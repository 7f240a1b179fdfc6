"""Ahead-of-time compilation sees what a run will be."""

import math

import jax
import pytest

from serac_jax import ahead, experiment, training
from serac_jax.errors import UserError
from tests.tiny import config_of, tiny

FIELDS = {"mesh.data": 2, "mesh.fsdp": 2, "mesh.model": 2, "train.edits": 4, "eval.edits": 3}
EDITORS = {"serac": {}, "mend": {"editor": "mend", "mend.rank": 8}}


@pytest.mark.parametrize("name", EDITORS)
def test_the_shapes_and_places_are_those_of_the_run(tmp_path, name):
    config = config_of(**tiny() | FIELDS | EDITORS[name])
    real = experiment.build(config, tmp_path)
    optimizer = training.make_optimizer(config.train, real.editor)
    state = training.init_state(real.editor, optimizer, real.base_params, 0, real.mesh)
    run, params = ahead.abstract(config, tmp_path, jax.devices())

    def seen(tree):
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.sharding.spec), tree)

    assert seen(run.base_params) == seen(real.base_params)
    assert seen(params) == seen(state.params)
    for size, train in ((4, True), (3, False)):
        widest = ahead.batch(run, size, train)
        drawn = training.put(next(iter(real.task.batches("train", size, train))), real.mesh)
        assert jax.tree.structure(widest) == jax.tree.structure(drawn)
        pairs = zip(jax.tree.leaves(widest), jax.tree.leaves(drawn), strict=True)
        assert all(most.dtype == leaf.dtype and all(a >= b for a, b in zip(most.shape, leaf.shape, strict=True)) for most, leaf in pairs)


def test_every_program_is_compiled_and_its_memory_counted(tmp_path):
    config = config_of(**tiny() | FIELDS)
    run, params = ahead.abstract(config, tmp_path, jax.devices())
    programs = ahead.programs(config, run, params)
    assert list(programs) == ["train", "update", "evaluate", "generate"]
    found = ahead.cost(programs["train"])
    learned = sum(leaf.dtype.itemsize * math.prod(leaf.sharding.shard_shape(leaf.shape)) for leaf in jax.tree.leaves(params))
    assert found.held > 4 * learned  # what is learned, its mean gradient and two moments
    assert found.collectives["all-reduce"] > 0


def test_the_programs_lower_for_gpus(tmp_path, capsys):
    config = config_of(**tiny() | FIELDS)
    ahead.lower_for_gpus(config, *ahead.abstract(config, tmp_path, jax.devices()))
    assert capsys.readouterr().out.count("lowers for CUDA") == 4


def test_an_unknown_topology_says_what_to_do():
    with pytest.raises(UserError, match="pip install libtpu"):
        ahead.chips("v0:1x1")
