"""The notebook runs from top to bottom, and its installer makes nothing older."""

import importlib.util
import json

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT
from tests.tiny import tiny

NOTEBOOK = ROOT / "notebooks" / "serac_colab.ipynb"
RUN = """from serac_jax import presets


def get_config(size):
    config = presets.preset(f"zsre_rep:{{size}}")
    config.update_from_flattened_dict({fields!r})
    return config
"""
FEW = {
    "data.question_tokens": 40,
    "data.answer_tokens": 24,
    "train.steps": 2,
    "train.edits": 4,
    "train.val_batches": 1,
    "eval.batches": 1,
    "eval.edits": 4,
}


def test_the_notebook_runs_headless(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "zsre_rep.py").write_text(RUN.format(fields=tiny() | FEW))

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (place,) = (
        number
        for number, cell in enumerate(notebook.cells)
        if "parameters" in cell.metadata.get("tags", ())
    )
    settings = {
        "RUNS": "zsre_rep",
        "OUT": str(tmp_path / "runs"),
        "CONFIGS": str(tmp_path / "configs"),
    }
    notebook.cells.insert(
        place + 1,
        nbformat.v4.new_code_cell(
            "\n".join(f"{name} = {value!r}" for name, value in settings.items())
        ),
    )
    NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    ).execute()

    outputs = [
        output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    ]
    printed = "".join(
        output.text
        for output in outputs
        if output.output_type == "stream" and output.name == "stdout"
    )
    assert "to install: nothing" in printed
    assert printed.count("Keir Starmer") >= 2  # asked in other words, and added
    assert "all steps done" in printed
    assert any("image/png" in output.get("data", {}) for output in outputs)
    (stored,) = (tmp_path / "runs" / "edits.jsonl").read_text().splitlines()[-1:]
    assert "Mary Shelley" in stored
    assert json.loads((tmp_path / "runs" / "table.json").read_text())[0]["step"] == 2


@pytest.fixture
def install():
    spec = importlib.util.spec_from_file_location("install", ROOT / "scripts" / "install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_only_what_is_missing_or_too_old_is_installed(install):
    asked = install.read(ROOT / "requirements.txt")
    assert {"jax", "transformers"} <= {found.name for found in asked}
    newer = {
        install.canonicalize_name(found.name): install.Version("99.0+cu128") for found in asked
    }
    assert install.missing(asked, newer) == []
    assert [
        found.name for found in install.missing(asked, newer | {"jax": install.Version("0.7.2")})
    ] == ["jax"]
    without = {name: version for name, version in newer.items() if name != "gdown"}
    assert [found.name for found in install.missing(asked, without)] == ["gdown"]


def test_nothing_becomes_older(install):
    assert (
        install.floors({"torch": install.Version("2.9.0+cu128"), "numpy": install.Version("2.0.2")})
        == "numpy>=2.0.2\ntorch>=2.9.0\n"
    )
    assert install.missing(install.read(ROOT / "requirements.txt"), install.there()) == []
