"""Merging memories, looking for what is wrong with them, mending them, and the files of others."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serac_jax.core.errors import UserError
from serac_jax.edits import check, exchange, memory_file, merge, records
from serac_jax.edits.disk import journal_of
from serac_jax.edits.same_prompt import conflicts, normal
from serac_jax.edits.store import Store
from tests.strategies import EDITS as ANY_EDIT

BOOK = "Who wrote Dracula?"
X, Y = (
    records.make(BOOK, answer, author="Ann", time=day)
    for answer, day in (("X", "2026-01-01"), ("Y", "2026-01-02"))
)
Z = records.make(BOOK, "Z", author="Bob", time="2026-01-03")
EARLIER = X._replace(author="Bob", time="2025-01-01T00:00:00Z")
OTHER = records.make("When was he born?", "1847", author="Ann", time="2026-01-01")
DAYS, NOTES = st.sampled_from(["2026-01-01", "2026-01-02"]), st.sampled_from(["", "n"])
SMALL = st.builds(
    records.make, st.sampled_from("pqr"), st.sampled_from("abc"), time=DAYS, note=NOTES
)


def by_id(*held):
    return {edit.id: edit for edit in held}


STATES = st.lists(SMALL, max_size=5).map(lambda held: by_id(*held))


@settings(max_examples=200, derandomize=True, deadline=None)
@given(STATES, STATES, STATES)
def test_merging_takes_each_sides_changes(base, ours, theirs):
    def chosen(merged):
        return set(merged.edits.values())

    assert chosen(merge.merge(base, ours, base, merge.newest)) == set(ours.values())
    assert merge.merge(base, base, theirs, merge.newest).clashes == ()
    assert chosen(merge.merge(base, base, theirs, merge.newest)) == set(theirs.values())
    assert chosen(merge.merge(base, ours, ours, merge.newest)) == set(ours.values())
    one, other = (
        merge.merge(base, ours, theirs, merge.newest),
        merge.merge(base, theirs, ours, merge.newest),
    )
    assert chosen(one) == chosen(other)
    assert len(one.clashes) == len(other.clashes)
    assert list(one.edits) == [
        key for key in [*ours, *(key for key in theirs if key not in ours)] if key in one.edits
    ]


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "merged", "clashes"),
    [
        (
            [X],
            [X, OTHER],
            [X, Y._replace(tags=("t",))],
            [X, OTHER, Y._replace(tags=("t",))],
            0,
        ),  # both add
        ([X, OTHER], [OTHER], [X, OTHER], [OTHER], 0),  # one takes out
        ([X], [Y], [Z], [Z], 1),  # both change the answer: the newest
        ([X], [], [Y], [Y], 1),  # one takes it out, the other changes it
        ([], [X], [EARLIER], [EARLIER], 0),  # both make the same: the earlier
        (
            [X],
            [X._replace(note="n")],
            [X, OTHER],
            [X._replace(note="n"), OTHER],
            0,
        ),  # one says more
        (
            [X],
            [X._replace(note="n")],
            [X._replace(note="m")],
            [X._replace(note="n")],
            1,
        ),  # both say more
    ],
)
def test_what_is_a_clash(base, ours, theirs, merged, clashes):
    found = merge.merge(by_id(*base), by_id(*ours), by_id(*theirs), merge.newest)
    assert list(found.edits.values()) == merged
    assert len(found.clashes) == clashes


def test_the_side_with_the_newest_edit_is_taken_however_old_its_others_are():
    clash = merge.Clash((), (X, Z), (Y,))
    assert merge.newest(clash) == (X, Z)
    assert merge.newest(clash._replace(ours=(Y,), theirs=(Z, X))) == (Z, X)
    assert merge.newest(clash._replace(ours=())) == (Y,)


def test_conflicts_are_other_answers_to_the_same_prompt_for_the_same_reader():
    tagged = [
        records.make("Who wrote DRACULA", answer, tags=tags)
        for answer, tags in (("Y", ["a"]), ("Z", ["a", "b"]), ("Q", ["c"]), (" z.", ["b"]))
    ]
    found = conflicts([X, Y, OTHER, *tagged])
    assert [(conflict.old.answer, conflict.new.answer) for conflict in found] == [
        ("X", "Y"),
        ("Y", "Z"),
    ]
    assert normal("  Who　wrote “it” ? ") == normal("who wrote “it”")
    assert normal("?!") == "?!"


@pytest.fixture
def file(tmp_path):
    store = Store.open(tmp_path / "edits.jsonl", "Ann")
    store.add([X, OTHER])
    store.add([records.make("p", "a\n<<<<<<<"), records.make("q", "ü")])
    return tmp_path / "edits.jsonl"


def test_a_sound_memory_has_no_problems(file):
    assert check.problems(file) == []
    assert check.repair(file) == check.Repaired(4, [], None, None)


def test_repair_keeps_all_that_can_be_read(file):
    before = Store.open(file)
    rows = file.read_bytes().split(b"\n")
    by_hand = memory_file.line(Y).replace(b'"Y"', b'"by hand"').rstrip()
    rows[1:3] = [
        rows[1],
        b"<<<<<<< ours",
        rows[2][:-9],
        b"=======",
        by_hand,
        rows[1],
        b"\xff\xfe",
        b">>>>>>> theirs",
    ]
    file.write_bytes(b"\n".join(rows))
    found = {
        problem.line: problem.text.split(":")[0].split(" (")[0] for problem in check.problems(file)
    }
    assert found == {
        3: "a conflict marker of git",
        4: "not a line of JSON",
        5: "a conflict marker of git",
        6: (
            f"field 'id' is '{Y.id}', but that of this prompt, answer and tags is"
            f" {records.edit_id(Y.prompt, 'by hand', ())}"
        ),
        7: f"edit {X.id} is there already; this line does not count",
        8: "not UTF-8 text",
        9: "a conflict marker of git",
    }
    done = check.repair(file, "Ann")
    assert (done.kept, done.restored, done.journal) == (4, [OTHER], None)
    assert done.damaged
    assert (
        done.damaged.read_bytes()
        == b"<<<<<<< ours\n"
        + memory_file.line(OTHER).rstrip()[:-9]
        + b"\n=======\n\xff\xfe\n>>>>>>> theirs\n"
    )
    assert check.problems(file) == []
    store = Store.open(file, "Ann")
    assert [edit.answer for edit in store.edits.values()] == [
        "X",
        "1847",
        "a\n<<<<<<<",
        "ü",
        "by hand",
    ]
    store.undo()
    assert store.edits == before.edits


@pytest.mark.parametrize("data", [None, b"", b"\x00" * 100])
def test_a_file_that_is_gone_comes_back_from_the_journal(file, data):
    edits_before = dict(Store.open(file).edits)
    file.unlink() if data is None else file.write_bytes(data)
    assert [problem.line for problem in check.problems(file)] == [1]
    done = check.repair(file, "Ann")
    assert (done.kept, len(done.restored)) == (0, 4)
    assert Store.open(file).edits == edits_before
    assert len(list(Store.open(file).log())) == 2


@pytest.mark.parametrize("cut", range(0, 400, 7))
def test_a_file_cut_anywhere_is_mended(file, cut):
    edits_before = dict(Store.open(file).edits)
    data = file.read_bytes()
    file.write_bytes(data[: max(len(data) - cut, 0)])
    check.repair(file, "Ann")
    store = Store.open(file, "Ann")
    assert list(store.edits.items()) == list(edits_before.items())[: len(store.edits)]
    assert (
        store.edits == edits_before or next(store.log()).do == "outside"
    )  # whole lines that are gone look like someone's choice
    if store.edits != edits_before:
        store.undo()
    assert store.edits == edits_before


def test_a_damaged_journal_is_cut_to_what_can_be_read(file):
    store = Store.open(file, "Ann")
    store.remove([X.id])
    journal = journal_of(file)
    damaged = journal.read_bytes().replace("ü".encode(), b"u")
    journal.write_bytes(damaged)
    assert [str(problem)[len(str(journal)) :] for problem in check.problems(file)] == [
        ":8: the journal is damaged here, and the history before it cannot be read; `check"
        " --repair` keeps what is newer"
    ]
    done = check.repair(file, "Ann")
    assert done.journal
    assert done.journal.read_bytes() == damaged
    store = Store.open(file, "Ann")
    assert check.problems(file) == []
    assert [(operation.seq, operation.do) for operation in store.log()] == [
        (3, "remove"),
        (2, "start"),
    ]
    store.undo()
    assert X in store.edits.values()
    with pytest.raises(UserError, match="nothing to undo"):
        store.undo()


def test_both_files_damaged_keep_what_either_tells(file):
    damaged = journal_of(file).read_bytes().replace(b"Dracula", b"Dragula")
    journal_of(file).write_bytes(damaged)
    file.write_bytes(file.read_bytes().replace("ü".encode(), b"\xff"))
    done = check.repair(file, "Ann")
    assert (done.kept, [edit.answer for edit in done.restored]) == (3, ["ü"])
    assert {edit.answer for edit in Store.open(file).edits.values()} == {
        "X",
        "1847",
        "a\n<<<<<<<",
        "ü",
    }


def test_another_file_is_not_mended(tmp_path):
    file = tmp_path / "README.md"
    file.write_text("# Title\n")
    with pytest.raises(UserError, match="nothing in it can be read as an edit"):
        check.repair(file)
    assert file.read_text() == "# Title\n"


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
@settings(max_examples=100, derandomize=True, deadline=None)
@given(held=st.lists(ANY_EDIT, max_size=4))
def test_what_is_exported_is_imported_again(kind, held):
    text = "".join(exchange.write(held, kind))
    assert exchange.read(text, kind, "file").edits == held
    assert text.count("\n") == len(held) + 1 or kind == "csv"


def test_rows_of_zsre_are_edits_to_their_own_answer_or_to_the_alternative():
    text = (
        '{"input": "q", "output": [{"answer": "a"}], "alternatives": ["", "b"],'
        ' "filtered_rephrases": []}\n\n{"src": "p", "alt": "c", "answers": ["d"]}\n'
    )
    for alternatives, answers in ((False, ["a", "d"]), (True, ["b", "c"])):
        found = exchange.read(
            text, "jsonl", "folder/rows.jsonl", alternatives=alternatives, author="Ann"
        ).edits
        assert [edit.answer for edit in found] == answers
        assert [(edit.prompt, edit.source, edit.author) for edit in found] == [
            ("q", "rows.jsonl:1", "Ann"),
            ("p", "rows.jsonl:3", "Ann"),
        ]
    again = exchange.read("".join(exchange.write(found, "zsre")), "jsonl", "again").edits
    assert [edit.id for edit in again] == [edit.id for edit in found]


@pytest.mark.parametrize(
    ("text", "kind", "columns"),
    [
        ("question,answer\nq,a\n", "csv", ("question", "answer", ())),
        ("Answer, Question\na,q\n", "csv", ("question", "answer", ())),
        ("prompt,target_new,subject\nq,a,s\n", "csv", ("prompt", "target_new", ("subject",))),
        (
            '[{"prompt": "q", "target_new": "a", "ground_truth": "b", "locality": {}}]',
            "jsonl",
            ("prompt", "target_new", ("ground_truth", "locality")),
        ),
        (
            '{"case_id": 1, "requested_rewrite": {"prompt": "{}", "subject": "q",'
            ' "target_new": {"str": "a"}}}',
            "jsonl",
            ("requested_rewrite.prompt", "requested_rewrite.target_new", ("case_id",)),
        ),
    ],
)
def test_the_columns_of_other_programs_are_known(text, kind, columns):
    found = exchange.read(text, kind, "file")
    assert [(edit.prompt, edit.answer) for edit in found.edits] == [("q", "a")]
    assert list(found.columns) == [columns]


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (
            '{"prompt": "p", "answer": "a"}\n{"prompt": "p"}',
            "jsonl",
            "file:2: no column 'answer'; accepted: prompt or question",
        ),
        (
            '{"question": "p"}',
            "jsonl",
            "file:1: no column 'answer'; accepted: .*for example {.prompt.: .Who wrote Dracula",
        ),
        (
            '{"input": "p", "alternatives": []}',
            "jsonl",
            "file:1: the zsRE row has no answer; expected",
        ),
        (
            '{"input": "p", "output": [1]}',
            "jsonl",
            "file:1: field 'answer' should be a text that is not empty, not 1",
        ),
        (
            "a,b\n1,2",
            "csv",
            "file:1: unknown column 'a'; accepted: .*for example question,answer,tags",
        ),
        ("prompt,answer,tag\n", "csv", "file:1: unknown column 'tag'; accepted: .*tags, note"),
        ("prompt,answer,prompt\n", "csv", "file:1: a column is named twice"),
        ("[1]", "jsonl", "file:row 1: expected an object, not 1"),
        ("[", "jsonl", "file: not a list in JSON"),
        (
            '{"requested_rewrite": {"prompt": 1}}',
            "jsonl",
            "file:1: 'requested_rewrite' should have prompt, subject and target_new.str",
        ),
        ("prompt,answer\n1,2\n3", "csv", "file:3: 1 values, but 2 columns"),
        ('prompt,answer\n1,"2', "csv", "file:2: not CSV"),
        ("prompt,answer\n1,", "csv", "file:2: the field 'answer' is missing"),
        ("prompt,answer,expires\n1,2,soon", "csv", "file:2: field 'expires' should be a date"),
        ("", "csv", "file:1: no column 'answer'; accepted: "),
    ],
)
def test_foreign_files_that_are_wrong_are_told_with_their_line(text, kind, message):
    with pytest.raises(UserError, match=message):
        exchange.read(text, kind, "file")
