"""Facts in the interchange form: what is read and refused, which answers are right, and which
questions count while other edits are held."""

import json
import subprocess
import sys

import pytest

from serac_jax.tasks.facts import fact_rows
from serac_jax.tasks.facts.fact_kinds import BY_NAME
from serac_jax.tasks.facts.fact_rows import Ask, Fact
from serac_jax.tasks.facts.held_facts import HeldSubjects, scored
from serac_jax.text.queries import DataError
from serac_jax.text.squad import normalized, right
from tests.conftest import ROOT

ROW = {
    "prompt": "Who wrote Dracula?",
    "answer": "Mary Shelley",
    "subject": "Dracula",
    "true_answer": "Bram Stoker",
    "asks": [
        {"kind": "rephrase", "question": "Whose book is Dracula?", "answer": None},
        {"kind": "yes_no", "question": "Did Mary Shelley write Dracula?", "answer": "Yes"},
        {"kind": "hop2", "question": "Whose wife wrote Dracula?", "answer": ["Percy", "Shelley"]},
        {"kind": "same_subject", "question": "When did Dracula appear?", "answer": None},
        {"kind": "prompt", "question": "who wrote Dracula", "answer": "Mary Shelley"},
    ],
}


def written(tmp_path, *rows, end="\n"):
    path = tmp_path / "rows.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


def test_a_row_is_read(tmp_path):
    (fact,) = fact_rows.read(path := written(tmp_path, ROW, end="\r\n"))
    assert fact[:4] == ("Who wrote Dracula?", "Mary Shelley", "Dracula", "Bram Stoker")
    assert fact.asks == (
        Ask("rephrase", "Whose book is Dracula?", ("Mary Shelley",)),
        Ask("yes_no", "Did Mary Shelley write Dracula?", ("Yes",)),
        Ask("hop2", "Whose wife wrote Dracula?", ("Percy", "Shelley")),
        Ask("same_subject", "When did Dracula appear?"),
    )
    assert fact.questions[0] == Ask("prompt", "Who wrote Dracula?", ("Mary Shelley",))
    assert fact.source == f"{path}:1"


def test_a_prompt_and_an_answer_are_enough(tmp_path):
    rows = ({"prompt": "a\u2028b", "answer": "c"}, {"prompt": "d", "answer": "e", "note": 1})
    found = fact_rows.read(written(tmp_path, *rows))
    assert [fact[:5] for fact in found] == [
        ("a\u2028b", "c", None, None, ()),
        ("d", "e", None, None, ()),
    ]


def test_what_is_written_is_read_again(tmp_path):
    (fact,) = fact_rows.read(path := written(tmp_path, ROW))
    path.write_text(fact_rows.line_of(fact), encoding="utf-8")
    assert fact_rows.read(path) == [fact]


def asking(**fields):
    return ROW | {"asks": [{"kind": "rephrase", "question": "Whose?", "answer": "x"} | fields]}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{no json}", "not a line of JSON"),
        ('{"prompt": "a", "prompt": "b", "answer": "c"}', "a field is given twice"),
        ('{"prompt": ' + "9" * 5000 + "}", "not a line of JSON"),
        ('{"prompt": 1e999, "answer": "b"}', "field 'prompt' should be a text that is not empty"),
        ("[" * 100_000, "not a line of JSON"),
        ('["a"]', "expected an object with 'prompt' and 'answer', not"),
        ({"prompt": "a"}, "the field 'answer' is missing; it has 'prompt'"),
        ({"prompt": "a", "answer": "b", "asx": []}, "unknown field 'asx'; a fact has prompt,"),
        (ROW | {"subject": 3}, "field 'subject' should be a text"),
        (ROW | {"answer": " "}, "field 'answer' should be a text that is not empty, not ' '"),
        (ROW | {"answer": "\ud800"}, "lone surrogate"),
        (ROW | {"asks": "no"}, "field 'asks' should be a list of questions, not 'no'"),
        (ROW | {"asks": [3]}, r"asks\[0\] should be an object with kind, question, answer"),
        (asking(kind="hop9"), r"asks\[0\]: field 'kind' is 'hop9'; expected one of prompt, reph"),
        (asking(text="?"), r"asks\[0\]: unknown field 'text'"),
        (asking(kind="yes_no", answer=None), r"asks\[0\]: a question of kind 'yes_no' needs an"),
        (asking(answer=["x", ""]), r"asks\[0\]: field 'answer' should be a text"),
        (asking(kind="prompt"), r"asks\[0\]: kind 'prompt' is for the edit's own words"),
    ],
)
def test_what_is_not_a_fact_is_refused_with_file_line_and_field(tmp_path, row, message):
    path = written(tmp_path, ROW, row)
    with pytest.raises(DataError, match=rf"rows.jsonl:2: .*{message}|rows.jsonl:2: {message}") as e:
        fact_rows.read(path)
    assert "\n" not in str(e.value)
    assert len(str(e.value)) < 600


def test_files_that_hold_no_facts_are_refused(tmp_path):
    with pytest.raises(DataError, match="no facts"):
        fact_rows.read(written(tmp_path, " "))
    with pytest.raises(DataError, match=r"cannot read .*No such file"):
        fact_rows.read(tmp_path / "none.jsonl")
    (tmp_path / "rows.jsonl").write_bytes(b'{"prompt": "a", "answer": "b"}\n\xff\n')
    with pytest.raises(DataError, match=r"rows.jsonl:2: not UTF-8"):
        fact_rows.read(tmp_path / "rows.jsonl")


def test_one_edit_a_prompt():
    asks = [Ask("rephrase", f"q{number}", ("x",)) for number in range(3)]
    found = fact_rows.one_a_prompt(
        [
            Fact("Who?", "x", asks=(asks[0],)),
            Fact("who", "X", asks=(asks[1], asks[0])),
            Fact("WHO?", "y", asks=(asks[2],)),
            Fact("Why?", "x"),
        ]
    )
    assert [(fact.prompt, fact.asks) for fact in found.facts] == [
        ("Who?", (asks[0], asks[1])),
        ("Why?", ()),
    ]
    assert (found.joined, found.dropped) == (1, 1)


@pytest.mark.parametrize(
    ("answer", "same"),
    [("The  Pope.", "pope"), ("an apple", "apple"), ("anthem", "anthem"), ("U.S.", "us")],
)
def test_answers_are_compared_as_in_squad(answer, same):
    assert normalized(answer) == normalized(same)
    assert right(answer, ["other", same])
    assert not right(answer, ["other"])


def test_an_answer_of_which_normalisation_leaves_nothing_is_compared_as_it_is():
    assert right("A", ["A"])
    assert not right("", ["A"])
    assert not right("+", ["-"])
    assert not right("anything", [])


HELD = HeldSubjects(
    [
        Fact("p1", "a", "Oslo"),
        Fact("p2", "a", "New York"),
        Fact("p3", "a", "Paris"),
        Fact("p4", "a", "paris"),
        Fact("p5", "a"),
    ]
)


@pytest.mark.parametrize(
    ("subject", "kind", "question", "counts"),
    [
        ("Oslo", "same_subject", "How old is Oslo?", True),
        ("Oslo", "same_relation", "Who rules Toronto?", True),
        ("Oslo", "same_relation", "Who rules New York City?", False),  # another edit's subject
        ("Oslo", "unrelated", "Who wrote the Newer Yorker?", True),  # whole words only
        ("Oslo", "unrelated", "is NEW YORK's mayor tall", False),
        ("Paris", "same_subject", "Is it old?", False),  # two edits on Paris
        ("Paris", "unrelated", "Who wrote Emma?", True),
        ("Paris", "unrelated", "Who rules Paris?", False),
        ("Oslo", "rephrase", "Oslo or New York?", True),  # in scope: always
        (None, "same_relation", "Who rules Oslo?", False),
        (None, "same_relation", "Who rules Rome?", True),
    ],
)
def test_a_question_to_which_another_held_edit_speaks_is_not_scored(
    subject, kind, question, counts
):
    fact = Fact("p1", "a", subject, asks=(ask := Ask(kind, question, ("b",)),))
    assert scored(fact, ask, HELD) == counts


def test_all_kinds_are_there():
    inside = "prompt rephrase alias yes_no reversed implied hop2 hop3 hop4 hop5 hop6".split()
    assert [kind.name for kind in BY_NAME.values() if kind.inside] == inside
    outside = ["same_subject", "same_relation", "unrelated"]
    assert [kind.name for kind in BY_NAME.values() if not kind.inside] == outside


def test_reading_and_converting_import_no_jax():
    code = """if True:
        import sys
        from serac_jax.tasks.facts import convert_facts, fact_rows, held_facts
        print({"jax", "grain", "tensorflow_datasets", "numpy"} & sys.modules.keys())
    """
    command = [sys.executable, "-c", code]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.stdout == "set()\n", process.stderr
