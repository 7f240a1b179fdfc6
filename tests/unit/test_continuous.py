"""Rows that join and leave a decoding say what they would say alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from serac_jax import models
from serac_jax.models.continuous import Slots, is_plain
from serac_jax.models.generate import generate
from serac_jax.text.tokens import pad
from tests import causal_models
from tests.tiers import fast
from tests.tiny import one_layer

STEPS = 6
# (the step before which they join, their prompts)
ARRIVALS = [
    (0, [[29, 42, 17, 3]]),
    (2, [[13, 19], [39, 261, 262, 260, 13, 94, 97]]),
    (3, [[5, 7, 9, 11, 13]]),
    (9, [[25, 26]]),
]


FEW = [(0, [[29, 42, 17, 3]]), (2, [[13, 19]])]


def prompts(rows):
    size = 1 << (len(rows) - 1).bit_length()
    return jax.tree.map(jnp.asarray, pad([*rows, *rows[:1] * (size - len(rows))], 8))


def decoded(slots, ends, arrivals):
    """What every prompt is answered, joining at its time and leaving at its end."""
    said, step, arrivals = {}, 0, list(arrivals)

    def tell(tokens):
        for row, token in tokens.items():
            said.setdefault(row, []).append(token)
            if token in ends or len(said[row]) == STEPS:
                slots.release(row)

    while arrivals or slots.active:
        if arrivals and arrivals[0][0] <= step:
            rows = arrivals.pop(0)[1]
            tell(slots.admit([tuple(row) for row in rows], prompts(rows), (), STEPS))
        tell(slots.step())
        step += 1
    return said


CASES = [("t5-tiny", FEW), ("t5-tiny", ARRIVALS), ("llama", ARRIVALS)]


@pytest.mark.parametrize("case", fast(CASES, CASES[:1]), ids=["few", "encoder-decoder", "causal"])
def test_every_row_says_what_generate_says_whoever_is_beside_it(case):
    kind, arrivals = case
    folder = causal_models.one_layer(kind) if kind == "llama" else one_layer(kind)
    model, params = models.load(str(folder))
    assert is_plain(model)
    slots = Slots(model, params, {}, 8)
    said = decoded(slots, model.ends, arrivals)
    assert (slots.rows, slots.cache) == ([], None)
    for _, rows in arrivals:
        for row in rows:
            alone = generate(model, params, prompts([row]), steps=STEPS)
            (ids,) = np.asarray(alone).tolist()
            wanted = ids[: next((at + 1 for at, i in enumerate(ids) if i in model.ends), STEPS)]
            assert said[tuple(row)] == wanted
