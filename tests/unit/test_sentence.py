"""Sentence encoders: pooled and brought to length 1 as their folder declares, as in PyTorch."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

import serac_jax
from serac_jax import models
from serac_jax.core.batch import Tokens
from serac_jax.core.errors import UserError
from serac_jax.models.layers import unit_length
from serac_jax.text.tokens import pad
from tests.conftest import ASSETS, MODELS
from tests.tiers import fast

TEXTS = ["Who wrote Hamlet?", "a", "The long war, which began in May, has not ended yet."]
TYPES = [
    "sentence_transformers.models.Transformer",
    "sentence_transformers.models.Pooling",
    "sentence_transformers.models.Normalize",
]


def encoder(folder, mode, types=TYPES, settings=None):
    """A tiny BERT that declares how it pools."""
    shutil.copytree(MODELS / "bert-tiny-uncased", folder)
    (folder / "1_Pooling").mkdir()
    paths = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": kind}
        for number, (path, kind) in enumerate(zip(paths, types, strict=False))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    modes = {f"pooling_mode_{name}": name == mode for name in ("cls_token", "mean_tokens")}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(settings or modes))
    return str(folder)


def pooled(folder, mode, unit):
    """What PyTorch makes of TEXTS."""
    theirs = transformers.BertModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    read = tokenizer(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = theirs(**read).last_hidden_state
    weight = read["attention_mask"][..., None]
    vectors = states[:, 0] if mode == "cls_token" else (states * weight).sum(1) / weight.sum(1)
    return (torch.nn.functional.normalize(vectors) if unit else vectors).numpy()


def ours(folder, texts=TEXTS):
    model, params = models.load(str(folder), output="sentence")
    return np.asarray(model.embed(params, tokens(model, texts, 32)))


def tokens(model, texts, width):
    ids, mask, *_ = pad(model.tokenizer(texts)["input_ids"], width)
    return Tokens(jnp.asarray(ids), jnp.asarray(mask))


@pytest.mark.parametrize("mode", ["cls_token", "mean_tokens"])
@pytest.mark.parametrize("count", fast([2, 3], [2]))
def test_vectors_equal_those_of_pytorch(tmp_path, mode, count):
    folder = encoder(tmp_path / "m", mode, TYPES[:count])
    expected = pooled(folder, mode, count == 3)
    assert np.abs(ours(folder) - expected).max() < 1e-5 * np.abs(expected).max()
    newer = {"pooling_mode": "cls" if mode == "cls_token" else "mean"}
    again = encoder(tmp_path / "newer", mode, TYPES[:count], newer)
    assert np.array_equal(ours(again), ours(folder))


def test_a_saved_encoder_declares_the_same(tmp_path):
    folder = encoder(tmp_path / "m", "cls_token")
    models.save(tmp_path / "saved", *models.load(folder, output="sentence"))
    assert np.array_equal(ours(tmp_path / "saved"), ours(folder))


def test_a_row_of_padding_has_length_0_and_gradient_0():
    x = jnp.array([[3.0, 4.0], [0.0, 0.0]])
    assert np.allclose(unit_length(x), [[0.6, 0.8], [0, 0]])
    assert np.isfinite(jax.grad(lambda x: unit_length(x).sum())(x)).all()


@pytest.mark.parametrize(
    ("types", "settings", "message"),
    [
        (
            [*TYPES[:2], "sentence_transformers.models.Dense"],
            None,
            "lists Transformer, Pooling, De",
        ),
        (TYPES, {"pooling_mode_max_tokens": True}, "pooled by pooling_mode_max_tokens"),
        (TYPES, {"word_embedding_dimension": 3}, "pooled by nothing"),
    ],
)
def test_another_pooling_is_refused(tmp_path, types, settings, message):
    with pytest.raises(UserError, match=message):
        models.load(encoder(tmp_path / "m", "cls_token", types, settings), output="sentence")


def test_a_model_that_declares_no_pooling_is_refused():
    with pytest.raises(UserError, match="does not say how its sentences are pooled"):
        models.load(str(MODELS / "bert-tiny-uncased"), output="sentence")


def test_an_editor_may_pool_as_its_encoder_declares(tmp_path):
    """Of a saved editor, `pool` is "sentence"; other words are refused."""
    shutil.copytree(ASSETS / "editors" / "zsre", tmp_path / "editor")
    file = tmp_path / "editor" / "editor.json"
    fields = json.loads(file.read_text())
    fields["parts"]["scope"] = encoder(tmp_path / "m", "mean_tokens")
    file.write_text(json.dumps(fields | {"pool": "sentence", "calibration": None}))
    editor = serac_jax.load(tmp_path / "editor", base=lambda question: "unknown")
    assert editor.parts.networks["scope"].model.unit
    editor.edit("Who wrote Hamlet?", "a nun")
    assert editor.ask("Who wrote Hamlet?").text == "a nun"
    file.write_text(json.dumps(fields | {"pool": "max"}))
    with pytest.raises(UserError, match="field 'pool' should be one of cls, pooler, mean"):
        serac_jax.load(tmp_path / "editor")


def test_tokens_of_padding_change_no_vector(tmp_path):
    model, params = models.load(encoder(tmp_path / "m", "mean_tokens"), output="sentence")
    narrow, wide = (np.asarray(model.embed(params, tokens(model, TEXTS, n))) for n in (28, 40))
    assert np.abs(narrow - wide).max() < 1e-6
