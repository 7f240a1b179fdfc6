"""A reader that judges, behind the service: verdicts, one score, thresholds by numbers of edits.

The models are tiny and random, so that what is asserted are laws, not answers.
"""

import json
import math

import jax
import numpy as np
import pytest

import serac_jax
from serac_jax import models
from serac_jax.cli import calibrating
from serac_jax.core.errors import UserError
from serac_jax.editors.protocol import Thresholds
from serac_jax.index.distance import Distance
from serac_jax.models import adapters
from serac_jax.models.generate import generate
from serac_jax.serving import fact_calibration, judging, saved_editor, scope_score
from serac_jax.serving.editor_spec import Decision, JudgeSpec, Spec
from serac_jax.serving.parts import Part, Parts
from serac_jax.tasks.facts.fact_rows import Ask, Fact
from serac_jax.text.buckets import tokens
from tests.causal_models import random_model
from tests.conftest import MODELS

BLOCKS = (r"block_\d+/.*",)
EDITS = [("Where is it?", "Rome"), ("Who was she?", "a nun"), ("When did it end?", "in May")]


def noisy(params, seed):
    """An adapter that changes something."""
    drawn = adapters.init(jax.random.key(seed), params, BLOCKS, 2)
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: leaf + rng.normal(0, 0.1, leaf.shape).astype("f4"), drawn)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved editor of two tiny models and their adapters."""
    base = tmp_path_factory.mktemp("llama")
    random_model("llama", base)
    encoder = str(MODELS / "distilbert-tiny-cased")
    model, params = models.load(str(base))
    scope, scope_params = models.load(encoder, output="mean")
    change = noisy(scope_params, 1)
    spec = Spec(
        {"base": str(base), "scope": encoder},
        pool="mean",
        distance=Distance(cosine=True),
        question_widths=(16, 32),
        answer_widths=(8,),
        decision=Thresholds(0.3, 0.2),
        judge=JudgeSpec(border=-1.0),
    )
    networks = {
        "base": Part(model, params, noisy(params, 0)),
        "scope": Part(scope, adapters.merged(scope_params, change), change),
    }
    parts = Parts(spec, networks, model.tokenizer, model.network.template)
    saved = tmp_path_factory.mktemp("editor") / "saved"
    saved_editor.save(parts, saved, base="copy")
    return saved


@pytest.fixture(scope="module")
def editor(folder):
    found = serac_jax.load(folder)
    found.edit_many(EDITS)
    return found


def test_models_of_this_machine_are_saved_with_their_adapters(folder):
    """That of a scope classifier is merged into it: its model without the adapter is not held."""
    spec = json.loads((folder / "editor.json").read_text())
    assert spec["adapters"] == {"reader": "./reader_adapter"}
    assert (spec["parts"]["base"], spec["parts"]["scope"]) == ("./base", "./scope")


def test_a_saved_editor_saves_itself_again(folder, editor, tmp_path):
    editor.save(tmp_path / "again")
    for name in (f"reader_adapter/{adapters.WEIGHTS}", "scope/model.safetensors"):
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_own_words_get_the_stored_answer_and_nothing_is_judged(editor, monkeypatch):
    monkeypatch.setattr(editor.matcher.scorer, "read_pairs", None)
    for prompt, answer in EDITS:
        found = editor.ask(prompt.upper())
        assert (found.text, found.score, found.nearest.verdict) == (answer, 1.0, "same")


def test_verdicts_do_not_depend_on_what_is_judged_beside(editor):
    """Only real tokens are computed: rows of other lengths change nothing."""
    edits = list(editor.memory.live().values())
    pairs = [(edit, question) for edit in edits for question in ("And?", "Who was he, and where?")]
    together = editor.matcher.scorer.read_pairs(pairs)
    alone = [editor.matcher.scorer.read_pairs([pair])[0] for pair in pairs]
    np.testing.assert_allclose(together, alone, atol=2e-5)
    np.testing.assert_allclose(np.exp(together).sum(1), 1, atol=1e-5)


def test_the_score_is_the_probability_of_not_unrelated(editor):
    """Until it is calibrated."""
    question = "What was she?"
    (verdict,) = editor.decide([question], [None])
    (read,) = editor.matcher.scorer.read_pairs([(verdict.first.edit, question)])
    assert verdict.first.score == pytest.approx(1 - math.exp(read[2]), abs=1e-5)
    assert verdict.first.verdict == ("same" if read[0] >= read[1] else "follows")


def test_same_is_answered_by_the_edit_and_the_rest_by_the_reader(editor, monkeypatch):
    question = "What was she?"
    (verdict,) = editor.decide([question], [None])
    near = verdict.first
    same, follows = (
        verdict._replace(hit=True, first=near._replace(verdict=said))
        for said in ("same", "follows")
    )
    assert editor.texts([question], [same]) == [near.edit.answer]
    assert editor.texts([question], [follows]) == editor.reader.after([near.edit], [question])
    assert editor.texts([question], [verdict._replace(hit=False)]) == editor.base([question])


def test_the_examples_of_the_template_are_read_once(editor):
    base, questions = editor.base, ["What was she?", "When did the long war end?"]
    rows, steps = [base.prompt(question) for question in questions], base.steps(None)
    read, prefix = base.read(rows, base.trained("query"), steps, {})
    lead = base.encoder.form.lead
    assert prefix[0][0].shape[1] == lead > read.ids.shape[1]
    whole = tokens(rows, (max(map(len, rows)),))
    said = generate(base.model, base.params, whole, steps=steps)
    assert base(questions) == [base.encoder.words(ids) for ids in np.asarray(said)]
    # A model with an adapter remembers something else of them.
    assert base.read(rows, base.trained("query"), steps, editor.reader.change)[1] == ()


HISTORY = (("Who was he?", "a monk"), ("And she?", "a nun"))


def test_earlier_turns_are_read_before_the_question_but_not_by_the_router(editor):
    question = "What was she?"
    turns = [f"{asked}\nAnswer: {answer}\nQuestion: " for asked, answer in HISTORY]
    assert editor.base([question], [HISTORY]) == editor.base(["".join(turns) + question])
    (plain, told) = (editor.ask(question, history=turns) for turns in ((), HISTORY))
    assert (plain.score, plain.nearest) == (told.score, told.nearest)
    assert told.text in (editor.base([question], [HISTORY])[0], told.nearest.edit.answer) or (
        told.text == editor.reader.after([told.nearest.edit], [question], [HISTORY])[0]
    )
    reads = editor.why(question, history=HISTORY).reads
    texts = [text for turn in HISTORY for text in turn]
    places = [reads.index(text) for text in [*texts, told.nearest.edit.prompt, question]]
    assert places == sorted(places)


def test_conversations_of_one_batch_do_not_meet(editor):
    asked, histories = ["What was she?", "And?"], [HISTORY, HISTORY[:1]]
    edits = list(editor.memory.live().values())[:2]
    together = editor.base(asked, histories), editor.reader.after(edits, asked, histories)
    for at in range(2):
        question, history = asked[at : at + 1], histories[at : at + 1]
        assert editor.base(question, history) == together[0][at : at + 1]
        assert (
            editor.reader.after(edits[at : at + 1], question, history) == (together[1][at : at + 1])
        )


def test_an_answer_has_at_most_as_many_tokens_as_asked_for(editor):
    question, own = "What was she?", editor.encoder.answer_widths[-1]
    long = editor.base([question], limit=2 * own + 3)[0]
    rows = editor.encoder.form.answers([long, editor.base([question])[0]])
    assert len(rows[0]) - 1 > own >= len(rows[1]) - 1
    for limit in (1, own + 1):
        short = editor.base([question], limit=limit)[0]
        assert long.startswith(short)
        assert len(short) < len(long)
    assert editor.ask("Where is it?", max_tokens=1).text == "Rome"  # an edit's own is never cut


def test_a_long_question_is_read_whole_and_one_that_does_not_fit_is_refused(editor):
    window, widths = editor.base.model.window, editor.encoder.question_widths
    long = "Who was it " * widths[-1] + "?"
    assert editor.base([long]) != editor.base(["Who was it " * (widths[-1] - 1) + "?"])
    with pytest.raises(UserError, match=rf"more than the {window - 8} for which"):
        editor.base(["Who was it " * window + "?"])
    turns = [("Who was it?", "Rome")] * window
    with pytest.raises(UserError, match="leave out earlier turns"):
        editor.base(["Who?"], [turns])


def test_an_edit_below_the_border_is_not_judged(editor):
    scorer = editor.matcher.scorer
    edit = next(iter(editor.memory.live().values()))
    spec, scorer.spec = scorer.spec, scorer.spec._replace(border=0.9)
    try:
        (found,) = scorer.score([(edit, "And?")], [math.exp(0.5 - 1)])
    finally:
        scorer.spec = spec
    assert found == (0.0, "unrelated")


def test_thresholds_depend_on_the_number_of_edits():
    spec = Spec({}, decisions=(Decision(10, 0.5, 0.1), Decision(1000, 0.8, 0.2)))
    found = [spec.thresholds(count).threshold for count in (0, 10, 11, 1000, 10**6)]
    assert found == [0.5, 0.5, 0.8, 0.8, 0.8]
    assert Spec({}, decision=Thresholds(0.4, 0.3)).thresholds(7) == (0.4, 0.3)


def facts():
    """Facts whose questions in scope repeat the prompt, and others do not."""
    return [
        Fact(
            f"Where is the house of {name}?",
            "Rome",
            name,
            None,
            (
                Ask("rephrase", f"In which place is the house of {name}?", ("Rome",)),
                Ask("same_subject", f"How old is {name}?"),
                Ask("unrelated", f"What is {number} plus {number}?"),
            ),
        )
        for number, name in enumerate("Ann Ben Cat Dan Eve Fay Gus Hal Ida Jon Kim Leo".split())
    ]


def test_calibration_fits_weights_and_thresholds(folder, tmp_path):
    editor = serac_jax.load(folder)
    fact_calibration.calibrate(editor, facts(), [], [5, 100], 0.2, 100)
    spec = editor.parts.spec
    assert [decision.edits for decision in spec.decisions] == [5, 12]
    assert len(spec.judge.weights) == len(scope_score.VIEWS) + 1
    assert spec.calibration["recall"] == 1.0  # words alone tell these apart
    assert spec.calibration["false_positive_rate"] <= 0.2
    assert editor.matcher.scorer.spec == spec.judge  # in use at once
    editor.save(tmp_path / "calibrated")
    again = serac_jax.load(tmp_path / "calibrated").parts.spec
    assert again.judge.weights == pytest.approx(spec.judge.weights)
    assert again.decisions == spec.decisions


def test_calibration_needs_a_reader_that_judges():
    with pytest.raises(UserError, match="reader judges"):
        fact_calibration.calibrate(serac_jax.load("mini"), facts(), [], [5], 0.2, 100)


def test_too_few_questions_for_a_rate_are_told_before_any_is_asked(editor):
    with pytest.raises(UserError, match=r"^12 rows .* a rate of 0\.05: give 19 or more"):
        fact_calibration.calibrate(editor, facts(), [], [5], 0.05, 100, progress=pytest.fail)


def test_a_calibrated_editor_takes_along_what_only_this_machine_has(folder, tmp_path):
    editor = serac_jax.load(folder)
    spec = editor.parts.spec
    editor.use(spec._replace(parts=spec.parts | {"base": str(folder / "base")}))
    calibrating.save(editor, tmp_path / "moved")
    assert serac_jax.load(tmp_path / "moved").parts.spec.parts == spec.parts


def test_views_of_a_pair():
    views = scope_score.views(
        "What is the capital of Australia?",
        "Canberra",
        "Is Sydney Australia's capital?",
        0.5,
        [math.log(0.2), math.log(0.7), math.log(0.1)],
    )
    found = dict(zip(scope_score.VIEWS, views, strict=True))
    assert found["cosine"] == 0.5
    assert found["in_scope"] == pytest.approx(math.log(9))
    assert found["same"] == pytest.approx(math.log(2 / 7))
    assert found["names_shared"] == 1.0  # Australia
    assert found["names_foreign"] == pytest.approx(1 / 2)  # Sydney
    assert found["answer_named"] == 0.0
    assert found["words_shared"] == 1.0  # capital, Australia
    assert found["words_foreign"] == pytest.approx(1 / 3)


def test_few_sizes_of_what_is_judged():
    sizes = {judging.rounded(count) for count in range(1, 5000)}
    assert sorted(sizes)[:5] == [64, 96, 128, 192, 256]
    assert len(sizes) < 16
    assert all(count <= judging.rounded(count) <= max(64, 1.5 * count) for count in range(1, 5000))
