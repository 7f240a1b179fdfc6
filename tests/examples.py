"""Tokens and examples from lists of ids."""

import jax.numpy as jnp

from serac_jax.core.batch import Examples, Tokens


def texts(*rows):
    width = max(map(len, rows))
    ids = jnp.array([[*row, *[0] * (width - len(row))] for row in rows])
    return Tokens(ids, jnp.arange(width)[None] < jnp.array([len(row) for row in rows])[:, None])


def examples(questions, answers):
    nothing = Tokens(
        jnp.zeros((len(questions), 0), jnp.int32), jnp.zeros((len(questions), 0), bool)
    )
    labels = texts(*answers)
    return Examples(
        texts(*questions), nothing, nothing, labels.ids, labels.mask.astype(jnp.float32)
    )


EDITS = examples([[11, 12, 13, 1], [21, 22, 1]], [[7, 8, 1], [9, 1]])
