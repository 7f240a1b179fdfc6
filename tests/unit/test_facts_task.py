"""The task of facts on rows of one's own: which a split has, what is drawn, and every editor
trained on it over a causal base model."""

from collections import Counter

import jax
import numpy as np
import pytest

from serac_jax.core.errors import UserError
from serac_jax.tasks.facts import fact_sources
from serac_jax.tasks.facts.fact_draw import Draw, Pool
from serac_jax.tasks.facts.fact_kinds import BY_NAME
from serac_jax.tasks.facts.fact_rows import Fact
from serac_jax.text.queries import DataError
from serac_jax.training import experiment, sections, steps
from tests.fact_runs import ASKS, EDITORS, config_on_facts, facts, folder_of
from tests.tiers import fast


def read(folder, split, dev_share=0.1):
    found = fact_sources.facts(folder, split, dev_share)
    return [fact for rows in found.values() for fact in rows]


def test_files_of_other_names_are_split_by_subject(tmp_path):
    rows = facts(400)
    rows += [
        fact._replace(prompt=f"When was {fact.subject} born?", subject=fact.subject.upper())
        for fact in rows
    ]
    folder = folder_of(tmp_path, rows=rows[::2], more=rows[1::2])
    assert fact_sources.splits(folder) == ["train", "dev"]
    assert list(fact_sources.facts(folder, "train")) == ["more", "rows"]
    train, dev = read(folder, "train"), read(folder, "dev")
    assert len(train) + len(dev) == 800
    people = Counter(fact.subject.upper() for fact in dev)
    assert set(people.values()) == {2}
    assert 0.05 < len(people) / 400 < 0.15
    assert not read(folder, "dev", dev_share=0.0)


def test_a_file_that_is_named_after_a_split_is_that_split(tmp_path):
    folder = folder_of(tmp_path, train=facts(3), dev=facts(2, 3), test=facts(4, 5))
    assert fact_sources.splits(folder) == ["train", "dev", "test"]
    assert [len(read(folder, split)) for split in fact_sources.SPLITS] == [3, 2, 4]
    with pytest.raises(DataError, match=r"facts have the splits train, dev, test, not 'val'"):
        read(folder, "val")


def test_a_prompt_is_in_a_split_once(tmp_path):
    again = [fact._replace(asks=()) for fact in facts(3)]
    folder = folder_of(tmp_path, train=facts(2), more=again)
    found = fact_sources.facts(folder, "train", 0.0)
    assert {name: len(rows) for name, rows in found.items()} == {"more": 3}
    assert [len(fact.asks) for fact in found["more"]] == [5, 5, 0]


def test_a_malformed_row_is_named(tmp_path):
    folder = folder_of(tmp_path, train=facts(1))
    with (folder / "facts" / "train.jsonl").open("a") as file:
        file.write('{"prompt": "a"}\n')
    with pytest.raises(DataError, match=r"train\.jsonl:2: the field 'answer' is missing"):
        read(folder, "train")


def drawn(rows, index, train=True, held_out=(), seed=0):
    draw = Draw(Pool({"rows": rows}, []), lambda batch: batch, train, held_out)
    return draw.texts(np.asarray(index), np.random.default_rng(seed))


def test_every_kind_is_drawn_and_questions_fit_their_edits():
    rows, seen = facts(), Counter()
    for seed in range(60):
        batch = drawn(rows, [3, 5, 9, -1], False, seed=seed)
        assert batch.edits[3] is batch.inside[3] is batch.outside[3] is None
        triples = list(zip(batch.edits, batch.inside, batch.outside, strict=True))[:3]
        for edit, inside, outside in triples:
            (fact,) = (fact for fact in rows if fact.prompt == edit.question)
            assert edit.answer == fact.answer
            (ask,) = (ask for ask in fact.questions if ask.question == inside.question)
            assert (inside.answer, inside.kind) == (ask.answers[0], ask.kind)
            assert outside.question not in {ask.question for ask in fact.questions if ask.inside}
            seen.update([inside.kind, outside.kind])
    assert seen.keys() == {"prompt", *(kind for kind, *_ in ASKS)}
    assert all(count > 5 for count in seen.values())


def test_a_subject_is_asked_the_likest_of_other_relations_but_not_the_same_one():
    rows = [
        Fact("Where does Ada live now?", "Rome", "Ada"),
        Fact("Where does Bob live now?", "Bonn", "Bob"),  # the same words: the same relation
        Fact("Since when does Cleo live there?", "1990", "Cleo"),
        Fact("Who baked the bread of Dan?", "Eve", "Dan"),
        Fact("Where did Fay go?", "Rome", "Fay"),  # the same answer
    ]
    draw = Draw(Pool({"rows": rows}, []), lambda batch: batch, True)
    likely = [draw.relation_likeness(0, other) for other in rows[1:]]
    assert likely[0] == likely[3] == -1 < likely[2] < likely[1] <= 0.6
    found = [draw.about("Ada", 0, np.random.default_rng(seed)) for seed in range(200)]
    asked = Counter(one.question for one in found if one)
    assert asked.keys() == {"Since when does Ada live there?", "Who baked the bread of Ada?"}
    # Four are drawn of five: the likeliest is among them in 1 - .8⁴ = .59 of the draws.
    assert asked["Since when does Ada live there?"] > 2 * asked["Who baked the bread of Ada?"]


def test_questions_are_also_written_as_people_type():
    rows, rng = [Fact("Who is the mayor of Bonn?", "Ada", "Bonn")], np.random.default_rng(0)
    draw = Draw(Pool({"rows": rows}, []), lambda batch: batch, True)
    typed = Counter(draw.typed(rows[0].prompt, rng) for _ in range(2000))
    others = {"who is the mayor of bonn", "who is the mayor of bonn?", "mayor of bonn"}
    assert typed.keys() == {rows[0].prompt, "Who is the mayor of Bonn", *others}
    assert 0.77 < typed[rows[0].prompt] / 2000 < 0.83  # four in five; a deviation is .9%
    assert {draw.typed("Who is Ada?", rng) for _ in range(200)} == {
        "Who is Ada?",
        "Who is Ada",
        "who is ada?",
        "who is ada",
    }


def test_held_out_kinds_are_not_asked():
    held_out = ("prompt", "hop2", "same_subject")
    for seed in range(30):
        batch = drawn(facts(), [0, 1, 2], held_out=held_out, seed=seed)
        asked = {query.kind for query in (*batch.inside, *batch.outside)}
        assert asked <= {"rephrase", "same_relation", "unrelated"}
    inside = [kind.name for kind in BY_NAME.values() if kind.inside]
    only = drawn(facts(), [0], held_out=inside)
    assert only.inside[0].kind == "prompt"  # there is nothing else to ask


def test_kinds_that_are_not_held_out_are_drawn_as_before():
    same = [drawn(facts(), [0, 1, 2], held_out=held_out) for held_out in ((), ("alias", "hop6"))]
    assert same[0] == same[1]


@pytest.mark.parametrize("name", fast(EDITORS, ["lookup"]))
def test_every_editor_trains_on_facts_over_a_causal_model(tmp_path, name):
    """Before an edit the answers are the base model's, and after a step of training the loss is
    finite and an edit is applied."""
    config = config_on_facts(tmp_path, EDITORS[name])
    run = experiment.build(config, tmp_path / "cache")
    params = steps.init_params(run.editor, run.base_params, 0, run.mesh)
    batch = next(iter(run.task.batches("train", 4, True)))
    room = jax.tree.map(np.zeros_like, batch.edits)
    start = jax.jit(run.editor.start)(params, run.base_params, room)
    apply = jax.jit(run.editor.apply)
    before = apply(params, start, batch.inside)
    bare = jax.jit(run.base.logits)(run.base_params, batch.inside)
    # Rows with and without an adapter are one batch, whose sums the compiler orders otherwise.
    assert np.allclose(before, bare, rtol=0, atol=1e-5 if name == "adapters" else 0)
    after = apply(params, jax.jit(run.editor.edit)(params, start, batch.edits), batch.inside)
    assert np.isfinite(after).all()
    if run.editor.loss:
        grad = jax.jit(jax.value_and_grad(run.editor.loss, has_aux=True))
        (value, _), slopes = grad(params, run.base_params, batch, None)
        assert np.isfinite(value)
        assert any(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(slopes))
    if run.editor.route is None:
        assert not np.array_equal(before, after)


def test_a_task_looks_for_its_data_when_they_are_asked_for(tmp_path):
    """What compiles ahead of time, or serves, needs none."""
    config = config_on_facts(tmp_path, {"data.dir": str(tmp_path / "not there")})
    task = experiment.build(config, tmp_path / "cache").task
    with pytest.raises(UserError, match="not there"):
        task.needs("train")


def test_the_config_is_checked(tmp_path):
    config = config_on_facts(tmp_path, {"data.held_out_kinds": ("hops",)})
    with pytest.raises(UserError, match=r"data.held_out_kinds=\('hops',\): expected"):
        sections.check(config)
