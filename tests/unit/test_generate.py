"""Decoding: equal to PyTorch `transformers`, greedy and beam, whole batches with padding at
once."""

import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from serac_jax import models
from serac_jax.core.batch import Tokens, packed
from serac_jax.models import convert
from serac_jax.models.decoding import Decoding
from serac_jax.models.generate import generate
from tests.conftest import MODELS
from tests.tiers import fast

STEPS = 8
IDS = np.array(
    [[29, 42, 17, 3, 94, 97, 25, 1], [13, 19, 1, 0, 0, 0, 0, 0], [39, 261, 262, 260, 13, 1, 0, 0]]
)
TOKENS = Tokens(jnp.asarray(IDS, jnp.int32), jnp.asarray(IDS > 0))


def eager(leaves, factor):
    """Parameters whose end-of-sequence token is likelier, so that some answers end early."""
    if "output_bias" in leaves:
        return convert.unflatten(
            leaves | {"output_bias": leaves["output_bias"].at[0, 2].add(factor / 4)}
        )
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


def asked_of_transformers(options, eos):
    """The same options by their names in `transformers`."""
    beam = (
        {"num_beams": options.beams, "length_penalty": options.length_penalty}
        if options.beams > 1
        else {"num_beams": 1}
    )
    bounds = {
        "min_length": options.min_length,
        "no_repeat_ngram_size": options.no_repeat,
        "forced_eos_token_id": eos if options.forced_end else None,
    }
    return transformers.GenerationConfig(
        **beam, **bounds, max_new_tokens=STEPS, do_sample=False, eos_token_id=eos, pad_token_id=0
    )


PLAIN = [Decoding(), Decoding(3), Decoding(4, 0.3)]
AS_PUBLISHED = Decoding(4, 0.65, min_length=6, no_repeat=2, forced_end=True)
BOUNDED = [Decoding(forced_end=True), Decoding(min_length=6, no_repeat=1), AS_PUBLISHED]


@pytest.mark.parametrize(
    "case",
    fast(
        [
            *((name, options) for name in ("t5-tiny", "t5v11-tiny") for options in PLAIN),
            *(("blenderbot_small-tiny", options) for options in PLAIN[1:] + BOUNDED),
        ],
        [
            ("t5-tiny", PLAIN[0]),
            ("t5v11-tiny", PLAIN[2]),
            ("blenderbot_small-tiny", PLAIN[1]),
            ("blenderbot_small-tiny", AS_PUBLISHED),
        ],
    ),
)
@pytest.mark.parametrize("factor", fast([1.0, 3.0], [3.0]))
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_answers_equal_those_of_transformers(tmp_path_factory, case, factor):
    name, options = case
    folder = tmp_path_factory.getbasetemp() / f"{name}-{factor}"
    model, params, theirs = pair(name, factor, folder)
    ours = jax.jit(
        lambda params, tokens: generate(model, params, tokens, steps=STEPS, options=options)
    )(params, TOKENS)
    eos = model.module.config.eos
    asked = asked_of_transformers(options, eos)
    asked.decoder_start_token_id = model.module.config.start
    theirs.generation_config = (
        asked  # else what the folder asks would stand in for options that are off
    )
    expected = theirs.generate(
        input_ids=torch.tensor(IDS),
        attention_mask=torch.tensor(IDS > 0).long(),
        generation_config=asked,
    ).numpy()[:, 1:]
    for mine, other in zip(np.asarray(ours), expected, strict=True):
        end = list(mine).index(eos) + 1 if eos in mine else STEPS
        assert mine[:end].tolist() == other[:end].tolist()
        assert not mine[end:].any()


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        ({}, Decoding()),
        (
            {"forced_eos_token_id": 2, "max_length": 20, "top_k": 50, "do_sample": False},
            Decoding(forced_end=True),
        ),
        # as the file of facebook/blenderbot_small-90M
        (
            {
                "length_penalty": 0.65,
                "max_length": 128,
                "min_length": 20,
                "no_repeat_ngram_size": 3,
                "num_beams": 10,
                "forced_eos_token_id": 2,
            },
            Decoding(10, 0.65, 20, 3, True),
        ),
    ],
)
@pytest.mark.parametrize("file", ["generation_config.json", "config.json"])
def test_a_model_is_decoded_as_its_folder_asks(tmp_path, asked, options, file):
    folder = shutil.copytree(MODELS / "blenderbot_small-tiny", tmp_path / "blenderbot")
    (folder / "generation_config.json").unlink()
    config = json.loads((folder / "config.json").read_text())
    config.pop("forced_eos_token_id")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / file).write_text(
        json.dumps((config if file == "config.json" else {"eos_token_id": 2}) | asked)
    )
    model, _ = models.load(str(folder))
    assert model.decoding == options


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"do_sample": True},
            (
                r"generation_config.json sets do_sample=True, which decoding does not implement; it"
                r" reads num_beams"
            ),
        ),
        ({"bad_words_ids": [[3]]}, r"sets bad_words_ids=\[\[3\]\]"),
        (
            {"forced_eos_token_id": 7},
            r"sets forced_eos_token_id=7, but config.json says that answers end with 2",
        ),
    ],
)
def test_what_decoding_does_not_implement_is_refused(tmp_path, asked, message):
    folder = shutil.copytree(MODELS / "blenderbot_small-tiny", tmp_path / "blenderbot")
    (folder / "generation_config.json").write_text(json.dumps(asked))
    with pytest.raises(models.WeightError, match=message):
        models.load(str(folder))


def test_some_answers_end_early_and_some_do_not(tmp_path_factory):
    """Otherwise the comparison above would not see how beams finish."""
    model, params, _ = pair("t5v11-tiny", 3.0, tmp_path_factory.getbasetemp() / "t5v11-tiny-3.0")
    answers = np.asarray(generate(model, params, TOKENS, steps=STEPS, options=Decoding(3)))
    assert (answers == 1).any()


def test_a_row_does_not_depend_on_the_others():
    model, params = models.load(str(MODELS / "t5-tiny"))
    together = generate(model, params, TOKENS, steps=STEPS)
    alone = [
        generate(
            model,
            params,
            jax.tree.map(lambda leaf, row=row: leaf[row : row + 1], TOKENS),
            steps=STEPS,
        )[0]
        for row in range(3)
    ]
    assert np.array_equal(together, jnp.stack(alone))


@pytest.mark.parametrize("name", ["t5-tiny", "blenderbot_small-tiny"])
def test_the_cache_gives_the_logits_of_teacher_forcing(name):
    model, params = models.load(str(MODELS / name))
    labels = jnp.asarray(np.random.default_rng(0).integers(2, 300, (3, STEPS)), jnp.int32)
    expected = model.apply(params, TOKENS, labels)
    cache, last = model.start(params, TOKENS, STEPS)
    for at in range(STEPS):
        cache, logits = model.decode(params, cache, last)
        assert np.abs(logits - expected[:, at]).max() < 1e-5 * np.abs(expected).max()
        last = labels[:, at]


@pytest.mark.parametrize("name", ["t5-tiny", "blenderbot_small-tiny"])
def test_logits_of_chosen_positions_are_those_of_all(name):
    """The first of each row, as many as there are labels; a number past the last position, which
    stands for none, disturbs no other."""
    model, params = models.load(str(MODELS / name))
    labels = jnp.asarray(np.random.default_rng(0).integers(2, 300, (3, STEPS)), jnp.int32)
    every, at = (
        model.apply(params, TOKENS, labels),
        jnp.array([0, 1, STEPS, 2 * STEPS, 2 * STEPS + 1, 3 * STEPS]),
    )
    chosen = model.apply(params, TOKENS, labels, at=at)
    assert chosen.shape == (6, 1, every.shape[-1])
    assert (
        np.abs(chosen[:5, 0] - every.reshape(3 * STEPS, -1)[at[:5]]).max()
        < 1e-5 * np.abs(every).max()
    )


@pytest.mark.parametrize(
    "name",
    fast(
        [
            "t5-tiny",
            "t5v11-tiny",
            "blenderbot_small-tiny",
            "bert-tiny-uncased",
            "distilbert-tiny-cased",
        ],
        ["t5-tiny"],
    ),
)
def test_padding_that_is_not_computed_is_not_missed(name):
    """The same states of real tokens, answers, classes and vectors, where only real tokens are
    computed; with room for more of them, too."""
    labels = jnp.asarray(np.random.default_rng(0).integers(2, 300, (6, STEPS)), jnp.int32)
    for output in ("cls", "mean", "head") if "bert-" in name else ("",):
        model, params = models.load(
            str(MODELS / name), output=output, fresh=("head", "pre_head", "pooler")
        )
        for spare in (0, 4):
            tokens = packed(TOKENS, float(TOKENS.mask.sum() + spare) / TOKENS.mask.size)
            assert TOKENS.mask.sum() + spare <= len(tokens.real) <= TOKENS.mask.size
            whole, part = (model.encode(params, read)[TOKENS.mask] for read in (TOKENS, tokens))
            assert np.abs(whole - part).max() < 1e-5 * np.abs(whole).max()
            whole, part = (model.apply(params, read, labels) for read in (TOKENS, tokens))
            assert np.abs(whole - part).max() < 1e-5 * np.abs(whole).max()
