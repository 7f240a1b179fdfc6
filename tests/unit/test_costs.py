"""What `benchmarks.costs` tells of a program is all of it."""

import jax
import pytest

from benchmarks.costs import Operation, lines, operations, shares, traced
from serac_jax import models
from serac_jax.core.batch import Tokens
from tests.tiny import one_layer


def test_the_time_of_a_gradient_is_that_of_its_modules():
    model, params = models.load(one_layer("t5-tiny"))
    ids = jax.numpy.ones((8, 16), jax.numpy.int32)
    program = (
        jax.jit(jax.grad(lambda params: model.apply(params, Tokens(ids, ids > 0), ids).sum()))
        .lower(params)
        .compile()
    )
    known = operations(program.as_text())
    found = shares(traced(lambda: jax.block_until_ready(program(params)), 3), known)
    assert sum(share["all"] for share in found.values()) == pytest.approx(1)
    assert {"T5.read", "T5.answer"} <= found.keys(), found.keys()
    for share in found.values():
        assert share["forward"] + share["backward"] == pytest.approx(share["all"])
        assert 0 <= share["products"] <= share["all"]
    products = [operation.path for operation in known.values() if operation.product]
    assert sum(path.endswith("dot_general") for path in products) > len(products) / 2
    assert next(iter(lines("t5", found))).split() == [
        "t5",
        "all",
        "forward",
        "backward",
        "products",
    ]


@pytest.mark.parametrize(
    ("path", "module", "backward"),
    [
        (
            "jit(train_step)/jvp(Bert)/Bert.embed/Bert.encode/block_4/wi/dot_general",
            "Bert.embed",
            False,
        ),
        ("jit(train_step)/transpose(jvp(T5))/T5.read/encoder/block_0/add_any", "T5.read", True),
        ("jit(train_step)/transpose(jvp())/mul", "losses", True),
        ("jit(train_step)/add", "mean of the gradients", False),
        ("", "without a name", False),
    ],
)
def test_a_path_names_module_and_pass(path, module, backward):
    operation = Operation(path, False)
    assert (operation.module, operation.backward) == (module, backward)
