"""Edits, their lines, changes, and a memory of this process only."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serac_jax.core.errors import UserError
from serac_jax.edits import records
from serac_jax.edits.changes import apply, difference, inverse, replay
from serac_jax.edits.store import Store

BORN = records.make("When was Bram Stoker born?", "1847", author="Ann", time="2026-01-01")
BOOK = records.make(
    "Who wrote Dracula?",
    "Mary Shelley",
    tags=["books", "a"],
    author="Ann",
    time="2026-01-02T03:04:05+01:00",
)


def test_an_id_depends_on_prompt_answer_and_tags_only():
    assert (
        BOOK.id
        == records.make(
            "Who wrote Dracula?",
            "Mary Shelley",
            tags=["a", "books", "a"],
            author="Bob",
            note="n",
            expires="2030-01-01",
        ).id
    )
    assert (
        len(
            {
                BOOK.id,
                records.make("Who wrote Dracula?", "Mary Shelley").id,
                records.make("Who wrote Dracula?", "Mary", tags=["a", "books"]).id,
            }
        )
        == 3
    )


def test_a_line_is_read_back_and_leaves_out_what_is_empty():
    assert records.parse(records.format(BOOK), "file:2") == BOOK
    line = (
        f'{{"prompt": "When was Bram Stoker born?", "answer": "1847", "id": "{BORN.id}", "author":'
        ' "Ann", "time": "2026-01-01T00:00:00Z"}'
    )
    assert records.format(BORN) == line
    assert BOOK.time == "2026-01-02T02:04:05Z"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "a"}', "file:7: the field 'answer' is missing"),
        (
            '{"prompt": "a", "answer": " "}',
            "file:7: field 'answer' should be a text that is not empty, not ' '",
        ),
        ('{"prompt": "a", "answer": "b", "tag": "c"}', "file:7: unknown field 'tag'"),
        (
            '{"prompt": "a", "answer": "b", "tags": "c"}',
            "file:7: field 'tags' should be a list of texts, not 'c'",
        ),
        (
            '{"prompt": "a", "answer": "b", "expires": "soon"}',
            "file:7: field 'expires' should be a date or time",
        ),
        (
            '{"prompt": "a", "answer": "b", "id": "0123456789abcdef"}',
            "file:7: field 'id' is '0123456789abcdef', but that of this prompt",
        ),
        (
            '{"prompt": "a", "answer": "b", "answer": "c"}',
            "file:7: not a line of JSON .a field is given twice",
        ),
        (
            '{"prompt": "a", "answer": "\\ud800"}',
            "file:7: field 'answer' is not valid UTF-8",
        ),
        ('{"prompt": "a", "ans', "file:7: not a line of JSON"),
        ("[" * 100_000, "file:7: not a line of JSON"),
        ("<<<<<<< HEAD", "file:7: a conflict marker of git"),
        ('"text"', "file:7: expected an object with the fields of an edit, not 'text'"),
    ],
)
def test_a_damaged_line_is_named_with_its_field(line, message):
    with pytest.raises(UserError, match=message):
        records.parse(line, "file:7")


def test_undo_and_redo_take_back_whole_operations():
    store = Store.open(author="Ann")
    store.add([BORN, BOOK])
    store.add(
        [new := store.make("Who wrote Dracula?", "Bram Stoker")],
        replacing=[BOOK.id],
        message="it was he",
    )
    assert list(store.edits) == [BORN.id, new.id]
    assert store.undo().message == "it was he"
    assert list(store.edits.values()) == [BORN, BOOK]
    store.undo()
    assert store.edits == {}
    with pytest.raises(UserError, match="nothing to undo"):
        store.undo()
    assert [store.redo().seq, store.redo().seq] == [1, 2]
    assert list(store.edits) == [BORN.id, new.id]
    with pytest.raises(UserError, match="nothing to redo"):
        store.redo()
    assert [(operation.do, operation.of) for operation in store.log()] == [
        ("redo", 2),
        ("redo", 1),
        ("undo", 1),
        ("undo", 2),
        ("add", 0),
        ("add", 0),
    ]
    assert list(store.as_of(1)) == [BORN.id, BOOK.id]
    assert store.changes_since(1) == ([new], [BOOK.id])
    assert store.changes_since(3) == ([new], [BOOK.id])
    assert store.changes_since(6) == ([], [])


def test_an_edit_that_is_there_changes_nothing_unless_it_says_more():
    store = Store.open(author="Ann")
    store.add([BORN, BOOK])
    assert store.add([BORN._replace(author="Bob", time="2027-01-01T00:00:00Z")]) == (BORN,)
    assert store.seq == 1
    store.add([noted := BORN._replace(note="a note")])
    assert list(store.edits.values()) == [BOOK, noted]
    assert store.changes_since(1) == ([noted], [BORN.id])


NUMBERS = st.lists(st.integers(0, 250), unique=True, max_size=200)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(NUMBERS, NUMBERS)
def test_a_change_makes_the_new_order_of_the_old_and_its_inverse_the_old_again(old, new):
    """Whether few edits change or many."""
    one, other = (
        {str(number): BORN._replace(id=str(number)) for number in numbers} for numbers in (old, new)
    )
    change = difference(one, other)
    assert len(change.removed) <= len(one)
    for before, after, step in ((one, other, change), (other, one, inverse(change))):
        assert list(replay(before.values(), [step])) == list(after)
        assert list(apply(dict(before), step)) == list(after)
        assert list(replay(before.values(), [step, inverse(step), step])) == list(after)
    assert difference(one, dict(one)) == ((), ())


def test_moving_one_edit_is_a_change_of_one_edit():
    old = {str(number): BORN._replace(id=str(number)) for number in range(9)}
    change = difference(old, {key: old[key] for key in "801234567"})
    assert [(at, edit.id) for at, edit in (*change.removed, *change.added)] == [(8, "8"), (0, "8")]


def test_expired_edits_are_kept_but_not_live():
    store = Store.open(author="Ann")
    store.add([BORN, old := BOOK._replace(expires="2026-06-01T00:00:00Z")])
    assert list(store.live("2026-05-31T23:59:59Z")) == [BORN.id, old.id]
    assert list(store.live("2026-06-01T00:00:00Z")) == [BORN.id]
    store.remove([old.id])
    assert store.expired("2027-01-01T00:00:00Z") == set()


def test_an_id_is_found_by_its_beginning():
    store = Store.open(author="Ann")
    store.add([BORN, *(records.make("p", str(number)) for number in range(40))])
    assert store.find(BORN.id[:8]) == BORN
    with pytest.raises(UserError, match="edits have ids that begin with"):
        store.find(BORN.id[:1])
    with pytest.raises(UserError, match="no edit of this memory has an id that begins with 'xyz'"):
        store.find("xyz")
