"""Checkpoints of training states whose numbers are known."""

import jax
import jax.numpy as jnp
import numpy as np

from serac_jax.training.checkpoints import Checkpoints
from serac_jax.training.steps import TrainState


class Data:
    """A position in the data."""

    def __init__(self, at=0):
        self.at = at

    def get_state(self):
        return {"at": self.at, "rng": [1, 2, 3]}

    def set_state(self, state):
        self.at = state["at"]


def state(step):
    """A training state whose numbers depend on its step."""
    rng = np.random.default_rng(step)
    weights = {
        "kernel": jnp.asarray(rng.normal(size=(16, 24)), jnp.float32),
        "scale": jnp.asarray(rng.normal(size=7), jnp.bfloat16),
    }
    moments = {"mean": jax.tree.map(lambda leaf: leaf * 2, weights), "count": jnp.int32(step)}
    return TrainState(jnp.int32(step), weights, moments)


def saved(workdir, *steps, best=None):
    """A run's folder with checkpoints of some steps."""
    found = Checkpoints(workdir)
    for step in steps:
        found.save(state(step), Data(step), {"best_step": best or step, "validated": step})
    found.close()
    return workdir


def restored(workdir):
    """The step and the position in the data that a run goes on from; checks its numbers."""
    data = Data()
    found, loop = Checkpoints(workdir).restore_or_start(state(0), data, "")
    step = int(found.step)
    assert data.at == step == loop["validated"]
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), found, state(step)))
    return step
