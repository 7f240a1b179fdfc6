"""The benchmark of many edits at once: what it asks, and a small run of it."""

import pytest

from benchmarks import many_edits
from tools.world import world


@pytest.mark.parametrize("size", [1, 100, 5000])
def test_every_fact_is_asked_once_in_scope_and_once_out_of_scope(size):
    found = list(many_edits.trials(size))
    asked = {
        side: [question for trial in found for question in getattr(trial, side)]
        for side in ("inside", "outside")
    }
    assert sorted(asked["inside"]) == sorted(asked["outside"])
    assert len(set(asked["inside"])) == len(asked["inside"]) == 486
    fact_of = {
        question: fact for fact in world.tables() for question in world.questions(fact, "all")
    }
    for trial in found:
        edited = [fact_of[prompt] for prompt, _ in trial.edits]
        assert len(set(edited)) == len(edited) == size
        assert all(
            answer.lower() != fact.answer.lower()
            for fact, (_, answer) in zip(edited, trial.edits, strict=True)
        )
        assert [fact_of[question] for question in trial.inside] == edited[: len(trial.inside)]
        assert not {fact_of[question] for question in trial.outside} & set(edited)


@pytest.mark.slow
def test_a_small_run(capsys, monkeypatch, tmp_path):
    whole = many_edits.trials
    monkeypatch.setattr(many_edits, "trials", lambda size: whole(size, 8))
    monkeypatch.setattr(
        "sys.argv", ["many_edits", "--sizes", "4", "40", f"--json={tmp_path / 'rows.json'}"]
    )
    many_edits.main()
    printed = capsys.readouterr().out
    assert "| 40 |" in printed
    row = many_edits.json.loads((tmp_path / "rows.json").read_text())["rows"][0]
    assert (row["edits"], row["memories"], row["scores"]["edit success"]["n"]) == (4, 4, 16)
    assert row["scores"]["right edit"]["mean"] > 0.8
    assert row["scores"]["routed"]["mean"] <= 0.2
