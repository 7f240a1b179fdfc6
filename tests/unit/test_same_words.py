"""When two texts are the same words, and that their fingerprints say so."""

import pytest

from serac_jax.edits.same_prompt import normal
from serac_jax.text.fingerprint import fingerprint


@pytest.mark.parametrize(
    "text",
    [
        "who wrote dracula",
        "  Who  wrote\tDracula? ",
        "WHO WROTE DRACULA?!",
        "Who wrote “Dracula”?",
        "Who wrote 'Dracula'?",
        '"Who wrote Dracula?"',
        "«Who wrote Dracula»…",
        "Ｗｈｏ wrote Dracula？",
    ],
)
def test_case_blanks_quotes_and_closing_punctuation_do_not_count(text):
    assert normal(text) == "who wrote dracula"
    assert fingerprint(text) == fingerprint("Who wrote Dracula?")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Who wrote Dracula?", "Who wrote Emma?"),
        ("Is it Ann's?", "Is it Anns?"),
        ("What is 1.5?", "What is 15?"),
        ("A-B", "AB"),
    ],
)
def test_other_words_differ(one, other):
    assert normal(one) != normal(other)
    assert fingerprint(one) != fingerprint(other)


def test_apostrophes_are_alike_and_kept_inside_words():
    assert normal("What’s up?") == normal("what's up") == "what's up"


def test_a_prompt_of_punctuation_alone_is_itself():
    assert normal("?!") == "?!" != normal("...")
