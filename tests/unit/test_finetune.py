"""Fine-tuning: when it stops, what it changes, and what a locality loss is good for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from serac_jax import models
from serac_jax.core.errors import UserError
from serac_jax.core.losses import locality_loss
from serac_jax.core.metrics import whole_answer_right
from serac_jax.editors import interventions
from serac_jax.editors.finetune.finetune_editor import Options, added, draw, finetune, fit
from serac_jax.models.convert import flatten
from serac_jax.training import sections
from tests.conftest import MODELS
from tests.examples import EDITS, examples
from tests.tiny import config_of, tiny

PATTERNS = (r"decoder/block_\d/mlp/w[io]/kernel",)


@pytest.fixture(scope="module")
def base():
    return models.load(str(MODELS / "t5-tiny"))


def edit(base, nearby=None, **options):
    model, params = base
    return jax.jit(finetune(model, PATTERNS, Options(**{"lr": 1e-2} | options), nearby).edit)(
        {}, params, EDITS
    )


def test_it_stops_at_the_first_weights_that_answer_every_edit(base):
    """More steps allowed change nothing; one step less is not enough."""
    model, params = base
    options = Options(lr=1e-2)
    nothing = draw(interventions.select(params, PATTERNS), options)

    @jax.jit
    def after(steps):
        edited = added(params, fit(model, params, nothing, EDITS, options, steps, None))
        return (
            edited,
            whole_answer_right(model.logits(edited, EDITS), EDITS.labels, EDITS.weight).all(),
        )

    enough = next(steps for steps in range(2, 40) if after(steps)[1])
    assert not after(enough - 1)[1]
    first, later = (flatten(after(steps)[0]) for steps in (enough, 100))
    assert all(np.array_equal(first[path], later[path]) for path in first)


def test_the_weights_of_the_last_loss_are_kept(base):
    """One evaluation of the loss: before any optimizer step."""
    assert all(
        np.array_equal(old, new)
        for old, new in zip(
            jax.tree.leaves(base[1]), jax.tree.leaves(edit(base, steps=1)), strict=True
        )
    )


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam", "sgd"])
def test_only_inner_kernels_change_and_by_no_more_than_their_rank(base, optimizer):
    before, after = flatten(base[1]), flatten(edit(base, optimizer=optimizer, rank=2, steps=5))
    chosen = interventions.select(base[1], PATTERNS)
    assert len(chosen) == 4
    for path, leaf in before.items():
        change = np.asarray(after[path] - leaf, np.float64)
        assert (np.abs(change).max() > 0) == (path in chosen)
        if path in chosen:
            assert np.linalg.svd(change, compute_uv=False)[2] < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("batches", [1, 3])
def test_a_locality_loss_keeps_other_answers(base, batches):
    model, params = base
    asked = examples([[31, 32, 33, 1], [41, 42, 1]], [[4, 1], [5, 6, 1]])
    nearby = jax.tree.map(lambda leaf: jnp.stack([leaf] * batches), asked)
    free, held = (
        edit(base, other, optimizer="sgd", lr=0.5, steps=8, cedit=0.1) for other in (None, nearby)
    )
    moved = [
        float(locality_loss(model.logits(params, asked), model.logits(edited, asked), asked))
        for edited in (free, held)
    ]
    assert moved[1] < moved[0]


def test_an_unknown_optimizer_is_named():
    config = config_of(**tiny() | {"editor": "finetune", "finetune.optimizer": "lion"})
    expected = r"finetune\.optimizer='lion': expected one of 'rmsprop', 'adam', 'sgd'"
    with pytest.raises(UserError, match=expected):
        sections.check(config)
