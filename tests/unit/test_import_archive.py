"""Archives of the original: imported, they score as the original says; those of other editors or
models are refused."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import T5Config

from serac_jax.cli.import_archive import imported, state_of
from serac_jax.core.errors import UserError
from serac_jax.models import convert
from serac_jax.training import experiment, steps
from tests.conftest import MODELS
from tests.parity import golden
from tests.parity.golden import CASES
from tests.parity.recorded import Reader, scalars
from tests.tiny import config_of

ARCHIVES = CASES.parent / "archives"
MLP = [
    r"encoder/block_1/mlp/wi/kernel",
    r"encoder/block_1/mlp/wo/kernel",
    r"decoder/block_0/mlp/wi/kernel",
    r"decoder/block_0/mlp/wo/kernel",
    r"decoder/block_1/mlp/wi/kernel",
    r"decoder/block_1/mlp/wo/kernel",
]
FIELDS = {
    "base.name": str(MODELS / "t5-tiny"),
    "serac.counterfactual": str(MODELS / "t5-tiny-small"),
    "serac.scope": str(MODELS / "distilbert-tiny-cased"),
    "serac.pool": "cls",
    "inner": tuple(MLP),
    "data.dir": "mini",
}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def built(cache, **fields):
    config = config_of(**FIELDS | fields)
    run = experiment.build(config, cache)
    return config, run, steps.init_params(run.editor, run.base_params, 0, run.mesh)


def bring(file, config, run, template):
    tensors, step = state_of(file)
    return imported(tensors, run, config, template, file), step


@pytest.mark.slow
def test_an_archive_of_mend_scores_as_in_the_original(cache):
    config, run, template = built(cache, editor="mend", **{"mend.rank": 12})
    params, step = bring(ARCHIVES / "qa_gtn.pt", config, run, template)
    assert step == 3
    batch = Reader(run.base.tokenizer).batch(golden.batch(CASES, "batch_qa_v0"), None)
    edited = jax.jit(run.editor.edit)(
        params, run.editor.start(params, run.base_params, batch.edits), batch.edits
    )
    logits = jax.jit(run.base.logits)
    before, inside, outside = (
        logits(weights, queries)
        for weights, queries in (
            (run.base_params, batch.outside),
            (edited, batch.inside),
            (edited, batch.outside),
        )
    )
    expected = json.loads((ARCHIVES / "expected.json").read_text())["qa_gtn"]["info"]
    ours = scalars(batch, inside, before, outside, True)
    for name in ("loss/edit", "loss/loc", "edit/acc", "edit/prob", "retain/edit"):
        assert float(ours[name]) == pytest.approx(expected[name], rel=1e-5, abs=1e-6), name


def written(tmp_path, model, step=7):
    """An archive as the original saves it, of the given tensors."""
    content = {name: torch.tensor(array) for name, array in model.items()} | {
        "model_config": T5Config()
    }
    torch.save(
        {
            "model": content,
            "opt": {"state": {}, "param_groups": []},
            "val_stats": {"loss": 1.0},
            "step": step,
        },
        tmp_path / "archive.pt",
    )
    return tmp_path / "archive.pt"


def weights_of(folder, prefix):
    return {
        prefix + name: array * 1.1
        for name, array in load_file(MODELS / folder / "model.safetensors").items()
        if not re.search("classifier|pooler", name)
    }


def scaled(tree):
    return jax.tree.map(lambda leaf: leaf * jnp.float32(1.1), tree)


def equal(tree, other):
    return all(
        np.allclose(a, b, rtol=1e-6, atol=0)
        for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(other), strict=True)
    )


def test_archives_of_serac_and_enn_fill_every_parameter(cache, tmp_path):
    config, run, template = built(cache)
    state = (
        weights_of("distilbert-tiny-cased", "classifier.")
        | weights_of("t5-tiny-small", "replacement.")
        | {"scale": np.float32(1)}
    )
    state = {
        name.replace("classifier.distilbert.", "classifier."): array
        for name, array in state.items()
    }
    params, step = bring(written(tmp_path, state), config, run, template)
    assert step == 7
    assert equal(params, scaled(template))

    config, run, template = built(cache, editor="enn")
    rates = np.arange(6, dtype=np.float32)
    params, _ = bring(
        written(tmp_path, weights_of("t5-tiny", "model.") | {"edit_lrs": rates}),
        config,
        run,
        template,
    )
    assert equal(params["base"], scaled(template["base"]))
    assert {path: float(rate) for path, rate in convert.flatten(params["rates"]).items()} == dict(
        zip(MLP, rates.tolist(), strict=True)
    )


def test_archives_that_do_not_fit_are_refused(cache, tmp_path):
    config, run, template = built(cache, editor="mend", **{"mend.rank": 11})
    with pytest.raises(
        UserError,
        match=(
            r"has shape \(96, 12\), but the config asks for \(96, 11\)|has shape \(12, 96\), but"
            r" the config asks for \(11, 96\)"
        ),
    ):
        bring(ARCHIVES / "qa_gtn.pt", config, run, template)
    config, run, template = built(cache, editor="enn", inner=tuple(MLP[:2]))
    with pytest.raises(UserError, match=r"has 6 rates of edits, but config.inner names 2 kernels"):
        bring(ARCHIVES / "qa_gtn.pt", config, run, template)
    config, run, template = built(cache)
    with pytest.raises(UserError, match=r"weights are missing"):
        bring(ARCHIVES / "qa_gtn.pt", config, run, template)
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"other.pt is not a training archive of the original"):
        state_of(tmp_path / "other.pt")
