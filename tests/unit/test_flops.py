"""A training step of SERAC computes what its loss needs, at real size, and little more; nothing is
compiled or run."""

import jax
import numpy as np
import pytest

from benchmarks import real_size
from benchmarks.train_step import case, ours
from serac_jax.training import steps


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zsre_rep", "fnli_rep", "sent_rep"])
def test_flops_are_those_counted_by_hand(name, monkeypatch):
    """By XLA, of the program before it is optimised, which no optimisation makes larger;
    element-wise operations are in its count only."""
    monkeypatch.setattr(
        real_size, "leaf", lambda shape, scale, rng: jax.ShapeDtypeStruct(shape, np.float32)
    )
    found = case(name)
    mine = ours(found)
    params = mine.editor.init(jax.random.key(0), {})
    lowered = jax.jit(jax.value_and_grad(steps.loss_of(mine.editor), has_aux=True)).lower(
        params, {}, found.batch, None
    )
    counted = dict(lowered.cost_analysis() or {})["flops"]
    assert 0.97 < counted / mine.needed < 1.06
