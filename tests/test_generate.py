"""Decoding: equal to PyTorch `transformers`, greedy and beam, whole batches with padding at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from serac_jax import models
from serac_jax.batch import Tokens
from serac_jax.models import convert
from serac_jax.models.generate import generate
from tests.conftest import MODELS

STEPS = 8
IDS = np.array([[29, 42, 17, 3, 94, 97, 25, 1], [13, 19, 1, 0, 0, 0, 0, 0], [39, 261, 262, 260, 13, 1, 0, 0]])
TOKENS = Tokens(jnp.asarray(IDS, jnp.int32), jnp.asarray(IDS > 0))


def eager(leaves, factor):
    """Parameters whose end-of-sequence token is likelier, so that some answers end early."""
    name = "lm_head/kernel" if "lm_head/kernel" in leaves else "shared/embedding"
    at = (slice(None), 1) if name == "lm_head/kernel" else (1,)
    return convert.unflatten(leaves | {name: leaves[name].at[at].multiply(factor)})


@functools.cache
def pair(name, factor, folder):
    """Our model and theirs, with the same weights."""
    model, params = models.load(str(MODELS / name))
    params = eager(convert.flatten(params), factor)
    models.save(folder, model, params)
    return model, params, transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()


@pytest.mark.parametrize("name", ["t5-tiny", "t5v11-tiny"])
@pytest.mark.parametrize(("beams", "penalty"), [(1, 1.0), (3, 1.0), (4, 0.3)])
@pytest.mark.parametrize("factor", [1.0, 3.0])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_answers_equal_those_of_transformers(tmp_path_factory, name, beams, penalty, factor):
    folder = tmp_path_factory.getbasetemp() / f"{name}-{factor}"
    model, params, theirs = pair(name, factor, folder)
    ours = jax.jit(lambda params, tokens: generate(model, params, tokens, steps=STEPS, beams=beams, length_penalty=penalty))(params, TOKENS)
    options = {"length_penalty": penalty} if beams > 1 else {}
    expected = theirs.generate(
        input_ids=torch.tensor(IDS), attention_mask=torch.tensor(IDS > 0).long(), num_beams=beams, max_new_tokens=STEPS, do_sample=False, **options
    ).numpy()[:, 1:]
    for mine, other in zip(np.asarray(ours), expected, strict=True):
        end = list(mine).index(1) + 1 if 1 in mine else STEPS
        assert mine[:end].tolist() == other[:end].tolist()
        assert not mine[end:].any()


def test_some_answers_end_early_and_some_do_not(tmp_path_factory):
    """Otherwise the comparison above would not see how beams finish."""
    model, params, _ = pair("t5v11-tiny", 3.0, tmp_path_factory.getbasetemp() / "t5v11-tiny-3.0")
    answers = np.asarray(generate(model, params, TOKENS, steps=STEPS, beams=3))
    assert (answers == 1).any()


def test_a_row_does_not_depend_on_the_others():
    model, params = models.load(str(MODELS / "t5-tiny"))
    together = generate(model, params, TOKENS, steps=STEPS)
    alone = [generate(model, params, jax.tree.map(lambda leaf, row=row: leaf[row : row + 1], TOKENS), steps=STEPS)[0] for row in range(3)]
    assert np.array_equal(together, jnp.stack(alone))


def test_the_cache_gives_the_logits_of_teacher_forcing():
    model, params = models.load(str(MODELS / "t5-tiny"))
    labels = jnp.asarray(np.random.default_rng(0).integers(2, 300, (3, STEPS)), jnp.int32)
    expected = model.apply(params, TOKENS, labels)
    cache, last = model.apply(params, TOKENS, STEPS, method="start"), jnp.full(3, model.module.config.start, jnp.int32)
    for at in range(STEPS):
        logits, cache = model.apply(params, last, jnp.int32(at), cache, method="step")
        assert np.abs(logits - expected[:, at]).max() < 1e-5 * np.abs(expected).max()
        last = labels[:, at]
