"""One strict table places every array; what it does not know is an error."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec as P

from serac_jax.core import sharding
from serac_jax.core.errors import UserError
from serac_jax.training import experiment, steps
from tests.tiers import fast
from tests.tiny import config_of, tiny


def test_an_unknown_leaf_is_an_error_that_names_it():
    with pytest.raises(
        ValueError, match=r"no sharding rule matches 'adapter/kernel' of shape \(3, 4\)"
    ):
        sharding.spec("adapter/kernel", (3, 4))


def test_a_leaf_that_does_not_divide_is_an_error_that_names_it():
    with pytest.raises(
        UserError,
        match=(
            r"wi/kernel of shape \(4, 7\) cannot be split over mesh.model=2; choose a divisor of 7"
        ),
    ):
        sharding.checked_spec("wi/kernel", (4, 7), sharding.make_mesh(data=1, model=2))
    with pytest.raises(
        UserError,
        match=(
            r"shared/embedding of shape \(7, 6\) cannot be split over mesh.model=2 × mesh.fsdp=2;"
            r" choose a divisor of 6"
        ),
    ):
        sharding.checked_spec(
            "shared/embedding", (7, 6), sharding.make_mesh(data=1, fsdp=2, model=2)
        )


def test_too_large_a_mesh_is_an_error():
    with pytest.raises(
        UserError,
        match=r"mesh.data=4 × mesh.fsdp=1 × mesh.model=4 needs 16 devices, but there are 8",
    ):
        sharding.make_mesh(data=4, model=4)
    assert sharding.make_mesh(data=-1, fsdp=2, model=2).shape == {"data": 2, "fsdp": 2, "model": 2}


@pytest.mark.parametrize("cross", fast([False, True], [False]))
def test_every_leaf_of_a_run_has_a_place(tmp_path, cross):
    """Parameters, optimizer state and edit memory alike; kernels and their moments lie together."""
    config = config_of(
        **tiny()
        | {
            "mesh.data": 2,
            "mesh.fsdp": 2,
            "mesh.model": 2,
            "serac.cross_attention": cross,
            "train.accumulate": 2,
        }
    )
    run = experiment.build(config, tmp_path)
    optimizer = steps.make_optimizer(config.train, run.editor)
    state = steps.init_state(run.editor, optimizer, run.base_params, 0, run.mesh)
    placed = {
        sharding.path_name(path): leaf.sharding.spec
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }
    kernel = "scope/block_0/attention/q/kernel"
    assert (
        len([spec for name, spec in placed.items() if name.endswith(kernel)]) == 4
    )  # itself, two moments, the accumulated gradient
    assert all(spec == P("fsdp", "model") for name, spec in placed.items() if name.endswith(kernel))
    batch = next(iter(run.task.batches("train", 4, True)))
    edited = jax.eval_shape(run.editor.start, state.params, run.base_params, batch.edits)
    assert all(
        leaf.spec == P()
        for leaf in jax.tree.leaves(sharding.shardings({"table": edited.table}, run.mesh))
    )


def test_a_batch_is_filled_up_to_the_data_axes():
    mesh = sharding.make_mesh(data=2, fsdp=2, model=2)
    placed = steps.shard_batch({"even": jnp.ones((8, 2)), "odd": jnp.ones((6, 2))}, mesh)
    assert all(
        leaf.shape == (8, 2) and leaf.sharding == sharding.batch_sharding(mesh)
        for leaf in placed.values()
    )
    assert placed["odd"].sum(-1).tolist() == [2] * 6 + [0] * 2
