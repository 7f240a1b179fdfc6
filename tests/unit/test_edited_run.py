"""The editor of any run, asked as evaluation by kinds asks."""

import json
from dataclasses import replace

import pytest

from serac_jax.cli import main as shell
from serac_jax.core.errors import UserError
from serac_jax.edits import records
from serac_jax.edits.store import Store
from serac_jax.evaluation.edited_run import EditedRun
from serac_jax.training import experiment, steps
from tests.fact_runs import EDITORS, config_on_facts, facts
from tests.tiers import fast

MADE = [records.make(fact.prompt, fact.answer) for fact in facts(5)]
QUESTIONS = [fact.asks[0].question for fact in facts(3)]
OF_ANY_RUN = fast(["serac", "mend", "enn", "lookup", "fine-tuning"], ["lookup", "fine-tuning"])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Makes the editor of a config, once."""
    known = {}

    def make(name: str) -> EditedRun:
        if name not in known:
            folder = tmp_path_factory.mktemp("facts")
            fields = {"lookup.threshold": 1e-3, "data.sizes": 1, "data.answer_tokens": 8}
            config = config_on_facts(folder, EDITORS[name] | fields)
            run = experiment.build(config, folder / "cache")
            params = steps.init_params(run.editor, run.base_params, 0, run.mesh)
            known[name] = EditedRun(run, params, 2)
        return known[name]

    return make


def told(service, edits, questions):
    """The answers while a memory holds some edits."""
    store = Store.open(None)
    service = service.with_memory(store)
    store.add(edits)
    return answers(service, questions)


def answers(service, questions):
    verdicts = service.decide(questions, [None] * len(questions))
    return [
        text if verdict.hit else "left alone"
        for verdict, text in zip(verdicts, service.texts(questions, verdicts), strict=True)
    ]


@pytest.mark.parametrize("name", OF_ANY_RUN)
def test_without_edits_the_base_model_answers(made, name):
    service = made(name)
    base = service.base(QUESTIONS)
    found = told(service, [], QUESTIONS)
    assert found == (["left alone"] * len(base) if service.run.editor.route else base)


@pytest.mark.parametrize("name", OF_ANY_RUN)
def test_edits_compose_and_another_memory_knows_nothing_of_them(made, name):
    service, store = made(name), Store.open(None)
    asked = [*QUESTIONS, *(edit.prompt for edit in MADE)]
    before = told(service, MADE[4:], asked)
    one = service.with_memory(store)
    for count in range(0, 4, 2):  # as many as are applied at a time
        store.add(MADE[count : count + 2])
        one.decide(QUESTIONS, [None] * 3)
    assert answers(one, asked) == told(service, MADE[:4], asked)
    assert told(service, MADE[4:], asked) == before


@pytest.mark.parametrize("name", OF_ANY_RUN)
def test_it_answers_as_an_evaluation_of_the_run_does(made, name):
    """The same edits and questions, through the step that `serac eval --workdir` takes."""
    service = made(name)
    run, words = service.run, service.run.task.words
    texts = next(iter(run.task.batches("train", 2, False, lambda batch: batch)))
    batch = run.task.encode(texts)
    found = steps.make_answer_step(run.editor, run.base)(service.params, run.base_params, batch)
    edits = [records.make(edit.question, edit.answer) for edit in texts.edits]
    for side, queries in (("inside", texts.inside), ("outside", texts.outside)):
        asked = [query.question for query in queries]
        alone = service.base(asked)
        after = [
            base if text == "left alone" else text
            for base, text in zip(alone, told(service, edits, asked), strict=True)
        ]
        for when, said in (("before", alone), ("after", after)):
            wanted = list(map(words, found[f"{side}_{when}"]))  # cut where the batch's answers end
            assert any(wanted)
            assert [text[: len(part)] for text, part in zip(said, wanted, strict=True)] == wanted


def test_an_editor_that_answers_with_classes_is_refused(made):
    run = made("lookup").run
    encode = replace(run.task.encode, classes=("no", "yes"))
    with pytest.raises(UserError, match="the editor answers with no, yes; rows of facts are for"):
        EditedRun(run._replace(task=run.task._replace(encode=encode)), {}, 1)


def test_an_edit_that_is_found_by_its_words_is_named(made):
    service, store = made("lookup"), Store.open(None)
    service = service.with_memory(store)
    store.add(MADE)
    own, other = service.decide([MADE[3].prompt, "What is 1 plus 1?"], [None] * 2)
    assert (own.first.edit, own.hit, own.first.score) == (MADE[3], True, 1.0)
    assert own.text == MADE[3].answer
    assert not other.hit
    assert other.first.edit in MADE


def test_an_answer_that_is_too_long_is_refused(made):
    with pytest.raises(UserError, match="more than the limit of"):
        made("lookup").check(records.make("Where does Ada live?", "far away " * 100))


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["facts_lu", "facts_ft"])
def test_the_command_scores_a_run_of_any_editor(tmp_path, capsys, preset):
    """Trained by one command, scored by another, on a base model of one's own."""
    folder = tmp_path / "run"
    config = config_on_facts(tmp_path)
    fields = [
        f"--base.name={config.base.name}",
        f"--data.dir={config.data.dir}",
        f"--inner={config.inner}",
        "--finetune.steps=2",
        "--lookup.threshold=0.001",
        "--mesh.data=1",
    ]
    assert shell.main(["train", preset, f"--workdir={folder}", *fields]) == 0
    data, out = f"{config.data.dir}/facts/rows.jsonl", tmp_path / "out"
    command = ["eval", f"--editor={folder}", f"--data={data}", f"--out={out}", "--edits=2,3"]
    assert shell.main([*command, "--limit=12"]) == 0
    assert "edits held" in capsys.readouterr().out
    scores = json.loads((out / "results.json").read_text())["scores"]
    assert scores.keys() == {"2", "3"}
    if preset == "facts_lu":
        found = {kind: score["mean"] for kind, score in scores["3"].items()}
        assert (found["prompt"], found["unrelated"]) == (1.0, 1.0)
