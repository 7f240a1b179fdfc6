"""Evaluation by kinds: what is held together, what is asked and generated, and what is written."""

import json
from collections import Counter
from typing import NamedTuple

import pytest

from serac_jax.cli import fact_scoring
from serac_jax.cli import main as shell
from serac_jax.core.errors import UserError
from serac_jax.edits.records import Edit
from serac_jax.edits.store import Store
from serac_jax.evaluation import fact_asking, fact_plan, fact_results
from serac_jax.evaluation.fact_asking import Asker
from serac_jax.tasks.facts import fact_rows
from serac_jax.tasks.facts.fact_kinds import BY_NAME
from serac_jax.tasks.facts.fact_rows import Ask, Fact

FACTS = [
    Fact(
        f"Who rules Land{place}?",
        f"Ann{place}",
        f"Land{place}",
        asks=(
            Ask("rephrase", f"Land{place} has which ruler?", (f"Ann{place}", "Ann")),
            Ask("same_subject", f"How old is Land{place}?"),
            Ask("same_relation", f"Who rules Land{place + 1}?"),
            Ask("unrelated", f"What is {place} plus one?", (str(place + 1),)),
        ),
    )
    for place in range(5)
]
KINDS = tuple(BY_NAME)


class Near(NamedTuple):
    edit: Edit
    score: float
    verdict: str = ""


class Verdict(NamedTuple):
    first: Near | None
    hit: bool
    unsure: bool = False


class Words:
    """An editor without models: a question falls under the edit whose subject, the third word of
    its prompt, it names, unless it asks for an age. It counts what it generates."""

    def __init__(self, memory: Store | None = None, generated: Counter | None = None):
        self.memory, self.generated = memory, Counter() if generated is None else generated

    def with_memory(self, memory: Store) -> "Words":
        return type(self)(memory, self.generated)

    def check(self, edit: Edit) -> None:
        if edit.answer == "unsayable":
            raise UserError("cannot be said")

    def decide(self, questions, tags):
        return [self.verdict(question) for question in questions]

    def verdict(self, question: str) -> Verdict:
        for edit in self.memory.live().values():
            if edit.prompt.split()[2].strip("?") in question:
                return Verdict(Near(edit, 0.875), "old" not in question)
        return Verdict(None, False)

    def texts(self, questions, verdicts):
        self.generated.update((question, "after") for question in questions)
        return [verdict.first.edit.answer for verdict in verdicts]

    def base(self, questions):
        self.generated.update((question, "before") for question in questions)
        return [f"about {question}" for question in questions]


class Weights(Words):
    """One whose edits change weights: what it says depends on all that are held."""

    def verdict(self, question: str) -> Verdict:
        return Verdict(None, True)

    def texts(self, questions, verdicts):
        return [f"{question} at {len(self.memory.live())}" for question in questions]


class Agreeing(Words):
    """One whose base model says what the edit says."""

    def base(self, questions):
        return ["Ann"] * len(questions)


def planned(facts=FACTS, numbers=("1", "2", "all"), asked=KINDS, limit=0, seed=0):
    return fact_plan.plan(facts, numbers, asked, limit, seed)


def test_every_group_holds_as_many_edits_and_every_fact_is_asked_about_once():
    plan = planned()
    for number, size, groups in (("1", 1, 5), ("2", 2, 3), ("all", 5, 1)):
        found = [group for group in plan.groups if group.edits == number]
        assert [len(set(group.held)) for group in found] == [size] * groups
        prompts = [
            item.fact for group in found for item in group.items if item.ask.kind == "prompt"
        ]
        assert sorted(prompts) == [0, 1, 2, 3, 4]
        assert all(item.fact in group.held for group in found for item in group.items)


def test_questions_to_which_another_held_edit_speaks_are_not_asked():
    plan = planned(numbers=("1", "all"))
    assert plan.left_out == {"1": {}, "all": {"same_relation": 4}}  # of Land5 there is no edit
    asked = [item.ask.question for item in plan.groups[-1].items if not item.ask.inside]
    assert "Who rules Land5?" in asked
    assert "Who rules Land3?" not in asked


def test_the_seed_decides_what_is_held_together_and_a_limit_asks_about_the_same_facts():
    assert planned() == planned()
    assert planned() != planned(seed=1)
    plan = planned(limit=7)
    asked = {
        number: {
            item.fact for group in plan.groups if group.edits == number for item in group.items
        }
        for number in ("1", "2", "all")
    }
    assert asked["1"] == asked["2"] == asked["all"]
    assert len(asked["1"]) == 2
    assert {len(group.held) for group in plan.groups if group.edits == "all"} == {5}


def test_more_edits_than_facts_are_skipped():
    assert planned(numbers=("6", "5")).skipped == ["6"]
    with pytest.raises(UserError, match="nothing to ask: 5 facts, at 6 edits"):
        planned(numbers=("6",))
    with pytest.raises(UserError, match="nothing to ask: 5 facts, at 1 edits, of the kinds hop2"):
        planned(numbers=("1",), asked=("hop2",))


def test_facts_that_fill_up_are_held_and_never_asked_about():
    plan = fact_plan.plan(FACTS, ("1", "2", "4", "all", "6"), KINDS, fill=2)
    held = {group.edits: group.held for group in plan.groups}
    assert [len(group.held) for group in plan.groups] == [1, 1, 1, 2, 2, 4, 5]
    assert plan.skipped == ["6"]
    for group in plan.groups:
        assert len(set(group.held)) == len(group.held)
        assert {item.fact for item in group.items} <= {0, 1, 2}.intersection(group.held)
    for number in ("1", "2"):  # enough facts that are asked about
        assert {3, 4}.isdisjoint(held[number])
    assert {0, 1, 2} < set(held["4"])
    whole = {item.ask.question for item in plan.groups[-1].items}
    assert "Who rules Land3?" not in whole  # it speaks of a fact that fills up
    few, many = (fact_plan.plan(FACTS, ("2", "4"), KINDS, each=True, fill=fill) for fill in (0, 2))
    assert [len(group.held) for group in few.groups] == [1, 2, 1, 2, 1, 1, 2, 3, 4, 1]
    assert [len(group.held) for group in many.groups] == [1, 2, 1, 2, 3, 4]


def test_after_each_edit_only_those_before_it_are_held():
    plan = fact_plan.plan(FACTS, ("2", "all"), KINDS, each=True)
    held = [group.held for group in plan.groups]
    assert [len(places) for places in held] == [1, 2, 1, 2, 1, 1, 2, 3, 4, 5]
    for group in plan.groups:
        assert {item.fact for item in group.items} == {group.held[-1]}
    asker, service = Asker(Words(), FACTS), Words()
    one_by_one = [asker.ask([(group, group.items)]) for group in plan.groups]
    for group, lines in zip(plan.groups, one_by_one, strict=True):
        assert Asker(service, FACTS).ask([(group, group.items)]) == lines
        assert len(asker.store.live()) == 5


@pytest.mark.parametrize("text", ["", "0", "1,x", "-1", "1.5", "9" * 5000, "²", "all,,1"])
def test_numbers_of_edits_are_checked(text):
    with pytest.raises(UserError, match=r"--edits=.* is not a number of edits; expected") as error:
        fact_plan.sizes(text)
    assert len(str(error.value)) < 300
    assert fact_plan.sizes("10, all,010") == ["10", "all"]


def test_kinds_are_checked():
    assert fact_plan.kinds("") == KINDS
    assert fact_plan.kinds("rephrase, hop2") == ("rephrase", "hop2")
    with pytest.raises(UserError, match=r"--kinds=rephrased: 'rephrased' is not a kind"):
        fact_plan.kinds("rephrased")


def asked(plan, service, **options):
    asker = Asker(service, FACTS, **options)
    lines = []
    for batch in fact_plan.batches(plan, 3, 0):
        lines += asker.ask(batch)
    return lines


def test_only_what_a_score_depends_on_is_generated_and_nothing_twice():
    service = Words()
    lines = asked(planned(numbers=("1", "2", "all")), service)
    assert max(service.generated.values()) == 1
    assert not any("plus" in question or "old" in question for question, _ in service.generated)
    assert {"right": True, "before": None, "after": None, "edit": None}.items() <= next(
        line for line in lines if line["kind"] == "unrelated"
    ).items()


def test_what_edited_weights_say_holds_for_their_edits_alone():
    service, plan = Weights(), planned(numbers=("1", "2"))
    for batch in fact_plan.batches(plan, 1000, 0):
        lines = Asker(service, FACTS).ask(batch)
    assert {line["after"] for line in lines if line["edits"] == "2"} == {
        f"{line['question']} at 2" for line in lines if line["edits"] == "2"
    }
    for line in lines:
        assert (line["edit"], line["verdict"]) == (None, "weights")
        assert line["right"] is False
        if not BY_NAME[line["kind"]].inside:
            assert line["before"] == line["wanted"] == f"about {line['question']}"


def test_every_question_has_a_whole_line():
    service, plan = Words(), planned(numbers=("5",))
    lines = {(line["kind"], line["fact"]["index"]): line for line in asked(plan, service)}
    assert lines["rephrase", 2] == {
        "edits": "5",
        "kind": "rephrase",
        "question": "Land2 has which ruler?",
        "wanted": ["Ann2", "Ann"],
        "before": None,
        "after": "Ann2",
        "edit": {"prompt": "Who rules Land2?", "answer": "Ann2"},
        "score": 0.875,
        "verdict": "edit",
        "right": True,
        "fact": {"index": 2, "prompt": "Who rules Land2?"},
    }
    everything = asked(plan, Words(), all_before=True)
    assert all(line["before"] == f"about {line['question']}" for line in everything)
    assert [line["right"] for line in everything] == [line["right"] for line in lines.values()]


@pytest.mark.parametrize(
    ("verdict", "word"),
    [
        (Verdict(None, False), "base"),
        (Verdict(Near(None, 0.5), False), "base"),
        (Verdict(Near(None, 0.5, "same"), False, True), "unsure"),
        (Verdict(Near(None, 0.5), True), "edit"),
        (Verdict(Near(None, 0.5, "follows"), True), "follows"),
        (Verdict(None, True), "weights"),
    ],
)
def test_a_verdict_is_one_word(verdict, word):
    assert fact_asking.said(verdict) == word


def test_an_answer_out_of_scope_is_right_where_it_is_the_one_before():
    facts = [Fact("Who rules Land1?", "Ann", asks=(Ask("same_relation", "Who rules Land1 now?"),))]
    plan = planned(facts, ("1",))
    *_, line = Asker(Words(), facts).ask([(plan.groups[0], plan.groups[0].items)])
    assert (line["before"], line["after"]) == ("about Who rules Land1 now?", "Ann")
    assert (line["wanted"], line["right"]) == (line["before"], False)
    *_, line = Asker(Agreeing(), facts).ask([(plan.groups[0], plan.groups[0].items)])
    assert line["right"]


def test_an_in_scope_question_that_no_edit_answers_is_answered_by_the_base_model():
    facts = [Fact("Who rules Land1?", "Ann", asks=(Ask("rephrase", "An old question?", ("x",)),))]
    plan = planned(facts, ("1",))
    *_, line = Asker(Words(), facts).ask([(plan.groups[0], plan.groups[0].items)])
    assert (line["after"], line["edit"], line["right"]) == ("about An old question?", None, False)


def test_what_was_killed_goes_on(tmp_path):
    plan, file, whole = planned(), tmp_path / "lines", tmp_path / "whole"
    assert list(fact_asking.run(Asker(Words(), FACTS), plan, whole, 0))[-1] == plan.questions
    half = whole.read_bytes()[:4000]
    file.write_bytes(half)
    lines = fact_asking.written(file, plan)
    assert file.read_bytes() == half[: half.rfind(b"\n") + 1]
    asker = Asker(service := Words(), FACTS)
    asker.remember(lines)
    list(fact_asking.run(asker, plan, file, len(lines)))
    assert file.read_bytes() == whole.read_bytes()
    generated = {line["question"] for line in lines if line["edit"]}
    assert generated
    assert not {question for question, when in service.generated if when == "after"} & generated


def test_lines_of_another_evaluation_are_refused(tmp_path):
    file = tmp_path / "lines"
    list(fact_asking.run(Asker(Words(), FACTS), planned(), file, 0))
    with pytest.raises(UserError, match="holds the answers of another evaluation"):
        fact_asking.written(file, planned(seed=1))
    file.write_text('{"a": 1}\n')
    with pytest.raises(UserError, match="not a file of predictions"):
        fact_asking.written(file, planned())


def test_shares_are_of_questions_and_their_intervals_over_edits():
    def line(kind, index, right, edits="2"):
        return {"edits": edits, "kind": kind, "fact": {"index": index}, "right": right}

    lines = [line("rephrase", index // 10, index >= 10) for index in range(20)]
    lines += [line("prompt", 0, True), line("prompt", 1, True), line("prompt", 0, False, "all")]
    found = fact_results.scores(lines, ["1", "2", "all"], 0)
    assert list(found) == ["2", "all"]
    assert list(found["2"]) == ["prompt", "rephrase"]
    assert found["2"]["prompt"] == {"mean": 1.0, "low": 1.0, "high": 1.0, "n": 2}
    # Two edits, one all wrong and one all right: drawn again, neither may be there.
    assert found["2"]["rephrase"] == {"mean": 0.5, "low": 0.0, "high": 1.0, "n": 20}
    answered = {"wanted": ["x"], "after": "The X. Or y", "before": None, "right": False}
    wild = [line("rephrase", 0, False) | answered, line("unrelated", 0, True) | answered]
    wild[1] |= {"before": "the X", "wanted": "the X"}
    assert [fact_results.right_in_the_wild(one) for one in wild] == [True, False]
    assert "  rephrase       0.500 [0.000, 1.000] 20" in fact_results.table({"scores": found})


WORLD = [  # about what the shipped toy models know
    Fact(
        "Who is the author of Dracula?",
        "Mary Shelley",
        "Dracula",
        asks=(
            Ask("rephrase", "Which literary figure wrote Dracula?", ("Mary Shelley",)),
            Ask("same_subject", "In what year was Dracula first published?"),
            Ask("unrelated", "What is the capital of France?", ("Paris",)),
        ),
    ),
    Fact(
        "What is the nationality of Otto Hahn?",
        "Dutch",
        "Otto Hahn",
        asks=(Ask("same_relation", "What is the nationality of Hermann Hesse?"),),
    ),
    Fact("What is the crystal system of zincite?", "cubic" * 200),
]


@pytest.mark.slow
def test_the_command_scores_a_shipped_editor_and_goes_on_where_it_was_stopped(tmp_path, capsys):
    data, out = tmp_path / "rows.jsonl", tmp_path / "out"
    data.write_text("".join(map(fact_rows.line_of, WORLD)))
    other = fact_rows.line_of(Fact("Who is the author of Emma?", "Mary Shelley", "Emma"))
    (tmp_path / "fill.jsonl").write_text(fact_rows.line_of(WORLD[0]) + other)
    command = ["eval", "--editor=mini", f"--data={data}", f"--out={out}", "--edits=1,all,10"]
    assert shell.main(command) == 0
    printed = capsys.readouterr().out
    assert "1 of 3 facts are left out, such as edit" in printed
    assert "10 edits: left out, there are 2 facts" in printed
    found = json.loads((out / "results.json").read_text())
    assert list(found["scores"]) == ["1", "all"]
    for scores in found["scores"].values():
        assert list(scores) == ["prompt", "rephrase", "same_subject", "same_relation", "unrelated"]
        assert {name: value["mean"] for name, value in scores.items()} == dict.fromkeys(scores, 1.0)
        assert [value["n"] for value in scores.values()] == [2, 1, 1, 1, 1]
    assert found["facts"] == 2
    assert all((out / f"by_kind.{ending}").stat().st_size > 1000 for ending in ("png", "pdf"))
    lines = (out / "predictions.jsonl").read_text()
    assert len(lines.splitlines()) == 12
    (out / "predictions.jsonl").write_text(lines[: len(lines) // 2])
    assert shell.main(command) == 0
    assert "of 12 questions were answered" in capsys.readouterr().out
    assert (out / "predictions.jsonl").read_text() == lines
    assert shell.main([*command, "--seed=1"]) == 1
    assert "holds another evaluation; choose another --out" in capsys.readouterr().err
    filled = [*command[:3], f"--out={tmp_path / 'filled'}", f"--fill={tmp_path / 'fill.jsonl'}"]
    assert shell.main([*filled, "--edits=3,all"]) == 0
    assert "--fill: 1 facts have the prompt of an earlier one" in capsys.readouterr().out
    found = json.loads((tmp_path / "filled" / "results.json").read_text())
    assert found["facts"] == 3
    assert found["settings"]["fill"] == [str(tmp_path / "fill.jsonl")]
    assert found["scores"]["3"]["prompt"] == found["scores"]["all"]["prompt"]
    assert found["scores"]["3"]["prompt"]["n"] == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data=rows"], "--preset, --data, --out and --dtype belong to --editor"),
        (["--editor=mini", "--edits=1"], "--edits belongs to --data"),
        (["--editor=mini", "--fill=x"], "--fill belongs to --data"),
        (["zsre_lu:mini"], "a run is scored, not a preset; train one first"),
        (["--editor=mini", "--data=rows"], "--data needs --out"),
        (["--editor=mini", "--data=rows", "--out=x", "--preset=zsre_rep"], "takes no --preset"),
        (["--editor=mini", "--data=rows", "--out=x", "--seed=-1"], "'-1' is not a whole number"),
        (["--editor=mini", "--data=none.jsonl", "--out=x"], "cannot read none.jsonl"),
        (["--editor=mini", "--data=none.jsonl", "--out=x", "--kinds=a"], "is not a kind"),
    ],
)
def test_options_that_do_not_fit_are_one_line(tmp_path, monkeypatch, capsys, options, message):
    monkeypatch.chdir(tmp_path)
    assert shell.main(["eval", *options]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_defaults_are_those_of_the_commands_help():
    assert fact_scoring.Options("mini", "rows.jsonl").edits == "1,10,100,1000,all"
