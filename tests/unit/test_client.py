"""The client of a server, in Python and in the shell, against a real app in this process."""

import json
import os
import re
import subprocess
import sys
import warnings
from contextlib import contextmanager
from io import StringIO

import httpx
import pytest
from starlette.testclient import TestClient
from structlog.testing import capture_logs

import serac_jax
from serac_jax.cli import main as shell
from serac_jax.client import remote_editor
from serac_jax.core.errors import UserError
from serac_jax.edits import records
from serac_jax.edits.store import Store
from serac_jax.server.tenants import make_key
from serac_jax.serving.insert import ContradictionRefused
from tests.conftest import ROOT
from tests.facts import EDITS, REWORDED
from tests.servers import HERE, repeating_editor, serving
from tests.threads import Repeating

(PROMPT, ANSWER), UNRELATED = EDITS[0], "What is the capital of France?"


@pytest.fixture(scope="module")
def loaded():
    return repeating_editor()


class Through(httpx.BaseTransport):
    """Takes the requests of a client to the app of another."""

    def __init__(self, client: TestClient):
        self.client = client

    def handle_request(self, request):
        found = self.client.request(
            request.method, str(request.url), content=request.read(), headers=request.headers
        )
        return httpx.Response(found.status_code, headers=found.headers, content=found.content)


@contextmanager
def connected(loaded, key=None, **settings):
    with serving(loaded, **settings) as client:
        yield serac_jax.connect(HERE, key, transport=Through(client))


@pytest.fixture
def editor(loaded):
    with connected(loaded) as found:
        yield found


def test_a_remote_editor_answers_and_edits_as_a_local_one(editor, loaded):
    local = loaded.with_memory(Store.open(author="tester"))
    for each in (editor, local):
        each.edit(PROMPT, ANSWER, tags=["books"], note="a note")
    for question in (PROMPT, REWORDED, UNRELATED):
        here, there = local.ask(question), editor.ask(question)
        assert there.as_fields() | {"nearest": None} == here.as_fields() | {"nearest": None}
        assert there.nearest.edit._replace(time="") == here.nearest.edit._replace(time="")
        assert there.base_text == here.base_text
        assert str(editor.why(question)) == str(local.why(question))
    several = editor.ask([PROMPT, UNRELATED, PROMPT], ["books", None, ("films",)])
    assert [bool(answer.edit_id) for answer in several] == [True, False, False]


class Recalling(Repeating):
    """A base model that says what it was told before, and how much it may say."""

    def __call__(self, questions, histories=None, limit=None):
        return [f"{list(map(list, history))} {limit}" for history in histories]

    def input_of(self, edit, question, history=()):
        return f"{list(map(list, history))}"


def test_earlier_turns_and_limits_reach_the_model():
    local = repeating_editor()
    local.base = local.reader = Recalling()
    talks = [[("Who?", "Ann")], [], [("Who?", "Ann"), ("When?", "")]]
    with connected(local) as editor:
        assert editor.reads_history == local.reads_history
        for talk in talks:
            here = local.ask(UNRELATED, history=talk, max_tokens=5)
            there = editor.ask(UNRELATED, history=talk, max_tokens=5)
            assert here.text == there.text == f"{list(map(list, talk))} 5"
        several = editor.ask([UNRELATED] * 3, history=talks)
        assert [answer.text for answer in several] == [
            f"{list(map(list, talk))} None" for talk in talks
        ]
        for each in (editor, local):
            each.edit(PROMPT, ANSWER)
        assert str(editor.why(PROMPT, history=talks[0])) == str(local.why(PROMPT, history=talks[0]))
        with pytest.raises(UserError, match="2 histories for 3 questions"):
            editor.ask([UNRELATED] * 3, history=talks[:2])


def test_the_history_and_the_states_of_a_server_read_as_those_of_a_store(editor):
    first = editor.edit(PROMPT, ANSWER)
    second = editor.edit(UNRELATED, "Lyon", expires="2001-01-01")
    memory = editor.memory
    assert memory.edits == {first.id: first, second.id: second}
    assert list(memory.live()) == [first.id]
    assert memory.find(first.id[:6]) == memory.held(first.id) == first
    assert memory.held("nothing") is None
    assert memory.as_of(1) == {first.id: first}
    assert editor.undo().change.added == ((0, second),)
    assert editor.redo().seq == 2
    assert [(one.seq, one.do, one.of) for one in memory.log()] == [
        (4, "redo", 2),
        (3, "undo", 2),
        (2, "add", 0),
        (1, "add", 0),
    ]
    assert memory.seq == 4
    assert memory.remove([first.id, second.id], message="both") == (first, second)
    assert next(memory.log()).message == "both"
    with pytest.raises(UserError, match="no edit of this memory has an id"):
        memory.find("abc")


def test_a_long_log_comes_in_pages(editor, monkeypatch):
    edits = [(f"Who is number {number}?", str(number)) for number in range(7)]
    for edit in edits:
        editor.edit_many([edit], policy="keep")
    monkeypatch.setattr("serac_jax.client.remote_store.FEW", 2)
    monkeypatch.setattr("serac_jax.client.remote_store.MOST", 3)
    assert [one.seq for one in editor.memory.log()] == [7, 6, 5, 4, 3, 2, 1]
    assert [one.seq for one in editor.memory.log(until=3)] == [3, 2, 1]


def test_contradictions_are_settled_by_the_policy(editor):
    old = editor.edit(PROMPT, ANSWER)
    with pytest.raises(ContradictionRefused, match="contradicts") as refused:
        editor.edit(PROMPT, "Bram Stoker", policy="refuse")
    assert [one.old for one in refused.value.conflicts] == [old]
    assert list(editor.memory.edits) == [old.id]
    done = editor.edit_many([(PROMPT, "Bram Stoker")])  # the newest of the same words stands
    assert done.replaced == (old,)
    assert [edit.answer for edit in editor.memory.edits.values()] == ["Bram Stoker"]
    asked = []
    done = editor.edit_many(
        [(PROMPT, "Ann Radcliffe")], policy=lambda conflict: asked.append(conflict) or "newest"
    )
    assert [one.old.answer for one in asked] == ["Bram Stoker"]
    assert [edit.answer for edit in done.replaced] == ["Bram Stoker"]
    with pytest.raises(UserError, match="is at operation"):
        editor.edit_many([(PROMPT, "Ann Radcliffe")], policy="newest", at=1)
    both = [(UNRELATED, "Lyon"), (REWORDED, "Ann Radcliffe")]
    assert [edit.answer for edit in editor.edit_many(both).edits] == ["Lyon", "Ann Radcliffe"]


def test_contradictions_in_other_words_are_kept_and_told(editor):
    old = editor.edit(PROMPT, ANSWER)
    with pytest.warns(UserWarning, match="both were kept"):
        editor.edit(REWORDED, "Bram Stoker")
    (found,) = editor.conflicts()
    assert (found.kind, found.old) == ("contradiction", old)
    draft = records.make(REWORDED, "Ann Radcliffe")
    assert {one.old.answer for one in editor.conflicts_of([draft])} == {ANSWER, "Bram Stoker"}


def test_a_draft_is_tried_and_a_false_hit_reported(loaded, tmp_path):
    with connected(loaded, reports=str(tmp_path / "reports")) as editor:
        tried = editor.try_edit(REWORDED, PROMPT, ANSWER)
        assert (tried["would_answer"], tried["text"]) == (True, ANSWER)
        assert tried["now"]["edit_id"] is None
        assert editor.memory.edits == {}
        editor.report(UNRELATED, editor.edit(PROMPT, ANSWER).id)
    assert json.loads((tmp_path / "reports").read_text())["outside"] == [UNRELATED]


def test_what_is_served_and_to_whom(loaded, tmp_path):
    key = make_key(tmp_path / "keys", "ann", ["books"], False)
    with connected(loaded, key, api_keys=str(tmp_path / "keys")) as editor:
        about = editor.about
        assert (about["name"], about["tags"], about["may_edit"]) == ("ann", ["books"], False)
        assert editor.calibrated
        with pytest.raises(UserError, match="this key may ask, but not change edits"):
            editor.edit(PROMPT, ANSWER)
        with pytest.raises(UserError, match="does not see edits with the tag 'films'"):
            editor.ask(PROMPT, "films")
    with (
        connected(loaded, "sk-serac-no", api_keys=str(tmp_path / "keys")) as editor,
        pytest.raises(UserError, match="an API key of this server is needed; give it as api_key"),
    ):
        editor.ask(PROMPT)


def answering(status, content=b"", **headers):
    """A client of something that answers all requests alike."""
    response = httpx.Response(status, content=content, headers=headers)
    return serac_jax.connect(HERE, transport=httpx.MockTransport(lambda request: response))


def problem(**fields):
    return json.dumps({"error": {"message": "no\nmore", "code": None} | fields}).encode()


@pytest.mark.parametrize(
    ("status", "content", "headers", "expected"),
    [
        (413, problem(message="a body may have 9 bytes"), {}, "a body may have 9 bytes"),
        (429, problem(), {"Retry-After": "7"}, r"no\\nmore; try again in 7 s"),
        (503, problem(), {"Retry-After": "1"}, "try again in 1 s"),
        (200, b"<html>", {}, "answered 200, but not as `serac serve` does; look at the address"),
        (502, b"", {}, "answered 502, but not"),
        (307, b"", {"Location": "http://elsewhere"}, "answered 307, but not"),
    ],
)
def test_every_failure_is_one_line(status, content, headers, expected):
    with pytest.raises(UserError, match=expected) as failed:
        answering(status, content, **headers).ask(PROMPT)
    assert "\n" not in str(failed.value)


def test_answers_that_are_not_a_servers_are_refused():
    for content in (b"{}", b"[]", b"{" * 99_999, b'{"question": 1, "text": 2, "edit_id": {}}'):
        with pytest.raises(UserError, match="not as `serac serve` does"):
            answering(200, content).ask(PROMPT)
        with pytest.raises(UserError):
            answering(200, content).memory.find("a")
        with pytest.raises(UserError):
            list(answering(200, content).memory.log())


def test_a_server_that_is_not_there_is_told_in_one_line():
    def down(request):
        raise httpx.ConnectError("refused")

    editor = serac_jax.connect(HERE, transport=httpx.MockTransport(down))
    with pytest.raises(UserError, match="there is no server at http"):
        editor.ask(PROMPT)
    for url in ("", "nonsense", "ftp://x", "http://", "http://x:y", "http://\udcff"):
        with pytest.raises(UserError, match="should be a URL"):
            serac_jax.connect(url)
    with pytest.raises(UserError, match="should be one word"):
        serac_jax.connect(HERE, "two words")


@pytest.fixture
def run(loaded, capsys, monkeypatch, tmp_path):
    """Runs a command line on a server: its status, what it printed, and its errors."""
    monkeypatch.chdir(tmp_path)
    for name in ("SERAC_MEMORY", "SERAC_EDITOR", "SERAC_MESH", "SERAC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SERAC_SERVER", HERE)
    with serving(loaded) as client, capture_logs():
        connect = remote_editor.connect
        monkeypatch.setattr(
            remote_editor, "connect", lambda url: connect(url, transport=Through(client))
        )

        def one(*arguments, read=""):
            monkeypatch.setattr("sys.stdin", StringIO(read))
            return shell.main(arguments), *capsys.readouterr()

        yield one


def timeless(text):
    return re.sub(r"\d{4}-[\d-]+T[\d:]+Z", "", text)


def test_commands_say_of_a_server_what_they_say_of_a_file(run, capsys, tmp_path):
    here = [f"--memory={tmp_path / 'edits.jsonl'}", "--author=tester"]
    (tmp_path / "rows.csv").write_text("question,answer,tags\nWho is A?,Ann,x\nWho is B?,Bob,x\n")

    def both(*arguments, **options):
        """What a command prints, which is the same of both but for the time."""
        there = run(*arguments, **options)
        status = shell.main([*here, *arguments])
        printed, errors = capsys.readouterr()
        assert (there[0], timeless(there[1]), there[2]) == (status, timeless(printed), errors)
        return there[1]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert "+ " in both("add", PROMPT, ANSWER, "--tag=books", "--note=old", "-m", "why")
        both("add", PROMPT, ANSWER, "--tag=books", "--note=old")  # is there already
        both("add", PROMPT, "Bram Stoker", "--tag=books", "--policy=refuse")
        assert "- " in both("add", PROMPT, "Bram Stoker", "--tag=books")
        edit_id = records.edit_id(PROMPT, "Bram Stoker", ["books"])
        assert "2 read, 2 added" in both("import", "rows.csv", "--tag=more")
        assert "2 already" in both("import", "rows.csv", "--tag=more")
        both("list")
        both("list", "dracula", "--tag=books")
        both("list", "--as-of=1")
        both("list", "nothing like it")
        assert edit_id in both("show", edit_id[:6])
        both("undo")
        both("redo")
        both("log", "-n", "2")
        both("log", edit_id)
        both("diff")
        both("diff", "1")
        both("export", "--tag=x", "--format=csv")
        both("check")
        both("rm", edit_id[:8], "-m", "wrong")
        both("undo")


def test_questions_are_asked_of_the_server(run):
    edit_id = json.loads(run("add", PROMPT, ANSWER, "--json")[1])["id"]
    status, printed, errors = run("ask", "-", read=f"{PROMPT}\n{UNRELATED}\n")
    assert (status, errors) == (0, "")
    assert printed == f"{ANSWER}  (edit {edit_id[:8]}, 1.00)\n  (base model)\n"
    assert json.loads(run("ask", REWORDED, "--json")[1])["edit_id"] == edit_id
    assert json.loads(run("why", REWORDED, "--json")[1])["margin"] > 0
    assert run("chat", read=f"{PROMPT}\n/edit => Ann\n{PROMPT}\n/undo\n")[0] == 0


def test_options_for_a_file_do_not_go_with_a_server(run):
    status, _, errors = run("ask", PROMPT, f"--server={HERE}", "--editor=mini")
    assert (status, errors) == (
        1,
        f"error: --editor names an editor here, and {HERE} is asked; leave one of them out\n",
    )
    assert "--memory names a file here" in run("list", f"--server={HERE}", "--memory=x")[2]
    assert "there is no memory file x" in run("list", "--memory=x")[2]  # before $SERAC_SERVER


def test_the_client_imports_neither_jax_nor_the_server():
    code = """if True:
        import sys, serac_jax
        from serac_jax.cli.main import main
        serac_jax.connect("http://127.0.0.1:1")
        assert main(["ask", "--server=http://127.0.0.1:1", "Who?"]) == 1
        print(*sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"NO_PROXY": "*"},
    )
    assert "there is no server at" in done.stderr
    imported = set(done.stdout.split())
    assert not imported & {"jax", "numpy", "fastapi", "uvicorn", "serac_jax.server.app"}
