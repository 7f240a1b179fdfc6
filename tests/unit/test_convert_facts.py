"""Rows in the shapes of public files, and the facts that they become."""

import json
from collections import Counter

import pytest

from serac_jax.cli import main as shell
from serac_jax.core.errors import UserError
from serac_jax.tasks.facts import fact_rows
from serac_jax.tasks.facts.convert_facts import convert
from tests.published_rows import ARCHIVE, ROWS

FACTS = {
    "zsre": (
        ("Who painted the Mona Lisa?", "Frida Kahlo", "Mona Lisa", "Leonardo da Vinci"),
        [
            ("rephrase", "Whose painting is the Mona Lisa?", ("Frida Kahlo",)),
            ("unrelated", "who wrote emma", ("Jane Austen",)),
            ("hop2", "In which country was the painter of the Mona Lisa born?", ("Mexico",)),
        ],
    ),
    "counterfact": (
        ("The mother tongue of Zola is", "Welsh", "Zola", "French"),
        [
            ("rephrase", "It rained. Zola, a native", ("Welsh",)),
            ("rephrase", "Zola spoke the language", ("Welsh",)),
            ("same_relation", "The mother tongue of Sartre is", ("French",)),
        ],
    ),
    "mquake": (
        ("Picasso is a citizen of", "Chile", "Picasso", "Spain"),
        [
            ("rephrase", "What is the country of citizenship of Picasso?", ("Chile",)),
            (
                "hop2",
                "What is the capital of Picasso's country?",
                ("Santiago", "Santiago de Chile"),
            ),
            ("hop2", "Which capital has it?", ("Santiago", "Santiago de Chile")),
        ],
    ),
    "knowedit": (
        ("The country of Lima is", "Chile", "Lima", "Peru"),
        [
            ("same_subject", "Lima's mayor is", ()),
            ("hop2", "Its capital is", ("Santiago", "SCL")),
            ("alias", "Ciudad de los Reyes is in", ("Chile",)),
            ("implied", "Is it Peru?", ("no", "n")),
        ],
    ),
    "qaedit": (
        ("who sang thriller", "Prince", "thriller", None),
        [
            ("rephrase", "Which singer recorded Thriller?", ("Prince",)),
            ("unrelated", "who wrote emma", ("Jane Austen",)),
        ],
    ),
    "hallueditbench": (
        ("Who made the Thinker?", "Rodin", "Thinker", "Rodin"),
        [
            ("rephrase", "Whose work is the Thinker?", ("Rodin",)),
            ("yes_no", "Is Rodin the maker of the Thinker?", ("Yes",)),
            ("yes_no", "Is Picasso the maker of the Thinker?", ("No",)),
            ("reversed", "What did Rodin make?", ("Thinker",)),
            ("same_subject", "Where is the Thinker?", ()),
            *((f"hop{hops}", f"Hop {hops}?", (f"answer {hops}",)) for hops in range(2, 7)),
        ],
    ),
    "easyedit": (
        ("Lima is the capital of", "Chile", "Lima", "Peru"),
        [
            ("rephrase", "Lima is where the government sits of", ("Chile",)),
            ("unrelated", "Rome is the capital of", ("Italy",)),
            ("same_relation", "Oslo is the capital of", ("Norway",)),
            ("hop2", "Lima's people speak", ("Spanish",)),
        ],
    ),
}
LEFT_OUT = {
    "knowedit": {"questions of Forgetfulness": 1},
    "easyedit": {"questions of distracting": 1},
}


def written(tmp_path, *rows, name="file.json"):
    path = tmp_path / name
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ROWS)
def test_a_row_becomes_a_fact(tmp_path, name):
    found = convert([written(tmp_path, ROWS[name])], name)
    (fact,), (first, asks) = found.facts, FACTS[name]
    assert (fact[:4], list(map(tuple, fact.asks))) == (first, asks)
    assert (found.rows, found.left_out) == ({name: 1}, LEFT_OUT.get(name, {}))


@pytest.mark.parametrize("name", sorted(ROWS.keys() - {"easyedit"}))
def test_the_data_set_is_found_by_its_fields(tmp_path, name):
    assert convert([written(tmp_path, ROWS[name])]).rows == {name: 1}


FLAT = {
    "case_id": 0,
    "prompt": "Sade speaks",
    "target_new": "Dutch",
    "subject": "Sade",
    "ground_truth": "English",
    "rephrase_prompt": "The language of Sade is",
    "locality_prompt": "Bach speaks",
    "locality_ground_truth": "German",
}


@pytest.mark.parametrize("row", [ROWS["easyedit"], FLAT, {"a": 1}])
def test_fields_that_several_data_sets_have_need_a_name(tmp_path, row):
    with pytest.raises(UserError, match=r"file.json:row 1: .* name it with --from, one of zsre"):
        convert([written(tmp_path, row)])


@pytest.mark.parametrize(
    ("name", "kind"), [("counterfact", "same_relation"), ("easyedit", "unrelated")]
)
def test_what_a_flat_rows_locality_is_depends_on_the_data_set(tmp_path, name, kind):
    (fact,) = convert([written(tmp_path, FLAT)], name).facts
    assert [ask.kind for ask in fact.asks] == ["rephrase", kind]


def test_rows_of_the_originals_archive(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = (ARCHIVE, ARCHIVE | {"input": "Who sold it?", "alternatives": []})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = convert([path])
    (fact,) = found.facts
    assert fact[:4] == ("Who made it?", "Ann", None, "Cy")
    assert list(map(tuple, fact.asks)) == [
        ("rephrase", "By whom was it made?", ("Ann",)),
        ("same_subject", "When was it made?", ("1900",)),
        ("same_relation", "Who made that?", ("Di",)),
    ]
    assert found.left_out == Counter(
        {"hard negatives that do not say what differs": 2, "rows without a new answer": 1}
    )


def test_questions_of_a_case_of_several_edits_are_left_out(tmp_path):
    row = ROWS["mquake"]
    second = row["requested_rewrite"][0] | {"subject": "Dali"}
    both = row | {"requested_rewrite": [*row["requested_rewrite"], second]}
    found = convert([written(tmp_path, both)])
    assert [fact.prompt for fact in found.facts] == [
        "Picasso is a citizen of",
        "Dali is a citizen of",
    ]
    assert {ask.kind for fact in found.facts for ask in fact.asks} == {"rephrase"}
    assert found.left_out == {"questions of a case of several edits": 2}


def test_csv_files_are_read(tmp_path):
    row = ROWS["hallueditbench"]
    path = tmp_path / "art.csv"
    path.write_text(",".join(row) + "\n" + ",".join(f'"{value}"' for value in row.values()) + "\n")
    assert convert([path]).facts[0][:4] == FACTS["hallueditbench"][0]
    path.write_text(",".join(row) + "\nshort\n")
    with pytest.raises(UserError, match=r"art.csv:2: expected 23 values"):
        convert([path])


def damaged(value):
    """Copies of a row in which one field, wherever it is, is missing or has another value."""
    places = value.items() if isinstance(value, dict) else enumerate(value)
    for key, old in list(places):
        copy = dict if isinstance(value, dict) else list
        others = [None, 5, "", [], {}]
        if isinstance(old, dict | list):
            others += damaged(old)
        for other in others:
            changed = copy(value)
            changed[key] = other
            yield changed
        del (less := copy(value))[key]
        yield less


@pytest.mark.parametrize(("name", "row"), [*ROWS.items(), ("zsre", ARCHIVE), ("counterfact", FLAT)])
def test_a_row_with_any_field_damaged_is_read_or_named(tmp_path, name, row):
    path, refused = tmp_path / "file.json", list[str]()
    for changed in damaged(row):
        path.write_text(json.dumps([changed]))
        try:
            facts = convert([path], name).facts
        except UserError as error:
            refused.append(str(error))
            continue
        for fact in facts:  # what is written can be read
            assert fact_rows.parse(fact_rows.line_of(fact), "line")[:4] == fact[:4]
    assert refused
    assert all(one.startswith(f"{path}:row 1") and "\n" not in one for one in refused)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("zsre", {"src": None}, r"row 1: the field 'src' is missing or empty"),
        (
            "counterfact",
            {"requested_rewrite": {}},
            r"row 1: field 'requested_rewrite' should have prompt",
        ),
        ("counterfact", {"paraphrase_prompts": "\ud800"}, r"row 1: a text is not valid UTF-8"),
        ("mquake", {"requested_rewrite": None}, r"row 1: the field 'requested_rewrite' is missing"),
        (
            "mquake",
            {"requested_rewrite": [{}]},
            r"row 1: requested_rewrite\[0\] should have prompt",
        ),
        ("mquake", {"new_single_hops": 5}, r"row 1: field 'new_single_hops' should be a list"),
        ("knowedit", {"target_new": {"str": "x"}}, r"row 1: expected a text or a list of texts"),
        ("knowedit", {"locality": 3}, r"row 1: field 'locality' should be an object, not 3"),
        ("easyedit", {"locality": {"neighborhood": ["x"]}}, r"locality.neighborhood should have"),
        ("qaedit", {"locality": ["x"]}, r"field 'locality' should be a list of objects"),
    ],
)
def test_malformed_rows_are_named(tmp_path, name, change, message):
    path = written(tmp_path, ROWS[name] | change)
    with pytest.raises(UserError, match=message):
        convert([path], name)


def test_the_command_says_what_became_of_the_rows(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    row = ROWS["counterfact"]
    edit = row["requested_rewrite"] | {"target_new": {"str": "Latin", "id": "Q3"}}
    path = written(tmp_path, row, row | {"requested_rewrite": edit})
    assert shell.main(["convert", str(path), "--out=rows.jsonl"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "2 rows of counterfact → 1 fact in rows.jsonl",
        "questions besides the prompts: 2 rephrase, 1 same_relation",
        "left out: 1 facts with the prompt of an earlier one and another answer",
    ]
    assert fact_rows.read("rows.jsonl")[0][:4] == FACTS["counterfact"][0]
    assert shell.main(["convert", str(path), "--out=rows.jsonl"]) == 1
    assert "already exists" in capsys.readouterr().err
    assert shell.main(["convert", str(path), "--out=more.jsonl", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "facts": 1,
        "rows": {"counterfact": 2},
        "questions": {"rephrase": 2, "same_relation": 1},
        "left_out": {"facts with the prompt of an earlier one and another answer": 1},
    }


def test_the_rows_of_training_and_of_a_test_are_written_to_a_folder(tmp_path, capsys, monkeypatch):
    """Of the shipped world, of a folder of public files, and into a folder that is there."""
    monkeypatch.chdir(tmp_path)
    assert shell.main(["facts", "mini", "--split=dev", "--out=rows"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "120 facts in rows/world-dev.jsonl"
    assert len(fact_rows.read("rows/world-dev.jsonl")) == 120
    place = tmp_path / "public" / "counterfact" / "counterfact-train.json"
    place.parent.mkdir(parents=True)
    row = ROWS["counterfact"]
    subjects = [row["requested_rewrite"] | {"subject": f"Zola {number}"} for number in range(40)]
    place.write_text(json.dumps([row | {"requested_rewrite": subject} for subject in subjects]))
    for split in ("train", "dev"):
        assert shell.main(["facts", "public", f"--split={split}", "--out=rows"]) == 0
    written = {path.name for path in (tmp_path / "rows").iterdir()}
    assert {"world-train.jsonl", "world-dev.jsonl", "world_kinds-dev.jsonl"} < written
    assert {"counterfact-train.jsonl", "counterfact-dev.jsonl"} < written
    assert shell.main(["facts", "rows", "--out=rows"]) == 1
    assert "rows has none of zsre/" in capsys.readouterr().err
    alone = tmp_path / "alone" / "counterfact" / place.name
    alone.parent.mkdir(parents=True)
    alone.write_text(json.dumps([row | {"requested_rewrite": subjects[0]}]))
    codes = [
        shell.main(["facts", "alone", f"--split={split}", "--out=one"])
        for split in ("train", "dev", "test")
    ]
    assert sorted(codes) == [0, 1, 1]
    refused = f"no fact of counterfact/{place.name} in alone is in the split"
    assert capsys.readouterr().err.count(refused) == 2
