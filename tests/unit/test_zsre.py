"""zsRE: what is drawn from a row, files that are not what they should be, and batches as a pure
function of (seed, split, step)."""

import json
import shutil
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from serac_jax.core.errors import UserError
from serac_jax.evaluation.evaluate import choose_split
from serac_jax.models import load_tokenizer
from serac_jax.tasks import zsre
from serac_jax.tasks.sampling import go_to
from serac_jax.tasks.zsre import zsre_questions, zsre_rows
from serac_jax.text.queries import DataError
from tests.conftest import ASSETS
from tests.tiny import config_of

PLAIN = zsre_questions.Options()
ROW = {
    "input": "Where was Anna born?",
    "prediction": "Oslo",
    "alternatives": ["Rome", "Lima"],
    "filtered_rephrases": ["Where was Anna born?", "What is Anna's birthplace?"],
    "output": [{"answer": "Oslo"}],
}


def folder_of(tmp_path, rows, **files):
    """A data folder with these training rows."""
    base = tmp_path / "data" / "zsre"
    base.mkdir(parents=True, exist_ok=True)
    (base / "structured_zeroshot-train-new_annotated_final.jsonl").write_text(
        "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)
    )
    for name, content in files.items():
        (base / f"{name}_train.{'json' if name == 'impl' else 'txt'}").write_text(content)
    return tmp_path / "data"


def rows_of(tmp_path, rows, options=PLAIN, **files):
    opened, _ = zsre_questions.open_rows(
        folder_of(tmp_path, rows, **files), tmp_path / "cache", "train", options
    )
    return [opened[i] for i in range(len(opened))]


def test_rows_are_filtered_as_in_the_original(tmp_path):
    rows = [
        ROW,
        ROW | {"input": "What gender is Anna?"},
        ROW | {"input": "Where is Essex?", "alternatives": []},
        ROW | {"filtered_rephrases": ["Where was Anna born?"]},
        ROW | {"input": "Is it?", "alternatives": ["", "yes"]},
    ]
    kept = rows_of(tmp_path, rows)
    assert [row.question for row in kept] == ["Where was Anna born?", "Is it?"]
    assert kept[0].rephrasings == ("What is Anna's birthplace?",)
    assert kept[1].alternatives == ("yes",)
    assert kept[0].source.endswith(".jsonl:1")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{not json}\n", r"final.jsonl:2: not a line of JSON"),
        ('{"input": ' + "9" * 5000 + "}\n", r"final.jsonl:2: not a line of JSON"),
        ("[" * 100_000 + "\n", r"final.jsonl:2: not a line of JSON"),
        (ROW | {"input": "half \ud83d"}, r"final.jsonl:2: field 'input': expected a text"),
        (ROW | {"alternatives": ["\udc00"]}, r"field 'alternatives'\[0\]: expected a text"),
        (
            {key: value for key, value in ROW.items() if key != "alternatives"},
            r"final.jsonl:2: the field 'alternatives' is missing",
        ),
        (
            ROW | {"alternatives": "Rome"},
            r"final.jsonl:2: field 'alternatives' should be a list, not str",
        ),
        (
            ROW | {"alternatives": [3]},
            r"final.jsonl:2: field 'alternatives'\[0\]: expected a text, got 3",
        ),
        (ROW | {"output": []}, r"final.jsonl:2: field 'output' is empty"),
        (
            ROW | {"output": [{"label": "x"}]},
            r"final.jsonl:2: field 'output\[0\]': the field 'answer' is missing",
        ),
        (ROW | {"input": " "}, r"final.jsonl:2: field 'input': expected a text that is not empty"),
        (
            ROW | {"hard_negatives": [["only a question"]]},
            r"final.jsonl:2: field 'hard_negatives'\[0\]: expected \[question, answer\]",
        ),
    ],
    ids=range(12),
)
def test_a_malformed_row_is_named(tmp_path, row, message):
    with pytest.raises(DataError, match=message):
        rows_of(tmp_path, [ROW, row])
    assert not list((tmp_path / "cache").rglob("*.array_record*"))  # nothing half-built is left


def test_a_line_that_is_not_utf_8_is_named(tmp_path):
    folder = folder_of(tmp_path, [ROW, ROW], zsre_yn="Is it?\n")
    (file,) = (folder / "zsre").glob("*.jsonl")
    file.write_bytes(file.read_bytes() + b'{"input": "\xff"}\n')
    with pytest.raises(UserError, match=r"final.jsonl:3: not UTF-8"):
        list(zsre_rows.read_rows(file))
    yes_no = folder / "zsre" / "zsre_yn_train.txt"
    yes_no.write_bytes(b"Is it?\n\xc3\x28\n")
    with pytest.raises(UserError, match=r"zsre_yn_train.txt:2: not UTF-8"):
        zsre_rows.read_yes_no(yes_no)


def test_an_empty_split_and_missing_files_are_named(tmp_path):
    with pytest.raises(
        DataError, match=r"train-new_annotated_final.jsonl is empty: no row has both an alternative"
    ):
        rows_of(tmp_path, [ROW | {"alternatives": []}])
    with pytest.raises(DataError, match=r"has no split 'dev' .* it has train"):
        zsre_questions.open_rows(
            tmp_path / "data", tmp_path / "cache", "dev", zsre_questions.Options()
        )
    with pytest.raises(
        DataError, match=r"impl_train.json is missing; it is needed for data.implications"
    ):
        zsre_questions.open_rows(
            folder_of(tmp_path, [ROW]),
            tmp_path / "cache",
            "train",
            zsre_questions.Options(implications=True),
        )
    with pytest.raises(DataError, match=r"nq.train.json is missing"):
        zsre_questions.open_rows(
            tmp_path / "data",
            tmp_path / "cache",
            "train",
            zsre_questions.Options(natural_questions=True),
        )


def test_a_changed_file_is_read_again(tmp_path):
    assert rows_of(tmp_path, [ROW])[0].answer == "Oslo"
    assert rows_of(tmp_path, [ROW | {"output": [{"answer": "Paris now"}]}])[0].answer == "Paris now"


def test_queries_follow_from_the_new_answer(tmp_path):
    options = zsre_questions.Options(implications=True, yes_no=True)
    impl = json.dumps(
        [
            [
                ["Which river flows through oslo?", "the Aker", "x"],
                ["Who is mayor of Bergen?", "nobody", "x"],
            ]
        ]
    )
    (row,) = rows_of(tmp_path, [ROW], options, impl=impl, zsre_yn="Was Anna born in Oslo?\n")
    rng = np.random.default_rng(0)
    seen = {}
    for _ in range(300):
        edit, query = zsre_questions.draw_edit(row, rng, options)
        assert edit.question == row.question
        assert edit.answer in row.alternatives
        seen.setdefault(query.kind, set()).add((query.question, query.answer, edit.answer))
    assert {question for question, _, _ in seen["prompt"]} == {row.question}
    assert {question for question, _, _ in seen["rephrase"]} == set(row.rephrasings)
    assert all(answer == new for _, answer, new in seen["prompt"] | seen["rephrase"])
    assert seen["implied"] == {
        ("Which river flows through Rome?", "the Aker", "Rome"),
        ("Which river flows through Lima?", "the Aker", "Lima"),
    }
    for question, answer, new in seen["yes_no"]:
        prompt, statement = question.split(": ")
        assert f"{prompt}: " in {*zsre_questions.PROMPTS, *map(str.lower, zsre_questions.PROMPTS)}
        assert (f"in {new}?" in statement) == (answer == "True")
        assert answer == "True" or statement != "Was Anna born in Oslo?"


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    base, scope = (load_tokenizer(ASSETS / "models" / name) for name in ("base", "scope"))
    return lambda **fields: zsre.build(
        config_of(**fields), base, scope, tmp_path_factory.getbasetemp() / "cache"
    )


def kind_of(task, number):
    return task().kinds[number].name


def leaves(batch):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(batch)]


def equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(leaves(a), leaves(b), strict=True))


def test_batches_are_a_function_of_seed_split_and_step(task):
    first, again = (iter(task().batches("train", 4, True)) for _ in range(2))
    run = [next(first) for _ in range(6)]
    assert all(equal(batch, next(again)) for batch in run)
    assert not equal(run[0], run[1])
    resumed = iter(task().batches("train", 4, True))
    state = iter(task().batches("train", 4, True))
    for _ in range(3):
        next(state)
    resumed.set_state(state.get_state())
    assert equal(next(resumed), run[3])
    assert not equal(next(iter(task(seed=1).batches("train", 4, True))), run[0])


@pytest.mark.slow
def test_worker_processes_prepare_the_same_batches(task):
    alone = iter(task().batches("train", 4, True))
    helped = iter(task(**{"data.workers": 2}).batches("train", 4, True))
    assert all(equal(next(alone), next(helped)) for _ in range(4))


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_workers(task):
    """Checkpoints keep the state of the iterator, which depends on that number."""

    def begin(workers):
        return iter(task(**{"data.workers": workers}).batches("train", 4, True))

    states = {}
    for workers in (0, 2, 3):
        data = begin(workers)
        for _ in range(5):
            next(data)
        states[workers], following = data.get_state(), next(data)
    for before, now in ((0, 2), (2, 3), (3, 0), (0, 0)):
        data = begin(now)
        go_to(data, states[before], 5)
        assert data.get_state() == states[now]
        assert equal(next(data), following)


def test_an_evaluation_scores_every_row_once(task):
    batches = list(task().batches("dev", 50, False))
    rows = len(
        (ASSETS / "data/zsre/structured_zeroshot-dev-new_annotated_final.jsonl")
        .read_text()
        .splitlines()
    )
    assert sum(batch.edits.rows.sum() for batch in batches) == rows
    assert (
        len(
            {
                tuple(row)
                for batch in batches
                for row in batch.edits.inputs.ids[batch.edits.rows > 0]
            }
        )
        == rows
    )
    assert all(batch.edits.labels.shape[0] == 50 for batch in batches)
    last = batches[-1]
    assert last.outside.rows[: int(last.edits.rows.sum())].all()
    assert not last.inside.rows[int(last.edits.rows.sum()) :].any()


def test_queries_out_of_scope_are_about_other_rows(task):
    """No out-of-scope question is one of the edited questions or their rephrasings."""
    rows = [
        json.loads(line)
        for line in (
            (ASSETS / "data/zsre/structured_zeroshot-train-new_annotated_final.jsonl")
            .read_text()
            .splitlines()
        )
    ]
    forms = {row["input"]: {row["input"], *row["filtered_rephrases"]} for row in rows}
    tokenizer = load_tokenizer(ASSETS / "models" / "base")
    batches = iter(task().batches("train", 32, True))
    for _ in range(5):
        batch = next(batches)
        edited, asked = (
            tokenizer.batch_decode(side.inputs.ids, skip_special_tokens=True)
            for side in (batch.edits, batch.outside)
        )
        assert not set(asked) & set().union(*(forms[text] for text in edited))


def test_hard_negatives_are_marked_and_belong_to_their_edit(task):
    batch = next(iter(task().batches("dev", 4, False)))
    near = [kind_of(task, number) for number in batch.outside_kind]
    assert near[:4] == ["unrelated"] * 4
    assert set(near[4:]) == {"same_subject", "same_relation"}
    assert batch.outside_of.tolist() == [0, 1, 2, 3] * 2
    hard = next(iter(task(**{"data.hard_negative_rate": 1.0}).batches("train", 4, True)))
    assert {kind_of(task, number) for number in hard.outside_kind} <= {
        "same_subject",
        "same_relation",
    }


def test_hard_negatives_about_the_same_subject_name_it():
    """By the subjects that the shipped rows carry."""
    folder = ASSETS / "data" / "zsre"
    rows = list(zsre_rows.read_rows(folder / zsre_rows.ROWS.format("dev")))
    lines = (folder / zsre_rows.ROWS.format("dev")).read_text().split("\n")
    for row, line in zip(rows, lines, strict=False):
        subject = json.loads(line)["subject"].lower()
        for negative in row["hard_negatives"]:
            named = subject in negative["question"].lower()
            assert negative["kind"] == ("same_subject" if named else "same_relation")


def test_natural_questions_are_an_out_of_scope_pool(task, tmp_path):
    data = shutil.copytree(ASSETS / "data", tmp_path / "data")
    (data / "nq").mkdir()
    (data / "nq" / "train.json").write_text(
        json.dumps({"questions": ["Who sang it?", "When was it?"], "answers": ["Elvis", "1969"]})
    )
    batch = next(
        iter(
            task(**{"data.dir": str(data), "data.natural_questions": True}).batches(
                "train", 4, True
            )
        )
    )
    asked = load_tokenizer(ASSETS / "models" / "base").batch_decode(
        batch.outside.inputs.ids, skip_special_tokens=True
    )
    assert set(asked) <= {"Who sang it?", "When was it?"}
    (data / "nq" / "train.json").write_text(
        json.dumps({"questions": ["Who sang it?"], "answers": []})
    )
    with pytest.raises(DataError, match=r"train.json: 1 questions but 0 answers"):
        task(**{"data.dir": str(data), "data.natural_questions": True}).batches("train", 4, True)


def test_too_few_rows_for_a_batch_is_an_error(task):
    with pytest.raises(
        UserError,
        match=r"split 'train' has \d+ usable rows, fewer than the 100000 edits of a batch",
    ):
        task().batches("train", 100_000, True)


def test_a_split_without_rows_to_ask_about_is_named(task):
    rows = task().needs("dev").rows
    with pytest.raises(
        UserError,
        match=rf"split 'dev' has {rows} usable rows, none of them left .*; lower eval.edits",
    ):
        task().batches("dev", rows, False)
    assert list(task().batches("dev", rows // 2, False))


def test_lines_of_yes_no_questions_end_at_line_feeds_only(tmp_path):
    """U+2028 and form feeds stand in real texts; splitting at them would shift all later rows."""
    text = "Is\u2028it?\n\nWas\x0cit?\n"
    (row, _, last) = rows_of(tmp_path, [ROW] * 3, zsre_questions.Options(yes_no=True), zsre_yn=text)
    assert (row.yes_no, last.yes_no) == ("Is\u2028it?", "Was\x0cit?")


def test_a_split_that_the_data_lack_is_replaced_unless_it_was_asked_for(task):
    run = SimpleNamespace(task=task()._replace(splits=lambda: ["train", "dev"]))
    config = config_of(**{"eval.split": "test", "data.val_split": "dev"})
    assert choose_split(run, config, asked=True) == ("test", "")
    split, note = choose_split(run, config, asked=False)
    assert split == "dev"
    assert "no split 'test'; 'dev' is evaluated instead" in note
    assert choose_split(SimpleNamespace(task=task()), config, asked=False) == ("test", "")


def test_a_missing_folder_names_the_archive(task):
    with pytest.raises(DataError, match=r"data.dir='nowhere' is not a folder; .*drive.google.com"):
        task(**{"data.dir": "nowhere"}).batches("train", 4, True)


def test_no_network_is_one_clear_error(task, tmp_path, monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(
        DataError,
        match=(
            r"could not download the data from https://drive.google.com/.*--config.data.dir=FOLDER"
        ),
    ):
        task(**{"data.dir": ""}).batches("train", 4, True)
