"""A command as a base model: its answer, and every way in which it gives none."""

import time

import pytest

from serac_jax.cli.base_command import BaseCommand
from serac_jax.core.errors import UserError


def test_a_command_reads_the_question_and_prints_the_answer():
    assert BaseCommand("tr a-z A-Z")("über 'all'; $(x)\n?") == "üBER 'ALL'; $(X)\n?"
    assert BaseCommand("true")("x" * 1_000_000) == ""  # which need not be read
    assert len(BaseCommand("cat")("x" * 300_000)) == 300_000
    assert BaseCommand("head -c 200000 /dev/zero | tr '\\0' e >&2; echo a")("?") == "a"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("echo no >&2; exit 3", "ended with status 3: no"),
        ("exit 3", "ended with status 3: it said nothing"),
        ("kill -9 $$", "ended with status -9"),
        ("nosuchcommand", "ended with status 127: .*not found"),
        (r"printf '\377'", "printed what is not UTF-8 .invalid start byte"),
        ("yes", "printed more than 1 MiB"),
        ("yes >&2", "printed more than 1 MiB"),
        ("sleep 60", "gave no answer within 0.2 seconds; --base-timeout changes that"),
        ("sleep 60 & sleep 60", "gave no answer within 0.2 seconds"),
        ("sleep 60 &", "gave no answer within 0.2 seconds"),
        ("exec >&- 2>&-; sleep 60", "gave no answer within 0.2 seconds"),
    ],
)
def test_what_is_no_answer_is_one_error_in_time(command, message):
    begun = time.monotonic()
    patience = 0.2 if "sleep" in command else 30.0
    with pytest.raises(UserError, match=f"^--base-command {message}"):
        BaseCommand(command, patience)("?")
    assert time.monotonic() - begun < 10


def test_what_a_command_started_ends_with_it(tmp_path):
    mark = tmp_path / "mark"
    with pytest.raises(UserError, match="no answer"):
        BaseCommand(f"(sleep 1; touch {mark}) & wait", 0.2)("?")
    time.sleep(1.5)
    assert not mark.exists()
