"""The editing seam: captured inputs times output gradients are the kernel's gradient, for every
kernel of every network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from serac_jax import models
from serac_jax.core.batch import Tokens
from serac_jax.models import convert
from tests.conftest import MODELS

IDS = jnp.array([[5, 6, 7, 8, 1], [8, 9, 1, 0, 0]])
TOKENS = Tokens(IDS, IDS > 0)
LABELS = jnp.array([[3, 4, 1], [5, 1, 0]])


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("t5-tiny", ""),
        ("t5v11-tiny", ""),
        ("bert-tiny-cased", "head"),
        ("distilbert-tiny-cased", "head"),
    ],
)
def test_inputs_times_output_gradients_are_the_kernel_gradient(name, output):
    model, params = models.load(str(MODELS / name), output=output)
    kernels = [path for path in convert.flatten(params) if path.endswith("/kernel")]

    def loss(params, taps):
        logits, state = model.module.apply(
            {"params": params, "taps": taps}, TOKENS, LABELS, mutable=["inputs"]
        )
        return jnp.sin(logits).sum(), state["inputs"]

    _, inputs = loss(params, {})
    inputs = {path.removesuffix("/x"): value[0] for path, value in convert.flatten(inputs).items()}
    taps = {
        path.removesuffix("/kernel"): jnp.zeros(
            (
                *inputs[path.removesuffix("/kernel")].shape[:-1],
                convert.flatten(params)[path].shape[1],
            )
        )
        for path in kernels
    }
    nested = convert.unflatten({f"{layer}/y": tap for layer, tap in taps.items()})
    gradient, delta = jax.grad(lambda *args: loss(*args)[0], argnums=(0, 1))(params, nested)
    gradient, delta = convert.flatten(gradient), convert.flatten(delta)
    assert len(kernels) > 10
    for path in kernels:
        layer = path.removesuffix("/kernel")
        product = jnp.einsum(
            "nlx,nly->xy",
            *(
                value.reshape(-1, 1, value.shape[-1])
                for value in (inputs[layer], delta[f"{layer}/y"])
            ),
        )
        assert np.abs(product - gradient[path]).max() <= 1e-5 * np.abs(gradient[path]).max(), path


def test_taps_that_are_zero_change_nothing():
    model, params = models.load(str(MODELS / "t5-tiny"))
    taps = {"decoder": {"block_0": {"mlp": {"wo": {"y": jnp.zeros((2, 3, 32))}}}}}
    tapped = model.module.apply({"params": params, "taps": taps}, TOKENS, LABELS)
    assert np.array_equal(tapped, model.apply(params, TOKENS, LABELS))
