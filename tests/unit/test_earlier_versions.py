"""What version 0.2 wrote opens: a memory with its journal, and a run."""

import shutil

import pytest

import serac_jax
from serac_jax.core.errors import UserError
from serac_jax.edits.store import Store
from serac_jax.serving import editor_spec
from serac_jax.serving.loading import Uncalibrated
from tests.conftest import ROOT

EARLIER = ROOT / "tests" / "data" / "earlier"


def test_a_memory_and_its_journal_open(tmp_path):
    for name in ("edits.jsonl", "edits.jsonl.journal"):
        shutil.copyfile(EARLIER / name, tmp_path / name)
    store = Store.open(tmp_path / "edits.jsonl", "Bob")
    assert [edit.answer for edit in store.edits.values()] == ["Mary Shelley", "1847"]
    assert [(one.do, one.author) for one in store.log()][-1] == ("add", "Ann")
    store.redo()
    assert [edit.answer for edit in store.edits.values()][-1] == "Jane Austen"


def test_a_run_answers(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)  # its config names models by relative paths
    run = shutil.copytree(EARLIER / "run", tmp_path / "run")
    with pytest.warns(Uncalibrated, match="`calibrate` fits it"):
        editor = serac_jax.load(run)
    edit = editor.edit("Who wrote Dracula?", "Mary Shelley")
    assert editor.ask("who wrote dracula").edit_id == edit.id
    assert editor.parts.spec.decision.threshold == 0.5


def test_the_names_of_an_editors_widths_in_version_0_2_are_read(tmp_path):
    spec = editor_spec.Spec({"scope": "x"}, question_widths=(8, 40), answer_widths=(3,))
    editor_spec.write(spec, tmp_path)
    file = tmp_path / editor_spec.FILE
    text = file.read_text()
    for new, old in (("question_widths", "text_widths"), ("answer_widths", "label_widths")):
        text = text.replace(new, old)
    file.write_text(text)
    assert editor_spec.read(tmp_path) == spec


def test_an_unknown_field_of_a_run_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    run = shutil.copytree(EARLIER / "run", tmp_path / "run")
    config = run / "config.json"
    config.write_text(config.read_text().replace('"seed"', '"sead"'))
    with pytest.raises(UserError, match="sead"):
        serac_jax.load(run)
