"""The examples of README and docs that ask a model are run as they stand."""

import doctest

import pytest

from tests.doc_blocks import NEEDS_A_MODEL, blocks, run_console, same_output

PYTHON = sorted({block.page for block in blocks("python") if ">>>" in block.text})
CONSOLE = sorted(
    {block.page for block in blocks("console") if any(word in block.text for word in NEEDS_A_MODEL)}
)


@pytest.mark.parametrize("page", PYTHON)
def test_python_prints_what_the_page_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if any(block.page == page for block in blocks("console")):
        run_console(session(page), tmp_path)
    text = "\n\n".join(block.text for block in blocks("python") if block.page == page)
    examples = doctest.DocTestParser().get_examples(text, page)
    found = doctest.DocTestRunner().run(doctest.DocTest(examples, {}, page, page, 0, text))
    assert found.failed == 0 < found.attempted


@pytest.mark.parametrize("page", CONSOLE)
def test_sessions_are_what_happens(page, tmp_path):
    got = run_console(session(page), tmp_path)
    assert same_output(session(page), got), got


def session(page: str) -> str:
    """The console blocks of a page, one session."""
    return "".join(block.text for block in blocks("console") if block.page == page)
