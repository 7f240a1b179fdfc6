"""MEND's parts: factors of gradients, running moments, small networks, and what its options say
when they do not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from serac_jax import models
from serac_jax.core.errors import UserError
from serac_jax.core.losses import nll
from serac_jax.editors import interventions
from serac_jax.editors.mend import mend_editor as mend
from serac_jax.editors.mend import mend_networks as networks
from serac_jax.models.convert import flatten
from serac_jax.training import experiment
from tests.tiny import config_of, one_layer, tiny

MEND = tiny() | {
    "editor": "mend",
    "mend.rank": 8,
    "train.lr": 1e-3,
    "train.lr_lr": 1e-3,
    "train.accumulate": 1,
}


@pytest.fixture(scope="module")
def edits(tmp_path_factory):
    run = experiment.build(config_of(**MEND), tmp_path_factory.mktemp("cache"))
    edits = next(iter(run.task.batches("train", 3, True))).edits
    return jax.tree.map(
        jnp.asarray,
        edits._replace(weight=edits.weight * np.array([[1.0], [1.0], [0.0]], np.float32)),
    )  # a row of padding


@pytest.mark.parametrize(
    "pattern", [r"(encoder|decoder)/block_0/mlp/(wi|wo)/kernel", r".*attention/[qkvo]/kernel"]
)
def test_factors_make_up_the_gradient(edits, pattern):
    """Σ x⊗δ, over all tokens of a batch, is the gradient of the kernel (Mitchell et al. 2022a,
    section 3)."""
    model, params = models.load(one_layer("t5-tiny"))
    kernels = interventions.select(params, (pattern,))

    def loss(logits):
        return nll(logits, edits.labels, edits.weight)

    found = jax.jit(lambda params: interventions.factors(model, params, kernels, edits, loss))(
        params
    )
    gradient = flatten(jax.jit(jax.grad(lambda params: loss(model.logits(params, edits))))(params))
    assert found.keys() == kernels.keys()
    for path, (x, delta) in found.items():
        assert len(x) == len(delta)
        assert np.abs(x.T @ delta - gradient[path]).max() <= 1e-5 * np.abs(gradient[path]).max()
        assert not delta.reshape(3, -1)[2].any()  # padding has no gradient


def welford(rows):
    """The moments of rows, one after the other, as the original has them."""
    count, mean, square = 0, np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for row in rows.astype(np.float64):
        count += 1
        old = mean
        mean = old + (row - old) / count
        square = square + (row - old) * (row - mean)
    return count, mean, square


def test_moments_are_those_of_one_row_after_the_other():
    rng = np.random.default_rng(0)
    batches = [rng.normal(3.0, 2.0, (count, 5)).astype(np.float32) for count in (4, 0, 1, 7)]
    for rows in batches:
        rows[:, 2], rows[:, 3] = 0.1, 0.0  # coordinates that never change
    moments, seen = networks.blank(5), np.zeros((0, 5), np.float32)
    for rows in batches:
        padded = np.concatenate([rows, rng.normal(0, 100, (3, 5)).astype(np.float32)])
        order = rng.permutation(len(padded))
        moments = networks.renewed(
            moments, jnp.asarray(padded[order]), jnp.asarray(order < len(rows), jnp.float32)
        )
        seen = np.concatenate([seen, rows])
        for ours, expected in zip(
            (moments["count"], moments["mean"], moments["square"]), welford(seen), strict=True
        ):
            np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
    assert (moments["square"][2:4] == 0).all()
    normal = networks.normalised(moments, jnp.asarray(seen))
    np.testing.assert_allclose(normal.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(normal.std(0, ddof=1), [1, 1, 0, 0, 1], atol=1e-5)


def test_a_network_starts_as_the_identity_and_learns_from_there():
    network = networks.Network(hidden=1, rank=3, identity=True, weights=2)
    x, weight = (
        jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32),
        jnp.array([0, 0, 1, 1, 1, 0]),
    )
    params = network.init(jax.random.key(0), x, weight)
    assert np.array_equal(network.apply(params, x, weight), x)
    gradient = flatten(
        jax.grad(lambda params: jnp.square(network.apply(params, x, weight)).sum())(params)[
            "params"
        ]
    )
    assert all(
        np.abs(gradient[f"layer_{number}/{leaf}"]).max() > 0
        for number in (0, 1)
        for leaf in ("up", "bias", "shift")
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"one_sided": True},
            "mend.combine reads x and δ together and cannot be used with mend.one_sided",
        ),
        ({"combine": True, "delta_only": True}, "cannot be used with mend.delta_only"),
        (
            {"mlp_class": "LatentIDMLP"},
            "mend.mlp_class='LatentIDMLP' cannot be built, here as in the original",
        ),
        ({"act": "learned"}, "mend.act='learned' is not known"),
        ({"init": "zero"}, "mend.init='zero' is not known; use id or xavier"),
    ],
)
def test_options_that_do_not_fit_are_refused(fields, message):
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        mend.check(mend.Options(**fields))


@pytest.mark.parametrize(
    ("fields", "read"),
    [
        ({"combine": True}, {"both": (0, 10)}),
        ({}, {"x": (0, 6), "delta": (6, 10)}),
        ({"one_sided": True}, {"delta": (6, 10)}),
        ({"x_only": True}, {"x": (0, 6)}),
        ({"delta_only": True}, {"delta": (6, 10)}),
    ],
)
def test_options_choose_what_networks_read(fields, read):
    found = mend.sides(mend.Options(**{"combine": False} | fields), 6, 4)
    assert {side: (part.start, part.stop) for side, part in found.items()} == read
