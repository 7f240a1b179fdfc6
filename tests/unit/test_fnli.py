"""Fact checking: which rows are kept, what is drawn from them, which rows are edited together, and
the programs on it."""

import json
from collections import Counter

import jax
import numpy as np
import pytest

from serac_jax.models import WeightError, load_tokenizer
from serac_jax.tasks import fnli
from serac_jax.tasks.fnli import fnli_questions
from serac_jax.text.queries import DataError
from serac_jax.training import experiment, steps
from tests.conftest import MODELS
from tests.tiny import config_of, one_layer

LABELS = ("SUPPORTS", "REFUTES", "NOT ENOUGH INFO")
EVIDENCE = "{} is a tower near the river , and by 1964 it had more than 45 visitors ."


def row(page, label, **fields):
    return {
        "claim": f"{page} had visitors .",
        "evidence": EVIDENCE.format(page),
        "label": label,
        "page": page,
        "revision_type": "real",
    } | fields


def folder_of(tmp_path, rows, split="train"):
    base = tmp_path / "data" / "vitaminc"
    base.mkdir(parents=True, exist_ok=True)
    (base / f"{split}.jsonl").write_text(
        "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in rows)
    )
    return tmp_path / "data"


def opened(tmp_path, rows, split="train"):
    return fnli_questions.open_rows(folder_of(tmp_path, rows, split), tmp_path / "cache", split)


def test_rows_are_filtered_as_in_the_original(tmp_path):
    rows = [
        row("Tower 0", "SUPPORTS"),
        row("Tower 1", "SUPPORTS", revision_type="synthetic"),
        row("Tower 2", "REFUTES", evidence="one two three four five six seven eight nine ten"),
        row(
            "Tower 3", "REFUTES", evidence="one two three four five six seven eight nine ten eleven"
        ),
    ]
    kept = opened(tmp_path, rows)
    assert [kept[i].page for i in range(len(kept))] == ["Tower 0", "Tower 3"]
    assert kept[1].source == "train.jsonl:4"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{no json}\n", r"train.jsonl:2: not a line of JSON"),
        (
            {key: value for key, value in row("A", "SUPPORTS").items() if key != "page"},
            r"train.jsonl:2: the field 'page' is missing",
        ),
        (
            row("A", "MAYBE"),
            (
                r"train.jsonl:2: field 'label' is 'MAYBE'; expected one of SUPPORTS, REFUTES, NOT"
                r" ENOUGH INFO"
            ),
        ),
        (
            row("A", "SUPPORTS", claim=" "),
            r"train.jsonl:2: field 'claim': expected a text that is not empty",
        ),
    ],
)
def test_a_malformed_row_is_named(tmp_path, line, message):
    with pytest.raises(DataError, match=message):
        opened(tmp_path, [row("B", "SUPPORTS"), line])


def test_missing_and_empty_splits_are_named(tmp_path):
    with pytest.raises(DataError, match=r"train.jsonl is empty: no row has revision_type 'real'"):
        opened(tmp_path, [row("A", "SUPPORTS", revision_type="synthetic")])
    with pytest.raises(DataError, match=r"has no split 'dev' \(dev.jsonl\); it has train"):
        fnli_questions.open_rows(tmp_path / "data", tmp_path / "cache", "dev")


def texts_of(rows, index, seed=0):
    return fnli_questions.Draw(rows, list).texts(np.array(index), np.random.default_rng(seed))


def test_queries_follow_from_the_evidence(tmp_path):
    pages = ["Ann", "Ben", "Cleo", "Dora", "Ann Lee", "Emil"]
    labels = [*LABELS, "SUPPORTS", "REFUTES", "REFUTES"]
    rows = opened(tmp_path, [row(page, label) for page, label in zip(pages, labels, strict=True)])
    seen = Counter()
    for seed in range(100):
        batch = texts_of(rows, [0, 1, 2, -1], seed)
        assert [edit and (edit.question, edit.answer) for edit in batch.edits] == [
            *((EVIDENCE.format(page), "supported") for page in pages[:3]),
            None,
        ]
        assert [query and query.answer for query in batch.inside] == [
            "supported",
            "refuted",
            None,
            None,
        ]
        assert [query and query.kind for query in batch.inside[:2]] == ["supports", "refutes"]
        assert [query and query.kind for query in batch.outside] == [
            "other_page",
            "other_page",
            "same_page",
            None,
        ]
        assert batch.outside[2].question == rows[2].claim
        assert all(query is None or query.answer == "" for query in batch.outside)
        seen.update(query.question.split(" had")[0] for query in batch.outside[:2])
    assert set(seen) == {
        "Dora",
        "Emil",
    }  # neither a page of the batch nor one whose name contains it
    with pytest.raises(DataError, match=r"found no claim about another page"):
        texts_of(rows, range(6))


def test_labels_are_balanced_and_pages_kept_apart(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.choice(LABELS, 200, p=[0.6, 0.25, 0.15]).tolist()
    pages = [f"page {number}." for number in rng.integers(60, size=200)]
    least = min(Counter(labels).values())
    epochs = [
        fnli_questions.epoch(labels, pages, 5, True, True, np.random.default_rng(seed))
        for seed in (1, 2, 1)
    ]
    assert not np.array_equal(epochs[0], epochs[1])
    assert np.array_equal(epochs[0], epochs[2])
    assert all(epoch.shape == (3 * least // 5, 5) for epoch in epochs)
    everything = fnli_questions.epoch(labels, pages, 7, False, False, rng)
    assert sorted(everything[everything >= 0]) == list(range(200))
    balanced = fnli_questions.epoch(labels, pages, 7, True, False, rng)
    assert set(Counter(labels[row] for row in balanced[balanced >= 0]).values()) == {least}
    for batch in (*epochs[0], *everything, *balanced):
        here = [pages[i] for i in batch if i >= 0]
        assert len(set(here)) == len(here)


def test_rows_of_one_page_wait_for_the_next_batch():
    assert fnli_questions.pack([0, 1, 2, 3, 4], ["a", "ab", "c", "a", "d"], 3).tolist() == [
        [0, 2, 4],
        [1, -1, -1],
        [3, -1, -1],
    ]


FIELDS = {
    "task": "fnli",
    "base.name": str(MODELS / "bert-tiny-uncased"),
    "base.checkpoint": str(MODELS / "FC_model.ckpt"),
    "serac.counterfactual": one_layer("bert-tiny-uncased"),
    "serac.scope": one_layer("distilbert-tiny-cased"),
    "serac.pool": "cls",
    "data.question_tokens": 120,
    "train.edits": 4,
    "train.lr": 1e-3,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("claims")
    for split, count in (("train", 60), ("dev", 31), ("test", 10)):
        folder_of(
            folder,
            [row(f"{split} page {number}.", LABELS[number % 3]) for number in range(count)],
            split,
        )
    return folder / "data"


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    config = config_of(**FIELDS | {"data.dir": str(data)})
    return config, experiment.build(config, tmp_path_factory.mktemp("cache"))


def test_batches_hold_classes_and_contexts_without_an_answer(run):
    _, built = run
    batch = next(iter(built.task.batches("dev", 4, False)))
    base = built.base.tokenizer
    scope = load_tokenizer(MODELS / "distilbert-tiny-cased")
    assert batch.edits.labels.tolist() == [[1]] * 4
    assert batch.inside.labels.tolist() == [[1], [0], [0], [1]]
    assert batch.inside.rows.tolist() == [1, 1, 0, 1]
    assert batch.outside.rows.tolist() == [1] * 4
    kinds = [kind.name for kind in built.task.kinds]
    asked = [kinds[number] for number in batch.outside_kind]
    assert asked == ["other_page", "other_page", "same_page", "other_page"]
    evidence = EVIDENCE.format("dev page 0.").lower()
    prefix = batch.edits.prefix
    assert prefix.ids[0][prefix.mask[0]].tolist() == base(evidence)["input_ids"][:-1]
    assert (
        batch.edits.scope.ids[0][batch.edits.scope.mask[0]].tolist()
        == scope(f"{evidence}[SEP][SEP]")["input_ids"]
    )


def test_an_evaluation_scores_every_balanced_row_once_and_training_never_ends(run):
    _, built = run
    rows = sum(batch.edits.rows.sum() for batch in built.task.batches("dev", 4, False))
    assert rows == 30  # 10 of each label
    assert (
        sum(batch.edits.rows.sum() for batch in built.task.batches("test", 4, False)) == 10
    )  # not balanced
    first, again = (iter(built.task.batches("train", 4, True)) for _ in range(2))
    seen = [next(first).edits.inputs.ids for _ in range(40)]
    assert all(np.array_equal(ids, next(again).edits.inputs.ids) for ids in seen)
    assert not np.array_equal(seen[0], seen[15])  # the second epoch has another order
    state = iter(built.task.batches("train", 4, True))
    for _ in range(17):
        next(state)
    resumed = iter(built.task.batches("train", 4, True))
    resumed.set_state(state.get_state())
    assert np.array_equal(next(resumed).edits.inputs.ids, seen[17])


def test_long_evidence_is_cut_and_keeps_its_separators(run, tmp_path):
    config, built = run
    scope = load_tokenizer(MODELS / "distilbert-tiny-cased")
    long = [
        row(f"page {number}.", LABELS[number % 3], evidence="tower and river " * 100)
        for number in range(12)
    ]
    folder_of(tmp_path, long, "dev")
    with config.unlocked():
        changed = config.copy_and_resolve_references()
    changed.data.dir = str(tmp_path / "data")
    batch = next(
        iter(
            fnli.build(changed, built.base.tokenizer, scope, tmp_path / "cache").batches(
                "dev", 4, False
            )
        )
    )
    assert batch.edits.inputs.mask.sum(-1).tolist() == [120] * 4
    assert batch.edits.inputs.ids[0, -1] == built.base.tokenizer.sep_token_id
    assert batch.edits.scope.ids[0, -3:].tolist() == [scope.sep_token_id] * 3


@pytest.mark.slow
def test_classes_are_scored_and_told_in_words(run):
    """Training lowers the loss; answers before and after are classes, and hard negatives are told
    apart."""
    config, built = run
    optimizer = steps.make_optimizer(config.train, built.editor)
    state = steps.init_state(built.editor, optimizer, built.base_params, 0, built.mesh)
    assert state.params["counterfactual"]["head"]["kernel"].shape == (
        32,
        1,
    )  # drawn at random: a single logit, as the base model's
    step, update = (
        steps.make_train_step(built.editor, state, 1, 0),
        steps.make_update_step(optimizer, state),
    )
    batch = steps.shard_batch(next(iter(built.task.batches("train", 4, True))), built.mesh)
    losses = []
    for _ in range(8):
        state, metrics = step(state, built.base_params, batch)
        state = update(state)
        losses.append(float(metrics["loss"][0]))
    assert losses[-1] < losses[0]

    batch = next(iter(built.task.batches("dev", 4, False)))
    scores, _ = steps.make_eval_step(built.editor, built.base, built.task.score)(
        state.params, built.base_params, batch
    )
    rows = {
        name: int(weight) for name, (_, weight) in steps.total(scores, built.task.kinds).items()
    }
    assert [rows[f"edit_success/{kind}"] for kind in ("supports", "refutes")] == [2, 1]
    assert [rows[f"drawdown/{kind}"] for kind in ("other_page", "same_page")] == [3, 1]
    assert [rows[name] for name in ("edit_success_pooled", "drawdown_pooled")] == [3, 3]
    assert rows["drawdown_near_pooled"] == 1
    answers = jax.device_get(
        steps.make_answer_step(built.editor, built.base)(state.params, built.base_params, batch)
    )
    assert answers["inside_after"].shape == (4, 1)
    assert built.task.score_answers(answers, batch) == {}
    classes = {built.task.words(row) for rows in answers.values() for row in rows}
    assert classes <= set(fnli_questions.CLASSES)


def test_a_base_model_without_a_class_is_refused(data, tmp_path):
    fields = FIELDS | {
        "data.dir": str(data),
        "base.name": str(MODELS / "t5-tiny"),
        "base.checkpoint": "",
    }
    with pytest.raises(
        WeightError,
        match=(
            r"t5-tiny: a classifier is needed here, but a network of model_type 't5' gives a model"
            r" that answers in words"
        ),
    ):
        experiment.build(config_of(**fields), tmp_path)
