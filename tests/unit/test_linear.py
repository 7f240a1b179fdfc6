"""The editing seam: captured inputs times output gradients are the kernel's gradient, for every
kernel of every network."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from serac_jax import models
from serac_jax.core.batch import Tokens
from serac_jax.core.errors import UserError
from serac_jax.editors.interventions import Correction, LowRank, Tap
from serac_jax.models import convert, linear, pretrained
from serac_jax.models.generate import generate
from tests.conftest import MODELS
from tests.tiers import fast

IDS = jnp.array([[5, 6, 7, 8, 1], [8, 9, 1, 0, 0]])
TOKENS = Tokens(IDS, IDS > 0)
LABELS = jnp.array([[3, 4, 1], [5, 1, 0]])


OUTPUTS = {
    "t5-tiny": "",
    "t5v11-tiny": "",
    "bert-tiny-cased": "head",
    "distilbert-tiny-cased": "head",
}


@pytest.mark.parametrize("name", fast(OUTPUTS, ["distilbert-tiny-cased"]))
def test_inputs_times_output_gradients_are_the_kernel_gradient(name):
    output = OUTPUTS[name]
    model, params = models.load(str(MODELS / name), output=output)
    kernels = [path for path in convert.flatten(params) if path.endswith("/kernel")]

    def loss(params, taps):
        logits, state = model.module.apply(
            {"params": params, "interventions": taps}, TOKENS, LABELS, mutable=["inputs"]
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
    nested = convert.unflatten({f"{layer}/change": Tap(tap) for layer, tap in taps.items()})
    gradient, delta = jax.grad(lambda *args: loss(*args)[0], argnums=(0, 1))(params, nested)
    gradient, delta = convert.flatten(gradient), convert.flatten(delta)
    assert len(kernels) > 10
    for path in kernels:
        layer = path.removesuffix("/kernel")
        product = jnp.einsum(
            "nlx,nly->xy",
            *(
                value.reshape(-1, 1, value.shape[-1])
                for value in (inputs[layer], delta[f"{layer}/change"].value)
            ),
        )
        assert np.abs(product - gradient[path]).max() <= 1e-5 * np.abs(gradient[path]).max(), path


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        ("t5-tiny", ("encoder_layers", "decoder_layers")),
        ("bert-tiny-cased", ("layers",)),
        ("blenderbot_small-tiny", ("encoder", "decoder")),
    ],
)
def test_layers_that_differ_in_their_weights_alone_are_traced_once(name, depth, monkeypatch):
    multiplied = []
    monkeypatch.setattr(linear, "product", lambda x, y: multiplied.append(y.shape) or x @ y)
    outline = models.outline(name, MODELS / name, output=OUTPUTS.get(name, "")).module

    def deeper(value):
        return value + 3 if isinstance(value, int) else replace(value, layers=value.layers + 3)

    more = {one: deeper(getattr(outline.config, one)) for one in depth}
    counts = []
    for config in (outline.config, replace(outline.config, **more)):
        jax.clear_caches()
        pretrained.shapes.cache_clear()
        multiplied.clear()
        models.abstract(outline.clone(config=config))
        counts.append(len(multiplied))
    assert counts[0] == counts[1] > 5


def test_a_gradient_transposes_nothing_as_large_as_an_input():
    """On a CPU a transposed copy takes as long as the product that it is for."""

    def loss(kernel, table, x):
        hidden = linear.Linear(48).apply({"params": {"kernel": kernel}}, x)
        logits = linear.Embed(96, 48).apply(
            {"params": {"embedding": table}}, jnp.tanh(hidden), method="attend"
        )
        return jnp.square(logits).sum()

    def shapes(*size):
        return jax.ShapeDtypeStruct(size, jnp.float32)

    given = shapes(32, 48), shapes(96, 48), shapes(6, 200, 32)
    program = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*given).compile().as_text()
    moved = re.findall(r"= f32\[([\d,]+)\]\S* (?:copy|transpose)\(", program)
    # As large as the table at most, which is held once however long the texts are.
    assert all(np.prod([int(size) for size in shape.split(",")]) <= 96 * 48 for shape in moved)


@pytest.mark.parametrize("shape", [(7,), (2, 5), (2, 3, 4)])
def test_a_product_of_narrow_numbers_is_summed_in_float32(shape):
    """Of bfloat16 numbers, to half of the last of their 8 bits; and so are both gradients."""
    rng = np.random.default_rng(0)
    x, delta = (jnp.asarray(rng.normal(size=(*shape, width)), jnp.bfloat16) for width in (300, 200))
    kernel = jnp.asarray(rng.normal(size=(300, 200)), jnp.bfloat16)

    def pulled(x, kernel, delta):
        y, pull = jax.vjp(linear.product, x, kernel)
        return y, *pull(delta)

    found = pulled(x, kernel, delta)
    wanted = pulled(*(value.astype(jnp.float32) for value in (x, kernel, delta)))
    for one, other in zip(found, wanted, strict=True):
        assert one.dtype == jnp.bfloat16
        assert one.shape == other.shape
        one, other = np.asarray(one, np.float32), np.asarray(other)
        assert (np.abs(one - other) <= 2**-8 * np.abs(other) + 1e-5).all()


def test_a_product_of_narrow_numbers_has_second_derivatives():
    """ENN's gradient goes through a step of its own."""
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 5, 32)), rng.normal(size=(32, 24))

    def slope(dtype):
        def inner(kernel):
            y = linear.product(jnp.asarray(x, dtype), kernel)
            return jnp.sin(y.astype(jnp.float32) / 6).sum()

        def outer(kernel):
            return inner(kernel - jnp.asarray(0.1, dtype) * jax.grad(inner)(kernel))

        return np.asarray(jax.grad(outer)(jnp.asarray(kernel, dtype)), np.float32)

    found, wanted = slope(jnp.bfloat16), slope(jnp.float32)
    assert np.abs(found - wanted).max() < 0.03 * np.abs(wanted).max()


WO, Q = "decoder/block_0/mlp/wo", "decoder/block_1/self_attention/q"  # in the decoder of t5-tiny


def interventions(scale):
    """One of each kind, of random numbers times `scale`; 32 is the width of t5-tiny."""
    rng = np.random.default_rng(0)

    def draw(*shape):
        return jnp.asarray(scale * rng.normal(size=shape), jnp.float32)

    return {
        WO: LowRank(draw(64, 3), draw(3, 32)),
        Q: Correction(draw(32), jnp.float32(1e9), draw(32)),
        "encoder/block_0/mlp/wi": Correction(draw(32), jnp.float32(1e9), draw(64)),
    }


def test_interventions_of_zeros_change_nothing():
    model, params = models.load(str(MODELS / "t5-tiny"))
    taps = {WO: Tap(jnp.zeros((2, 3, 32)))}
    expected = model.apply(params, TOKENS, LABELS)
    for changes in (taps, interventions(0.0)):
        assert np.array_equal(model.apply(params, TOKENS, LABELS, interventions=changes), expected)
    far = {Q: Correction(jnp.full(32, 1e6), jnp.float32(1.0), jnp.ones(32))}
    assert np.array_equal(model.apply(params, TOKENS, LABELS, interventions=far), expected)


def test_a_low_rank_adapter_equals_its_merged_weight():
    model, params = models.load(str(MODELS / "t5-tiny"))
    adapter = interventions(0.1)[WO]
    kernels = convert.flatten(params)
    merged = convert.unflatten(
        kernels | {f"{WO}/kernel": kernels[f"{WO}/kernel"] + adapter.down @ adapter.up}
    )
    expected = model.apply(merged, TOKENS, LABELS)
    ours = model.apply(params, TOKENS, LABELS, interventions={WO: adapter})
    assert np.abs(ours - expected).max() < 1e-5 * np.abs(expected).max()
    assert np.abs(ours - model.apply(params, TOKENS, LABELS)).max() > 1e-3 * np.abs(expected).max()
    wanted = generate(model, merged, TOKENS, steps=4)
    assert np.array_equal(
        generate(model, params, TOKENS, steps=4, interventions={WO: adapter}), wanted
    )


def test_the_forward_pass_and_decoding_intervene_alike():
    model, params = models.load(str(MODELS / "t5-tiny"))
    changes = interventions(0.3)
    expected = model.apply(params, TOKENS, LABELS, interventions=changes)
    assert np.abs(expected - model.apply(params, TOKENS, LABELS)).max() > 0.01
    cache, logits, _ = model.prefill(params, TOKENS, 3, changes)
    for at in range(3):
        assert np.abs(logits - expected[:, at]).max() < 1e-5 * np.abs(expected).max()
        if at < 2:
            cache, logits = model.decode(params, cache, LABELS[:, at], changes)


def test_an_intervention_in_a_layer_that_is_not_there_is_refused():
    model, params = models.load(str(MODELS / "t5-tiny"))
    with pytest.raises(UserError, match=r"'decoder/block_9/mlp/wo' is not a layer"):
        model.prefill(params, TOKENS, 1, {"decoder/block_9/mlp/wo": interventions(0.1)[WO]})
