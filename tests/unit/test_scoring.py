"""Scoring a saved editor: which data it is asked about, and by which threshold."""

import json

import pytest

from serac_jax.cli import scoring
from serac_jax.core.errors import UserError
from serac_jax.serving import editor_spec, saved_editor


def test_an_editor_of_which_no_data_are_known_asks_for_a_preset(tmp_path):
    with pytest.raises(UserError, match=r"--editor=mine: name the preset whose data are asked"):
        scoring.score_editor("mine", None, {}, str(tmp_path), "")


@pytest.mark.slow
def test_a_shipped_editor_is_scored_by_its_own_threshold(tmp_path, capsys):
    """A question is answered by an edit exactly where its score is above the saved threshold."""
    changes = {"eval.batches": 1, "eval.edits": 4, "eval.resamples": 20, "mesh.data": 1}
    scoring.score_editor("mini", None, changes, str(tmp_path), "eval --editor=mini")
    results = json.loads((tmp_path / "results.json").read_text())
    lines = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    threshold = editor_spec.read(saved_editor.SHIPPED / "zsre").decision.threshold
    assert threshold != 0.5
    assert len(lines) == 12
    assert all(line["hit"] == (line["score"] > threshold) for line in lines)
    assert (results["step"], results["split"]) == (None, "test")
    assert results["command"] == "eval --editor=mini"
    assert "editor mini: 4 edits at a time" in capsys.readouterr().out
