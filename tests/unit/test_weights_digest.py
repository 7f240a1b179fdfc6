"""Editors know the weights that they were made with, and tell when they get others."""

import json
import shutil
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

import serac_jax
from serac_jax import models
from serac_jax.cli.main import main
from serac_jax.core.errors import UserError
from serac_jax.models import weights_digest
from serac_jax.serving.loading import OtherWeights
from tests.conftest import ASSETS, MODELS


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_one_value_that_differs_gives_another_digest(data):
    rows, columns = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 60))
    array = np.random.default_rng(0).normal(size=(rows, columns)).astype(np.float32)
    before = weights_digest.of_tensor(array)
    assert weights_digest.of_tensor(array.T.copy().T) == before
    assert weights_digest.of_tensor(array.copy()) == before
    at = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    array[at] = np.nextafter(array[at], np.float32(9))
    assert weights_digest.of_tensor(array) != before


def test_values_that_change_places_give_another_digest():
    """As the rows of queries and keys do in GGUF files."""
    array = np.random.default_rng(0).normal(size=(64, 300)).astype(np.float32)
    swapped = array.reshape(2, 2, 16, 300).swapaxes(1, 2).reshape(64, 300)
    assert weights_digest.of_tensor(swapped) != weights_digest.of_tensor(array)
    assert weights_digest.of_tensor(array.reshape(300, 64)) != weights_digest.of_tensor(array)


def test_a_digest_is_of_weights_and_vocabulary_and_not_of_a_file(tmp_path):
    model, params = models.load(str(MODELS / "bert-tiny-cased"), output="mean")
    assert models.digest_of(model, params) == model.digest
    models.save(tmp_path / "saved", model, params)
    assert models.load(str(tmp_path / "saved"), output="mean")[0].digest == model.digest
    file = tmp_path / "saved" / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    vocab = tokenizer["model"]["vocab"]
    one, two = list(vocab)[-2:]
    vocab[one], vocab[two] = vocab[two], vocab[one]
    file.write_text(json.dumps(tokenizer))
    assert models.load(str(tmp_path / "saved"), output="mean")[0].digest != model.digest


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved editor: its base model is named, the others are copied."""
    folder = tmp_path_factory.mktemp("editor") / "saved"
    serac_jax.load("mini").save(folder, base="reference")
    return folder


def spoilt(saved, folder):
    """A copy of it in which one value of the router changed a little."""
    shutil.copytree(saved, folder)
    file = folder / "scope" / "model.safetensors"
    tensors = load_file(file)
    tensor = tensors[max(tensors, key=lambda key: tensors[key].size)]
    tensor[3, 1] += 0.001
    save_file(tensors, file, metadata={"format": "pt"})
    return folder


def test_a_saved_editor_has_the_digest_of_every_model(saved, tmp_path):
    fields = json.loads((saved / "editor.json").read_text())
    parts = [part for part, name in fields["parts"].items() if name]
    assert sorted(fields["digests"]) == sorted(parts) == ["base", "counterfactual", "scope"]
    editor = serac_jax.load(saved)  # a warning would be an error
    for part, network in editor.parts.networks.items():
        assert network.model.digest == fields["digests"][part]
    light = serac_jax.load(saved, base=str.upper)
    light.save(tmp_path / "again", base="reference")
    assert json.loads((tmp_path / "again" / "editor.json").read_text()) == fields


def test_other_weights_are_told(saved, tmp_path, capsys):
    folder = spoilt(saved, tmp_path / "spoilt")
    with pytest.warns(OtherWeights) as told:
        serac_jax.load(folder)
    (said,) = [str(warning.message) for warning in told]
    assert "(scope) are not those that the editor was made with" in said
    assert "\n" not in said
    memory = str(tmp_path / "edits.jsonl")
    with warnings.catch_warnings():
        warnings.simplefilter("default")  # as in a program; in tests they are errors
        assert main(["ask", "Who?", f"--editor={folder}", f"--memory={memory}"]) == 0
    notes = [line for line in capsys.readouterr().err.splitlines() if "made with" in line]
    assert notes == [f"note: {said}"]


def test_a_named_model_with_other_weights_is_told(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "other")
    fields = json.loads((folder / "editor.json").read_text())
    fields["parts"]["base"] = str(ASSETS / "models" / "counterfactual")
    (folder / "editor.json").write_text(json.dumps(fields))
    with pytest.warns(OtherWeights, match=r"\(base\) are not those"):
        serac_jax.load(folder)


def test_a_reader_with_another_vocabulary_is_refused(saved, tmp_path):
    folder = shutil.copytree(saved, tmp_path / "other")
    fields = json.loads((folder / "editor.json").read_text())
    fields["parts"]["counterfactual"] = str(MODELS / "t5-tiny")
    del fields["digests"]
    (folder / "editor.json").write_text(json.dumps(fields))
    with pytest.raises(UserError, match="has another vocabulary than the base model"):
        serac_jax.load(folder)


@pytest.mark.parametrize("digests", [3, {"base": 3}, [1]])
def test_digests_that_are_none_are_refused(saved, tmp_path, digests):
    folder = shutil.copytree(saved, tmp_path / "other")
    fields = json.loads((folder / "editor.json").read_text())
    (folder / "editor.json").write_text(json.dumps(fields | {"digests": digests}))
    with pytest.raises(UserError, match="field 'digests' should be an object"):
        serac_jax.load(folder)
