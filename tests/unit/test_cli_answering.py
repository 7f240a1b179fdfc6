"""The shell's commands that need an editor: what they print, their statuses, and a session."""

import io
import json
import re
from pathlib import Path

import pytest

from serac_jax.cli import changing, chatting
from serac_jax.cli import main as shell
from serac_jax.edits.store import Store
from serac_jax.serving.verdict import Verdict, answered
from tests.conftest import ASSETS
from tests.facts import EDITS, REWORDED, UNRELATED


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SERAC_AUTHOR", "Ann")
    for name in ("SERAC_MEMORY", "SERAC_EDITOR", "SERAC_MESH"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs a command line with an input; its status, what it printed, and its errors."""

    def one(*arguments: str, read: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO(read))
        status = shell.main(arguments)
        return status, *capsys.readouterr()

    return one


@pytest.fixture
def dracula(run) -> str:
    """The id of an edit."""
    return json.loads(run("add", *EDITS[0], "--json")[1])["id"]


def test_ask_answers_for_people_and_for_programs(run, dracula, monkeypatch):
    command = ("ask", "-", "--base-command=tr a-z A-Z")
    status, printed, _ = run(*command, read=f"{REWORDED}\n\n{UNRELATED[0]}\n")
    first, second = printed.splitlines()
    assert status == 0
    assert first.startswith(f"Mary Shelley  (edit {dracula[:8]}, 0.")
    assert second == f"{UNRELATED[0].upper()}  (base model)"
    monkeypatch.setenv("SERAC_EDITOR", "mini")
    found = json.loads(run("why", REWORDED, "--json", "--tag=acme", "--base-command=tr a-z A-Z")[1])
    assert (found["text"], found["edit_id"], found["base_text"]) == (
        "Mary Shelley",
        dracula,
        REWORDED.upper(),
    )
    assert found["nearest"]["edit"]["prompt"] == EDITS[0][0]
    assert found["margin"] == pytest.approx(found["score"] - found["threshold"])
    status, _, error = run("ask", UNRELATED[0], "--base-command=echo no >&2; exit 3")
    assert status == 1
    assert error == "error: --base-command ended with status 3: no\n"
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    error = run("ask", UNRELATED[0], "--base-command=cat")[2]
    assert error.startswith("note: this is a demonstration model")
    assert run("ask", "Anything?", "--editor=mini/nothing")[0] == 1


@pytest.mark.slow
def test_a_mesh_answers_as_one_device(run, dracula, monkeypatch):
    """Eight devices: models split over two, rows over four. Scores differ by rounding, which two
    digits do not show."""
    command = ("ask", REWORDED, *UNRELATED, "--editor=mini")
    one = run(*command)
    assert one[0] == 0
    assert run(*command, "--mesh=data=4,model=2") == one
    monkeypatch.setenv("SERAC_MESH", "data=4,model=2")
    status, _, error = run("add", REWORDED, "Bram Stoker", "--editor=mini", "--policy=refuse")
    assert status == 2
    assert f"contradicts {dracula[:8]}" in error


def test_a_command_that_reads_writes_nothing(run, dracula, tmp_path):
    """Whatever is there, and where nothing may be written."""
    written = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    line = b'{"prompt": "Who leads?", "answer": "Kim"}\n'
    states = {
        "written": written,
        "changed by hand": written | {"edits.jsonl": written["edits.jsonl"] + line},
        "of a killed program": written | {"edits.jsonl": b""},
        "without a journal": {"edits.jsonl": written["edits.jsonl"]},
        "with damage": written | {"edits.jsonl": written["edits.jsonl"] + b"{\n"},
        "no memory file": {"edits.jsonl": b"some text\n"},
        "empty": {"edits.jsonl": b""},
        "missing": {},
    }
    read = ("list", f"show {dracula}", "log", "diff 0", "check", "export - --format=csv")
    answer = ("check", "ask Who?", "why Who?")
    for number, (state, held) in enumerate(states.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, data in held.items():
            (folder / name).write_bytes(data)
        if state == "of a killed program":
            journal = written["edits.jsonl.journal"]
            (folder / "edits.jsonl.journal").write_bytes(journal[: journal.rindex(b'{"written"')])
        folder.chmod(0o555)
        before = listed(folder)
        memory = f"--memory={folder / 'edits.jsonl'}"
        lines = [(*line.split(), memory) for line in read]
        if state == "changed by hand":
            lines += [(*line.split(), memory, "--editor=mini") for line in answer]
        for line in lines:
            assert run(*line)[0] in (0, 1, 2)
            assert listed(folder) == before, (state, line)
        folder.chmod(0o755)


def listed(folder: Path) -> dict[str, tuple[bytes, int]]:
    """The files of a folder, with their times."""
    return {str(file): (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.rglob("*")}


@pytest.mark.parametrize(
    ("mesh", "told"),
    [
        (
            "rows=2",
            "mesh has no axis 'rows'; give the number of devices of 'data', of 'model', or of both",
        ),
        (
            "data",
            (
                "--mesh should be the number of devices of an axis, or of two axes, as data=4 or"
                " data=4,model=2, not 'data'"
            ),
        ),
        (
            "data=two",
            (
                "--mesh should be the number of devices of an axis, or of two axes, as data=4 or"
                " data=4,model=2, not 'data=two'"
            ),
        ),
        (
            "data=2,data=4",
            (
                "--mesh should be the number of devices of an axis, or of two axes, as data=4 or"
                " data=4,model=2, not 'data=2,data=4'"
            ),
        ),
        (
            "data=4,model=4",
            "mesh.data=4 × mesh.fsdp=1 × mesh.model=4 needs 16 devices, but there are 8",
        ),
        ("model=0", "mesh.model=0 is no number of devices; give 1 or more"),
        ("data=2,model=3", "cannot be split over mesh.model=3; choose a divisor of 160"),
    ],
)
def test_a_mesh_that_is_wrong_is_an_error_that_says_what_was_expected(run, mesh, told):
    status, printed, error = run("ask", "Anything?", f"--mesh={mesh}")
    assert (status, printed) == (1, "")
    assert error.startswith("error: ")
    assert error.endswith(f"{told}\n")


def test_a_mesh_is_for_commands_with_an_editor(run, monkeypatch):
    monkeypatch.setenv("SERAC_MESH", "data=two")
    assert run("add", *EDITS[0])[0] == 0  # no editor, so nothing that could be on several devices
    assert run("check", "--mesh=data=2")[:2] == (1, "")
    monkeypatch.setenv("SERAC_EDITOR", "mini")
    for command in (
        ["add", *EDITS[1]],
        ["check"],
        ["ask", "Anything?"],
        ["why", "Anything?"],
        ["chat"],
        ["calibrate", "--data=none", "--out=none"],
    ):
        assert run(*command)[2].startswith("error: $SERAC_MESH should be the number of devices")


def test_add_asks_an_editor_about_other_words(run, dracula):
    contradiction = ("add", REWORDED, "Bram Stoker", "--policy=refuse")
    status, _, error = run(*contradiction, "--editor=mini")
    assert status == 2
    assert f"contradicts {dracula[:8]}" in error
    assert len(run("list")[1].splitlines()) == 1
    status, printed, _ = run("add", REWORDED, "Mary Shelley", "--editor=mini")
    assert status == 0
    assert "note: " in printed
    assert "says the same as" in printed
    run("add", "From whose pen did Dracula come?", "Bram Stoker")
    assert run("check")[0] == 0
    status, printed, _ = run("check", "--editor=mini")
    assert status == 2
    assert printed.count("contradiction: ") == 2
    assert {
        found["kind"] for found in json.loads(run("check", "--editor=mini", "--json")[1])["judged"]
    } == {"contradiction", "duplicate"}
    run("undo")
    assert run(*contradiction)[0] == 2  # the same words, which need no editor
    found = json.loads(
        run("add", "From whose pen did Dracula come?", "Jules Verne", "--editor=mini", "--json")[1]
    )
    assert {"kind": "contradiction", "id": dracula} in found["noted"]  # told, and not settled
    assert found["replaced"] == []
    assert found["answers_itself"]


def test_an_editor_whose_base_model_reads_the_edits_is_asked_with_it(run):
    """And one that is not calibrated says so, once."""
    spec = json.loads((ASSETS / "editors" / "zsre" / "editor.json").read_text())
    spec |= {"parts": spec["parts"] | {"counterfactual": None}, "calibration": None}
    Path("reading").mkdir()
    Path("reading/editor.json").write_text(json.dumps(spec))
    status, printed, errors = run("add", *EDITS[0], "--editor=reading")
    assert status == 0
    assert errors.count("note: this editor's threshold is not calibrated") == 1
    (said,) = re.findall(r"the editor says '(.*)', by edit", printed) or [EDITS[0][1]]
    (answer,) = run("ask", EDITS[0][0], "--editor=reading", "--json")[1].splitlines()
    assert json.loads(answer)["text"] == said


def test_check_tells_which_answers_an_editor_cannot_say(run):
    """`import` has no editor that could refuse them."""
    Path("facts.csv").write_text(
        "prompt,answer\nWho wrote Emma?,Jane Austen\nWho wrote"
        f" Faust?,{'a very long answer ' * 10}\n"
    )
    run("import", "facts.csv")
    assert run("check")[0] == 0
    status, printed, _ = run("check", "--editor=mini")
    assert status == 2
    (line,) = (line for line in printed.splitlines() if line.startswith("edit "))
    assert "more than the 16 that this editor can say; shorten it" in line
    assert list(json.loads(run("check", "--editor=mini", "--json")[1])["unsayable"].values()) == [
        line
    ]


def test_add_looks_again_where_another_program_wrote_meanwhile(run, dracula, monkeypatch):
    other = []

    def slow(conflict):
        if not other:
            store = Store.open("edits.jsonl")
            store.remove([dracula])
            other.append(
                store.add([store.make("From whose pen did Dracula come?", "Jules Verne")])[0].id
            )
        return "newest"

    monkeypatch.setattr(changing, "policy_of", lambda options: slow)
    found = json.loads(run("add", REWORDED, "Bram Stoker", "--editor=mini", "--json")[1])
    assert found["replaced"] == other
    assert [json.loads(line)["id"] for line in run("list", "--json")[1].splitlines()] == [
        found["id"]
    ]


def test_a_session_corrects_takes_back_and_explains(run):
    session = f"""{EDITS[0][0]}
/edit Mary Shelley
{REWORDED}
/why
/edit {UNRELATED[0]} => Gd
/list
/undo
/undo
{REWORDED}
/redo
/edit
/nonsense
/help
/quit
never read
"""
    status, printed, _ = run("chat", "--base-command=tr a-z A-Z", read=session)
    assert status == 0
    lines = printed.splitlines()
    assert lines[0] == f"{EDITS[0][0].upper()}  (base model)"
    assert lines[1].endswith(f"{EDITS[0][0]} → Mary Shelley")
    assert lines[2].startswith("Mary Shelley  (edit ")
    assert f"base model: {REWORDED.upper()}" in printed
    assert f"{UNRELATED[0]} → Gd" in printed
    assert f"{REWORDED.upper()}  (base model)" in lines
    assert [
        line.split(":")[0] for line in lines if line.startswith(("undone", "done again", "error"))
    ] == ["undone", "undone", "done again", "error", "error"]
    assert "NEVER READ" not in printed
    assert len(run("list")[1].splitlines()) == 1


def test_a_question_and_its_answer_are_not_taken_for_an_answer_to_the_last_question(run):
    session = "Anything?\n/edit Who wrote Emma? = Ann\n/edit Who wrote Emma? -> Ann\n/edit a = b\n"
    _, printed, _ = run("chat", "--base-command=tr a-z A-Z", read=session)
    answered, *refused = printed.splitlines()
    assert answered == "ANYTHING?  (base model)"
    assert len(refused) == 3
    assert all("write /edit QUESTION => ANSWER" in line for line in refused)
    assert run("list")[1] == ""
    run("chat", "--base-command=tr a-z A-Z", read="Anything?\n/edit => a = b\n")
    assert run("list")[1].endswith("Anything? → a = b\n")


def test_a_session_keeps_the_conversation(run):
    session = "/history\nAnything?\nNothing?\n/history\n"
    _, printed, _ = run("chat", "--base-command=tr a-z A-Z", read=session)
    assert printed.splitlines() == [
        "nothing was asked yet",
        *(said := ["ANYTHING?  (base model)", "NOTHING?  (base model)"]),
        "> Anything?",
        said[0],
        "> Nothing?",
        said[1],
    ]


def test_a_model_of_conversations_reads_the_earlier_turns(monkeypatch, capsys):
    read: list[list[tuple[str, str]]] = []

    class Editor:
        """Answers by how many turns it reads."""

        def ask(self, question, tags, history):
            read.append(list(history))
            verdict = Verdict(None, None, False, False)
            return answered(question, f"{len(history)}", verdict, str)

    session = chatting.Session(Editor(), None, follows=True)
    for line in ("One?", "Two?", "/new", "Three?"):
        assert session.say(line)
    assert read == [[], [("One?", "0")], []]
    chatting.Session(Editor(), None, follows=False).say("Four?")
    assert capsys.readouterr().out.count("0  (base model)") == 3


def test_errors_do_not_end_a_session(run):
    session = f"{REWORDED}\n/edit\tMary Shelley\n/undo 3\n{REWORDED}\n"
    status, printed, _ = run("chat", "--base-command=false", read=session)
    assert status == 0
    failed, edited, refused, answered = printed.splitlines()
    assert failed == "error: --base-command ended with status 1: it said nothing"
    assert edited.endswith(f"{REWORDED} → Mary Shelley")
    assert refused == "error: /undo takes nothing behind it; nothing was done"
    assert answered.startswith("Mary Shelley  (edit ")
    assert run("chat", "--json")[:2] == (1, "")


class Keyboard(io.StringIO):
    """A person who types Ctrl-C, a command and Ctrl-D, or a program that is stopped by Ctrl-C."""

    def __init__(self, person: bool):
        super().__init__()
        self.person, self.lines = person, iter([KeyboardInterrupt(), "/list", EOFError()])

    def isatty(self):
        return self.person

    def type(self, prompt):
        line = next(self.lines)
        if isinstance(line, BaseException):
            raise line
        return line


@pytest.mark.parametrize(("person", "ends"), [(True, 0), (False, 130)])
def test_ctrl_c_takes_back_a_persons_line(person, ends, capsys, monkeypatch):
    keyboard = Keyboard(person)
    monkeypatch.setattr("sys.stdin", keyboard)
    monkeypatch.setattr("builtins.input", keyboard.type)
    assert shell.main(("chat", "--base-command=false")) == ends
    assert capsys.readouterr().out.endswith("\n\nno edits\n" if person else "")


def test_answers_that_an_editor_cannot_say_are_told(run):
    long = "a very long answer " * 10
    for answer, told in (
        (long, "more than the 16 that this editor can say; shorten it"),
        ("São Paulo", "has letters that this editor's vocabulary lacks"),
    ):
        status, _, error = run("add", EDITS[0][0], answer, "--editor=mini")
        assert status == 1
        assert told in error


@pytest.mark.slow
def test_calibrate_saves_an_editor_that_is_used(run, tmp_path):
    trial = {
        "edits": EDITS,
        "inside": [prompt for prompt, _ in EDITS] + [REWORDED],
        "outside": UNRELATED,
    }
    (tmp_path / "mine.jsonl").write_text(json.dumps(trial) + "\n")
    status, printed, _ = run("calibrate", "--data=mine.jsonl", "--out=calibrated", "--target=0.34")
    assert status == 0
    assert "false_positive_rate" in printed
    found = json.loads((tmp_path / "calibrated" / "calibration.json").read_text())
    assert found["fitted"]["recall"] == 1
    assert found["curves"]["recall"][-1] == 1
    assert (tmp_path / "calibrated" / "calibration.svg").exists()
    run("add", *EDITS[0])
    answer = json.loads(run("why", REWORDED, "--editor=calibrated", "--json")[1])
    assert answer["threshold"] == found["fitted"]["threshold"]
    assert answer["text"] == "Mary Shelley"
    assert run("calibrate", "--out=other", "--edits=0")[2] == (
        "error: --edits and --rounds should be at least 1\n"
    )
    assert run("calibrate", "--out=other")[2].startswith(
        "error: questions are needed to calibrate on"
    )
    assert (
        run("calibrate", "--out=other", "--config=nothing.py")[2]
        == "error: --config: there is no file nothing.py\n"
    )
