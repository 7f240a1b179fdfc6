"""Splicing: the row is prefix + tokens, whatever padding is around them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from serac_jax.core.batch import Examples, Tokens, splice
from serac_jax.text.tokens import pad


@pytest.mark.parametrize("lead", [0, 1])
def test_splice_is_concatenation(lead):
    rng = np.random.default_rng(0)
    prefixes = [rng.integers(1, 50, rng.integers(0, 7)).tolist() for _ in range(200)]
    rows = [rng.integers(1, 50, rng.integers(lead, 9)).tolist() for _ in range(200)]
    for widths in ((6, 8), (9, 8), (6, 11)):
        spliced = jax.jit(splice, static_argnums=2)(
            pad(prefixes, widths[0]), pad(rows, widths[1]), lead
        )
        expected = pad(
            [prefix + row[lead:] for prefix, row in zip(prefixes, rows, strict=True)],
            sum(widths) - lead,
        )
        assert np.array_equal(spliced.ids, expected.ids)
        assert np.array_equal(spliced.mask, expected.mask)


def test_rows_are_those_with_a_label():
    tokens = Tokens(jnp.zeros((3, 1), jnp.int32), jnp.ones((3, 1), bool))
    examples = Examples(
        tokens,
        tokens,
        tokens,
        jnp.zeros((3, 2), jnp.int32),
        jnp.array([[1.0, 1.0], [0.0, 0.0], [1.0, 0.0]]),
    )
    assert examples.rows.tolist() == [1, 0, 1]
