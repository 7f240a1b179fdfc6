"""ConvSent: what is drawn from a row, files that are not what they should be, scores, and batches
as a pure function of (seed, split, step)."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from serac_jax import presets
from serac_jax.core.batch import EditBatch, Examples
from serac_jax.models import load_tokenizer
from serac_jax.tasks import sent
from serac_jax.tasks.kinds import names
from serac_jax.tasks.sent import sent_questions
from serac_jax.text.encoder import Encoder
from serac_jax.text.queries import DataError
from tests.conftest import MODELS

ROW = {
    "ent": "Red Bridge",
    "pos": ["I love it.", "It is great!"],
    "neg": ["I hate it.", "It is bad.", "Not for me."],
}
ROWS = [ROW] + [
    {"ent": f"topic {number}", "pos": ["Nice."] * number, "neg": ["Awful."]}
    for number in range(1, 8)
]


def folder_of(tmp_path, rows, split="train"):
    base = tmp_path / "data" / "sentiment"
    base.mkdir(parents=True, exist_ok=True)
    (base / f"blender_{split}.json").write_text(rows if isinstance(rows, str) else json.dumps(rows))
    return tmp_path / "data"


def rows_of(tmp_path, rows):
    opened = sent_questions.open_rows(folder_of(tmp_path, rows), tmp_path / "cache", "train")
    return [opened[i] for i in range(len(opened))]


def tokenizers():
    return [
        load_tokenizer(MODELS / name) for name in ("blenderbot_small-tiny", "distilbert-tiny-cased")
    ]


def task_of(tmp_path, **fields):
    config = presets.preset("sent_rep")
    config.update_from_flattened_dict(
        {
            "data.dir": str(folder_of(tmp_path, ROWS)),
            "data.opinions": 4,
            "data.question_tokens": 32,
            "data.edit_answer_tokens": 16,
        }
        | fields
    )
    return sent.build(config, *tokenizers(), tmp_path / "cache")


def test_rows_need_opinions_of_both_kinds(tmp_path):
    kept = rows_of(tmp_path, [ROW, ROW | {"pos": []}, ROW | {"neg": ["", " "]}])
    assert [row.topic for row in kept] == ["Red Bridge"]
    assert kept[0].negative == tuple(ROW["neg"])
    assert kept[0].source == "blender_train.json: row 1"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("{not json}", r"blender_train.json: not JSON"),
        ({"ent": "x"}, r"blender_train.json: expected a list of .* got dict"),
        (
            [ROW, {"ent": "x", "pos": ["a"]}],
            r"blender_train.json: row 2: the field 'neg' is missing; it has ent, pos",
        ),
        ([ROW, ROW | {"pos": "good"}], r"row 2: field 'pos' should be a list, not str"),
        ([ROW, ROW | {"neg": ["a", 3]}], r"row 2: field 'neg'\[1\]: expected a text, got 3"),
        ([ROW, ROW | {"ent": ""}], r"row 2: field 'ent': expected a text that is not empty"),
        (
            [ROW | {"neg": []}],
            r"blender_train.json is empty: no row has both a positive and a negative opinion",
        ),
    ],
)
def test_a_malformed_row_is_named(tmp_path, rows, message):
    with pytest.raises(DataError, match=message):
        rows_of(tmp_path, rows)


def test_a_missing_split_is_named(tmp_path):
    with pytest.raises(DataError, match=r"has no split 'val' \(blender_val.json\); it has train"):
        sent_questions.open_rows(folder_of(tmp_path, ROWS), tmp_path / "cache", "val")


def test_all_opinions_are_asked_for_and_those_of_the_edit_are_wanted(tmp_path):
    (row,) = rows_of(tmp_path, [ROW])
    rng, seen = np.random.default_rng(0), set()
    for _ in range(100):
        edit = sent_questions.draw_edit(row, rng)
        asked = sent_questions.draw_opinions(row, edit, 20, rng)
        assert edit.question == "Topic: Red Bridge"
        liked = ROW["pos"] if edit.answer == "Sentiment: Positive" else ROW["neg"]
        assert sorted(query.answer for query in asked) == sorted(ROW["pos"] + ROW["neg"])
        assert all(query.wanted == (query.answer in liked) for query in asked)
        seen |= {query.question for query in asked} | {edit.answer}
    assert seen == {question.format("Red Bridge") for question in sent_questions.QUESTIONS} | {
        "Sentiment: Positive",
        "Sentiment: Negative",
    }
    assert len(sent_questions.QUESTIONS) == 13


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_a_part_of_the_opinions_keeps_their_proportion(tmp_path, limit):
    (row,) = rows_of(tmp_path, [ROW])
    rng = np.random.default_rng(0)
    for _ in range(20):
        edit = sent_questions.draw_edit(row, rng)
        asked = sent_questions.draw_opinions(row, edit, limit, rng)
        kind = len(row.positive if edit.answer == "Sentiment: Positive" else row.negative)
        assert len(asked) == len({query.answer for query in asked}) == limit
        assert sum(query.wanted for query in asked) == max(1, round(limit * kind / 5))


def test_topics_out_of_scope_are_not_edited(tmp_path):
    rows = sent_questions.open_rows(
        folder_of(tmp_path, [*ROWS, ROW | {"ent": "red bridge"}]), tmp_path / "cache", "train"
    )
    draw = sent_questions.Draw(
        rows,
        None,
        sent_questions.Options(6),
        Encoder(*tokenizers(), (32,), (16,), kinds=names(sent_questions.KINDS)),
        True,
    )
    for seed in range(30):
        texts = draw.texts(np.arange(4), np.random.default_rng(seed))
        edited = {edit.question.lower() for edit in texts.edits if edit}
        assert not edited & {query.question.lower() for query in texts.outside if query}
        assert len(texts.inside) == 4 * 6
    few = sent_questions.Draw(
        sent_questions.open_rows(folder_of(tmp_path, [ROW]), tmp_path / "cache", "train"),
        None,
        sent_questions.Options(6),
        draw.encode,
        True,
    )
    with pytest.raises(DataError, match=r"found no topic outside the batch's edits in 100 draws"):
        few.texts(np.arange(1), np.random.default_rng(0))


def test_batches_are_padded_cut_and_repeatable(tmp_path):
    task = task_of(tmp_path, **{"data.answer_tokens": 3})
    batch = next(iter(task.batches("train", 2, True)))
    assert batch.inside.labels.shape == (2 * 4, 3)
    assert batch.edit_of.tolist() == [0] * 4 + [1] * 4
    assert batch.inside.weight.max(-1).sum() <= 8
    again = next(iter(task_of(tmp_path, **{"data.answer_tokens": 3}).batches("train", 2, True)))
    assert all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(batch), jax.tree.leaves(again), strict=True)
    )
    rows = list(task.batches("train", 3, False))
    assert sum(batch.edits.rows.sum() for batch in rows) == len(ROWS)
    assert rows[-1].edits.rows.tolist() == [1, 1, 0]
    assert rows[-1].inside.rows[-4:].sum() == 0


def test_hard_negatives_are_topics_near_the_edit(tmp_path):
    fields = {
        "data.hard_negatives": str(MODELS / "bert-tiny-cased"),
        "data.hard_negative_neighbors": 5,
        "data.hard_negative_exclude": 1,
    }
    task = task_of(tmp_path, **fields, **{"data.hard_negative_rate": 1.0})
    kinds = [kind.name for kind in task.kinds]
    assert kinds.index("near") in next(iter(task.batches("train", 2, True))).outside_kind
    both = next(iter(task.batches("train", 2, False)))
    assert both.outside_kind.tolist()[:2] == [kinds.index("unrelated")] * 2
    assert both.outside.labels.shape[0] == 4


def test_scores_are_those_of_each_edit():
    """Against the formulas of Mitchell et al. 2022, section 4.2, written out for two edits."""
    rng = np.random.default_rng(0)
    labels, weight = (
        jnp.asarray(rng.integers(0, 7, (5, 3))),
        jnp.asarray([[1, 1, 0], [1, 0, 0], [1, 1, 1], [1, 1, 0], [0, 0, 0]], jnp.float32),
    )
    blank = Examples(*(None,) * 3, labels=jnp.zeros((2, 3), jnp.int32), weight=jnp.ones((2, 3)))
    of, wanted = jnp.array([0, 0, 1, 1, 1]), jnp.array([True, False, True, False, True])
    batch = EditBatch(
        blank,
        blank._replace(labels=labels, weight=weight),
        of,
        wanted,
        jnp.zeros(5, jnp.int32),
        blank,
        jnp.arange(2),
        jnp.ones(2, jnp.int32),
    )
    before, after = (
        tuple(jnp.asarray(rng.normal(0, 1, (rows, 3, 7)), jnp.float32) for rows in (5, 2))
        for _ in range(2)
    )
    scores = sent_questions.score(before, after, batch)
    logs = [
        np.take_along_axis(
            np.asarray(jax.nn.log_softmax(side[0])), np.asarray(labels)[..., None], -1
        )[..., 0]
        for side in (before, after)
    ]
    for edit, (liked, other) in enumerate(
        [((0, slice(0, 2)), (1, slice(0, 1))), ((2, slice(0, 3)), (3, slice(0, 2)))]
    ):
        sentiment = 1 / (1 + math.exp(logs[1][other].mean() - logs[1][liked].mean()))
        topic = min(1.0, math.exp(logs[1][liked].mean() - logs[0][liked].mean()))
        assert np.isclose(scores["sentiment"].value[edit], sentiment, rtol=1e-5)
        assert np.isclose(scores["edit_success"].value[edit], sentiment * topic, rtol=1e-5)
    assert scores["edit_success"].weight.tolist() == [1, 1]
    unlabelled = batch._replace(inside=batch.inside._replace(weight=weight.at[1].set(0)))
    assert sent_questions.score(before, after, unlabelled)["edit_success"].weight.tolist() == [0, 1]
    assert np.allclose(sent_questions.score(before, before, batch)["drawdown"].value, 0, atol=1e-6)
    assert np.array_equal(sent_questions.score(before, before, batch)["topic"].value, np.ones(2))


def test_opinions_share_questions_in_training_only(tmp_path):
    """Two questions an edit, each before three opinions in a row; evaluation draws one for every
    opinion."""
    rows = sent_questions.open_rows(folder_of(tmp_path, ROWS), tmp_path / "cache", "train")
    encode = Encoder(*tokenizers(), (32,), (16,), kinds=names(sent_questions.KINDS))
    for train, alike in ((True, 3), (False, 1)):
        texts = sent_questions.Draw(rows, None, sent_questions.Options(6, 3), encode, train).texts(
            np.arange(2), np.random.default_rng(0)
        )
        assert texts.alike == alike
        for start in range(0, len(texts.inside), alike):
            assert (
                len({query.question for query in texts.inside[start : start + alike] if query}) <= 1
            )
    with pytest.raises(
        DataError, match=r"data.opinions=4 cannot be divided among data.questions=3"
    ):
        task_of(tmp_path, **{"data.questions": 3})
