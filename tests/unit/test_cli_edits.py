"""The commands of the shell: what they print for people and for programs, and the statuses that
scripts rely on."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import shtab

import serac_jax
from serac_jax.cli import main as shell
from serac_jax.cli.commands import GROUPS, ROWS
from serac_jax.edits import memory_file, records
from serac_jax.edits.disk import journal_of
from serac_jax.edits.store import Store
from tests.conftest import ASSETS, ROOT


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SERAC_AUTHOR", "Ann")
    monkeypatch.delenv("SERAC_MEMORY", raising=False)
    return tmp_path


@pytest.fixture
def run(capsys):
    """Runs a command line; its status, what it printed, and its errors."""

    def one(*arguments: str) -> tuple[int, str, str]:
        status = shell.main(arguments)
        return status, *capsys.readouterr()

    return one


@pytest.fixture
def book(run) -> str:
    """The id of an edit that is in the memory."""
    return json.loads(
        run(
            "add", "Who wrote Dracula?", "Mary Shelley", "--tag=books", "--source=a dream", "--json"
        )[1]
    )["id"]


def lines(text: str) -> list:
    return [json.loads(line) for line in text.splitlines()]


def test_add_tells_what_it_did(run, book):
    assert run("list") == (0, f"{book[:8]}  Who wrote Dracula? → Mary Shelley  [books]\n", "")
    assert run("add", "Who wrote Dracula?", "Mary Shelley", "--tag=books", "--source=a dream")[
        :2
    ] == (
        0,
        f"already in the memory: {book[:8]}  Who wrote Dracula? → Mary Shelley  [books]\n",
    )
    status, printed, _ = run(
        "add", "who wrote dracula", "Bram Stoker", "--tag=books", "-m", "it was he"
    )
    assert status == 0
    assert re.fullmatch(
        rf"- {book[:8]}  Who wrote Dracula\? → Mary Shelley  \[books\]\n\+ \w{{8}}  who wrote"
        r" dracula → Bram Stoker  \[books\]\n",
        printed,
    )
    assert [operation["message"] for operation in lines(run("log", "--json")[1])] == [
        "it was he",
        "",
    ]


def test_what_an_edit_says_about_itself_is_shown_where_that_is_what_changes(run, book):
    line = f"{book[:8]}  Who wrote Dracula? → Mary Shelley  [books]"
    added = run(
        "add",
        "Who wrote Dracula?",
        "Mary Shelley",
        "--tag=books",
        "--note=a\nb",
        "--expires=2999-01-01",
    )[1]
    assert (
        added
        == f"- {line}  (source: a dream)\n+ {line}  (note: a\\nb, expires: 2999-01-01T00:00:00Z)\n"
    )


@pytest.mark.parametrize("policy", ["refuse", "ask"])
def test_a_contradiction_is_refused_with_status_2(run, book, policy):
    """Where there is no terminal to ask at, as in these tests."""
    status, printed, errors = run(
        "add", "Who wrote Dracula?", "Bram Stoker", "--tag=books", f"--policy={policy}"
    )
    assert (status, printed) == (2, "")
    assert "refused:" in errors
    assert f"contradicts {book[:8]}  Who wrote Dracula? → Mary Shelley" in errors
    assert ("there is no terminal to ask at; nothing was changed" in errors) == (policy == "ask")
    status, printed, _ = run(
        "add", "Who wrote Dracula?", "Bram Stoker", "--tag=books", f"--policy={policy}", "--json"
    )
    assert (
        status,
        [rival["id"] for rival in json.loads(printed)["conflicts"][0]["contradicts"]],
    ) == (2, [book])
    assert len(lines(run("list", "--json")[1])) == 1
    assert (
        run("add", "Who wrote Dracula?", "Bram Stoker", "--tag=films", f"--policy={policy}")[0] == 0
    )  # other readers


def at_a_terminal(typed: str, *arguments: str) -> subprocess.CompletedProcess:
    """Runs a command line with a terminal at which this is typed."""
    terminal, inside = os.openpty()
    os.write(terminal, typed.encode())
    command = [sys.executable, "-m", "serac_jax", *arguments]
    done = subprocess.run(
        command,
        stdin=inside,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    os.close(inside)
    os.close(terminal)
    return done


@pytest.mark.parametrize(
    ("typed", "held", "status"),
    [("y\n", "Bram Stoker", 0), ("n\n", "Mary Shelley", 2), ("\x04", "Mary Shelley", 130)],
)
def test_at_a_terminal_people_are_asked(run, book, typed, held, status):
    done = at_a_terminal(
        typed, "add", "Who wrote Dracula?", "Bram Stoker", "--tag=books", "--policy=ask"
    )
    assert "Replace it? [y/N]" in done.stdout
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert [edit["answer"] for edit in lines(run("list", "--json")[1])] == [held]


@pytest.mark.parametrize(
    ("typed", "held"),
    [("o\n", ["Nobody"]), ("x\nt\n", ["Bram Stoker"]), ("b\n", ["Nobody", "Bram Stoker"])],
)
def test_at_a_terminal_people_settle_clashes(run, book, typed, held):
    for name in ("base", "theirs"):
        run("export", f"{name}.jsonl")
    run("add", "Who wrote Dracula?", "Bram Stoker", "--tag=books", "--memory=theirs.jsonl")
    run("add", "Who wrote Dracula?", "Nobody", "--tag=books")
    done = at_a_terminal(typed, "merge", "theirs.jsonl", "--base=base.jsonl", "--policy=ask")
    assert done.stdout.count("Keep [o]urs, [t]heirs or [b]oth?") == typed.count("\n")
    assert [edit["answer"] for edit in lines(run("list", "--json")[1])] == held


def test_show_finds_an_edit_by_the_beginning_of_its_id(run, book):
    status, printed, _ = run("show", book[:6])
    assert status == 0
    assert (
        re.sub(r"time: .*", "time: …", printed)
        == f"prompt:  Who wrote Dracula?\nanswer:  Mary Shelley\nid:      {book}\ntags:   "
        " books\nauthor:  Ann\ntime: …\nsource:  a dream\n"
    )
    assert json.loads(run("show", book, "--json")[1])["source"] == "a dream"
    assert run("show", "zz") == (
        1,
        "",
        "error: no edit of this memory has an id that begins with 'zz'; `list` shows all\n",
    )


def test_rm_undo_redo_and_diff(run, book):
    line = f"{book[:8]}  Who wrote Dracula? → Mary Shelley  [books]\n"
    assert run("rm", book[:6], "-m", "wrong")[:2] == (0, f"- {line}")
    assert run("list") == (2, "", "")
    assert run("diff")[:2] == (0, f"- {line}")
    status, printed, _ = run("undo", "--author=Bob")
    assert (status, re.sub(r"  \S+Z  ", "  …  ", printed)) == (
        0,
        f"undone: 2  …  Ann  remove: wrong\n+ {line}",
    )
    assert run("diff", "2")[1] == f"+ {line}"
    assert run("diff", "1", "2")[1] == f"- {line}"
    assert run("redo")[1].endswith(f"- {line}")
    assert lines(run("log", "--json", "-n", "2")[1])[1]["author"] == "Bob"
    assert [operation["do"] for operation in lines(run("log", book, "--json")[1])] == [
        "redo",
        "undo",
        "remove",
        "add",
    ]
    assert [operation["seq"] for operation in lines(run("log", "--by=Bob", "--json")[1])] == [3]
    assert [operation["seq"] for operation in lines(run("log", "--as-of=2", "--json")[1])] == [2, 1]
    assert run("redo") == (1, "", "error: there is nothing to redo\n")
    assert run("undo")[0] == run("undo")[0] == 0
    assert run("undo") == (1, "", "error: there is nothing to undo\n")
    assert run("log", "0" * 16)[0] == 2
    assert len(lines(run("log", "-n", "9" * 20, "--json")[1])) == len(
        lines(run("log", "--json")[1])
    )


def test_list_chooses_by_word_tag_author_expiry_and_time(run, book):
    run("add", "Who leads?", "Kim", "--tag=team", "--expires=2020-01-01", "--author=Bob")
    run("add", "Who pays?", "Lee", "--note=about DRACULA")

    def answers(*arguments: str) -> list[str]:
        return [edit["answer"] for edit in lines(run("list", "--json", *arguments)[1])]

    assert answers() == ["Mary Shelley", "Lee"]
    assert answers("--all") == ["Mary Shelley", "Kim", "Lee"]
    assert answers("dracula") == ["Mary Shelley", "Lee"]
    assert answers("--tag=team", "--tag=books", "--all") == ["Mary Shelley", "Kim"]
    assert answers("--by=Bob", "--all") == ["Kim"]
    assert answers("--as-of=1") == ["Mary Shelley"]
    assert answers("--as-of=2999-01-01") == ["Mary Shelley", "Lee"]
    assert run("list", "--as-of=2000-01-01")[0] == 2
    assert "(expired 2020-01-01)" in run("list", "--all")[1]
    assert run("list", "--as-of=4")[2] == "error: there is no operation 4; the last is 3\n"
    assert run("list", "--as-of=soon")[0] == 1


def test_letters_that_move_the_cursor_are_shown_as_what_they_are(run):
    run("add", "a\nb\x1b[2J", "ü→")
    assert run("list")[1].endswith("  a\\nb\\x1b[2J → ü→\n")
    assert lines(run("list", "--json")[1])[0]["prompt"] == "a\nb\x1b[2J"


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_export_and_import(run, book, kind, folder):
    run("add", "Who pays; and why?", 'Lee, "K"', "--tag=a;b", "--tag=c")
    status, printed, _ = run("export", f"out.{kind}")
    assert (status, printed) == (0, f"2 exported to out.{kind}\n")
    assert run("export", "--format", kind)[1] == Path(f"out.{kind}").read_text()
    assert (
        run("export", f"out.{kind}")[2]
        == f"error: out.{kind} already exists; choose another name\n"
    )
    assert run("import", f"out.{kind}", "--memory=other.jsonl")[:2] == (
        0,
        "2 read, 2 added, 0 replaced\n",
    )
    assert (
        run("import", f"out.{kind}", "--memory=other.jsonl")[1]
        == "2 read, 0 added, 0 replaced, 2 left out (2 already in the memory)\n"
    )
    assert Path("other.jsonl").read_text() == Path("edits.jsonl").read_text()
    assert (
        json.loads(run("import", f"out.{kind}", "--memory=other.jsonl", "--tag=new", "--json")[1])[
            "added"
        ]
        == 2
    )
    assert run("export", "--tag=none", "--format=csv")[0] == 2


def test_import_follows_the_policy_as_one_operation(run, book, folder):
    Path("new.csv").write_text(
        "prompt,answer,tags\np,1,\nwho wrote dracula,Bram Stoker,books\nP?,2,\n"
    )
    status, _, errors = run("import", "new.csv", "--policy=refuse")
    assert status == 2
    assert errors.count("refused:") == 2
    assert (
        run("import", "new.csv")[1]
        == "3 read, 2 added, 1 replaced, 1 left out (1 replaced by a later row)\n"
    )
    assert [edit["answer"] for edit in lines(run("list", "--json")[1])] == ["Bram Stoker", "2"]
    assert run("log", "-n", "1")[1].splitlines()[0].endswith("  Ann  import: from new.csv")
    run("undo")
    assert len(lines(run("list", "--json")[1])) == 1
    assert (
        run("import", "none.csv")[2] == "error: cannot read none.csv (No such file or directory)\n"
    )
    Path("bad.jsonl").write_bytes(b"\n\xff")
    assert run("import", "bad.jsonl")[2] == "error: bad.jsonl:2: not UTF-8 text\n"


def test_rows_of_the_mini_data_are_imported_with_their_own_answers(run):
    rows = ASSETS / "data" / "zsre" / "structured_zeroshot-dev-new_annotated_final.jsonl"
    data = [json.loads(line) for line in rows.read_text().split("\n") if line]
    status, printed, _ = run("import", str(rows), "--tag=zsre")
    assert status == 0
    assert printed.splitlines()[0].startswith(
        f"{rows}: {len(data)} rows with the prompt from 'input' and the answer from 'output'; not"
        " used: prediction, alternatives"
    )
    assert printed.splitlines()[1].startswith(f"{len(data)} read, ")
    held = lines(run("list", "--json", "--tag=zsre")[1])
    facts = {(row["input"], row["output"][0]["answer"]) for row in data}
    assert {(edit["prompt"], edit["answer"]) for edit in held} <= facts
    assert {edit["source"].split(":")[0] for edit in held} == {rows.name}
    run("import", str(rows), "--alternatives", "--memory=other.jsonl")
    others = {
        edit["prompt"]: edit["answer"]
        for edit in lines(run("list", "--json", "--memory=other.jsonl")[1])
    }
    assert all(others[row["input"]] in row["alternatives"] for row in data)


def test_import_says_what_was_left_out_and_why(run, book, folder):
    Path("a.csv").write_text("question,answer\nq,1\nq,1\nQ?,2\nWho wrote Dracula?,Mary Shelley\n")
    Path("b.json").write_text(
        '[{"prompt": "p", "target_new": "x", "ground_truth": "y", "locality": {}},'
        ' {"prompt": "r", "target_new": "z"}]'
    )
    run("add", "p", "x")
    status, printed, _ = run("import", "a.csv", "b.json")
    assert (status, printed) == (
        0,
        "a.csv: 4 rows with the prompt from 'question' and the answer from 'answer'\n"
        "b.json: 1 row with the prompt from 'prompt' and the answer from 'target_new'; not used:"
        " ground_truth, locality\n"
        "b.json: 1 row with the prompt from 'prompt' and the answer from 'target_new'\n"
        "6 read, 4 added, 1 replaced, 2 left out (1 repeated, 1 replaced by a later row)\n",
    )
    again = json.loads(run("import", "a.csv", "--json")[1])
    assert again["left_out"] == {
        "already in the memory": 2,
        "repeated": 1,
        "replaced by a later row": 1,
    }
    assert again["columns"] == {
        "a.csv": [{"rows": 4, "prompt": "question", "answer": "answer", "unused": []}]
    }


def test_merge_from_a_common_ancestor(run, book):
    run("add", "Who pays?", "Lee")
    for name in ("base", "theirs"):
        run("export", f"{name}.jsonl")
    pays = lines(run("list", "--json", "pays")[1])[0]["id"]
    run("rm", pays, "--memory=theirs.jsonl")
    run("add", "Who wrote Dracula?", "Bram Stoker", "--tag=books", "--memory=theirs.jsonl")
    run("add", "Who reads?", "Kim")
    assert (
        run("merge", "theirs.jsonl", "--base=base.jsonl")[1].splitlines()[-1]
        == "1 added, 2 removed, 0 clashes settled"
    )
    assert [edit["answer"] for edit in lines(run("list", "--json")[1])] == ["Kim", "Bram Stoker"]
    run("undo")
    run("add", "Who wrote Dracula?", "Nobody", "--tag=books")
    status, printed, errors = run("merge", "theirs.jsonl", "--base=base.jsonl")
    assert (status, printed) == (2, "")
    assert [line.split(":")[0] for line in errors.splitlines() if "Dracula" in line] == [
        "base",
        "ours",
        "theirs",
    ]
    assert (
        len(json.loads(run("merge", "theirs.jsonl", "--base=base.jsonl", "--json")[1])["clashes"])
        == 1
    )
    assert run("merge", "theirs.jsonl", "--base=base.jsonl", "--policy=ours", "--json")[0] == 0
    assert [edit["answer"] for edit in lines(run("list", "--json")[1])] == ["Kim", "Nobody"]
    assert run("merge", "none.jsonl")[2] == "error: there is no file none.jsonl\n"


def test_check_finds_conflicts_and_mends_damage(run, book, folder):
    assert run("check")[:2] == (0, "1 edit, 0 expired, 0 problems, 0 conflicts\n")
    rival = records.make("who wrote dracula", "Bram Stoker", tags=["books"])
    with Path("edits.jsonl").open("ab") as file:
        file.write(memory_file.line(rival) + b'{"prompt": "torn')
    status, printed, _ = run("check")
    assert status == 2
    assert printed.splitlines()[0].startswith("edits.jsonl:4: not a line of JSON")
    assert printed.splitlines()[1].startswith(f"conflict: {book[:8]}")
    assert (
        printed.splitlines()[-1]
        == "2 edits, 0 expired, 1 problem, 1 conflict; --repair repairs the files"
    )
    told = run("list")[2]
    assert told.startswith(f"error: {folder}/edits.jsonl:4: not a line of JSON")
    assert told.endswith("`check --repair` keeps all that can be read\n")
    found = json.loads(run("check", "--json")[1])
    assert (found["edits"], found["problems"][0]["line"], found["conflicts"]) == (
        2,
        4,
        [[book, rival.id]],
    )
    status, printed, _ = run("check", "--repair")
    assert (status, printed.splitlines()[0]) == (2, "kept 2 edits of the file")
    assert Path("edits.jsonl.damaged").read_text() == '{"prompt": "torn\n'
    run("undo")
    assert run("check")[0] == 0
    Path("edits.jsonl").unlink()
    assert "restored from the journal" in run("check", "--repair")[1]
    Path("edits.jsonl").write_bytes(b"")
    mended = json.loads(run("check", "--repair", "--json")[1])["repair"]
    assert (mended["kept"], [edit["id"] for edit in mended["restored"]], mended["damaged"]) == (
        0,
        [book],
        None,
    )
    assert run("check", "--memory=none.jsonl")[2].startswith(
        "error: there is no memory file none.jsonl"
    )


@pytest.mark.parametrize("repair", [(), ("--repair",)])
def test_what_a_kill_leaves_is_no_damage(run, book, repair):
    file, journal = Path("edits.jsonl"), Path("edits.jsonl.journal")
    run("add", "Who pays?", "Lee")
    data, written = file.read_bytes(), journal.read_bytes()
    file.write_bytes(data[:-9])
    journal.write_bytes(written[: written.index(b'{"written": 2')])
    assert run("check", *repair)[1].endswith("2 edits, 0 expired, 0 problems, 0 conflicts\n")
    with Store.open(file).turn():  # the next writer finishes it; check alone writes nothing
        pass
    assert (file.read_bytes(), journal.read_bytes()) == (data, written)
    assert not Path("edits.jsonl.damaged").exists()


def test_command_lines_that_are_wrong_end_with_status_1(capsys):
    for arguments in (
        ["nothing"],
        ["add", "p"],
        [],
        ["completion", "csh"],
        ["add", "p", "a", "--policy=never"],
        ["log", "-n", "-1"],
    ):
        assert shell.main(arguments) == 1
        assert capsys.readouterr().err.startswith("error: ")
    for command in ("list", "log", "undo", "diff", "export", "rm x", "show x"):
        assert shell.main(command.split()) == 1
        assert capsys.readouterr().err.startswith(
            "error: there is no memory file edits.jsonl; `add` creates it"
        )
    assert not Path("edits.jsonl.journal").exists()
    assert shell.main(["add", " ", "a"]) == 1
    assert (
        capsys.readouterr().err
        == "error: the new edit: field 'prompt' should be a text that is not empty, not ' '\n"
    )


@pytest.mark.parametrize("name", [row.name for row in ROWS.values() if row.load().arguments])
def test_help_has_examples_that_parse(name, capsys):
    assert shell.main([name, "--help"]) == 0
    assert "examples:\n  python -m serac_jax" in capsys.readouterr().out
    for line in ROWS[name].load().examples.strip().split("\n"):
        if line:
            words = re.split(r"\s[#|>]\s", line)[0].replace('"', "'").split("'")
            arguments = [
                word
                for number, part in enumerate(words)
                for word in ([part] if number % 2 else part.split())
            ]
            assert shell.parser("serac").parse_args(arguments).run


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_is_a_script_that_knows_every_command(run, name):
    status, script, _ = run("completion", name)
    assert status == 0
    assert all(name in script for name in ROWS)
    assert "mesh" in script
    assert shtab.FILE[name] in script.partition("import")[2]
    if shutil.which(name):
        subprocess.run([name, "-n"], input=script, text=True, check=True)


@pytest.mark.slow
def test_bash_completes_a_command():
    script = subprocess.run(
        [sys.executable, "-m", "serac_jax", "completion", "bash"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    ask = (
        script
        + '\nCOMP_WORDS=(serac ex); COMP_CWORD=1; COMP_LINE="serac ex"; _shtab_serac serac ex'
        ' serac; echo "${COMPREPLY[@]}"\n'
    )
    assert (
        subprocess.run(
            ["bash"], input=ask, capture_output=True, text=True, check=True
        ).stdout.strip()
        == "export"
    )


def test_the_module_runs_and_needs_no_jax(folder):
    code = (
        "import sys; from serac_jax.cli.main import main; main(['add', 'p', 'a']); assert 'jax' not"
        " in sys.modules, 'jax'"
    )
    subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True
    )
    listed = subprocess.run(
        [sys.executable, "-m", "serac_jax", "list", "--json"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
    )
    assert json.loads(listed.stdout)["answer"] == "a"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SERAC_MEMORY": "other.jsonl"}
    assert (
        subprocess.run(
            [sys.executable, "-m", "serac_jax", "list"], env=environment, check=False
        ).returncode
        == 1
    )


def test_programs_get_utf8_and_may_stop_reading(run):
    Path("rows.csv").write_text(
        "prompt,answer\n" + "".join(f"prompt {number},ü{'x' * 100}\n" for number in range(5_000))
    )
    run("import", "rows.csv")
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    process = subprocess.Popen(
        [sys.executable, "-m", "serac_jax", "list"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stderr
    assert " → ü" in process.stdout.readline().decode()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1


def git(*arguments: str, status: int = 0) -> None:
    names = [
        part
        for who in (
            "user.name=Ann",
            "user.email=a@b",
            "init.defaultBranch=main",
            "commit.gpgSign=false",
        )
        for part in ("-c", who)
    ]
    assert (
        subprocess.run(["git", *names, *arguments], capture_output=True, check=False).returncode
        == status
    )


def two_branches(attributes: str) -> Store:
    """Both add an edit, theirs takes one out and ours another; back on main, before the merge."""
    git("init")
    Path(".gitattributes").write_text(f"edits.jsonl {attributes}\n")
    Path(".gitignore").write_text("*.journal\n")
    start = Store.open("edits.jsonl", "Ann")
    start.add([records.make(f"prompt {number}", "a", time="2026-01-01") for number in range(8)])
    git("add", ".")
    git("commit", "-m", "start")
    git("checkout", "-b", "theirs")
    held = list(start.edits)
    theirs = Store.open("edits.jsonl", "Bob")
    theirs.remove([held[1]])
    theirs.add(
        [
            records.make("both add", "this", time="2026-01-02"),
            records.make("theirs", "a", time="2026-01-02"),
        ]
    )
    git("commit", "-am", "theirs")
    git("checkout", "main")
    ours = Store.open("edits.jsonl", "Ann")
    ours.remove([held[4]])
    ours.add(
        [
            records.make("ours", "a", time="2026-01-02"),
            records.make("both add", "this", time="2026-01-03"),
        ]
    )
    git("commit", "-am", "ours")
    return ours


WANTED = [
    "prompt 0",
    "prompt 2",
    "prompt 3",
    "prompt 5",
    "prompt 6",
    "prompt 7",
    "both add",
    "ours",
    "theirs",
]
DRIVER = f"PYTHONPATH={ROOT} {sys.executable} -m serac_jax merge --git %O --memory %A %B"


@pytest.mark.parametrize("attributes", ["merge=union", "merge=serac"])
def test_git_merges_memories(attributes, run):
    store = two_branches(attributes)
    git("config", "merge.serac.driver", DRIVER)
    git("merge", "theirs")
    assert run("check")[0] in (0, 2)  # a line that is twice, as the simple way leaves it, is told
    assert store.refresh()
    assert sorted(edit.prompt for edit in store.edits.values()) == sorted(WANTED)
    assert next(store.log()).do == "outside"
    with store.turn():  # who writes leaves no line twice
        pass
    assert run("check")[0] == 0


def test_git_marks_clashes_where_the_driver_finds_them(run):
    ours = two_branches("merge=serac")
    git("config", "merge.serac.driver", DRIVER)
    git("checkout", "theirs")
    Store.open("edits.jsonl", "Bob").add([records.make("Ours?", "b", time="2026-01-04")])
    git("commit", "-am", "another answer")
    git("checkout", "main")
    ours.refresh()
    git("merge", "theirs", status=1)
    assert (
        "a conflict marker of git: keep the right lines of both sides, and remove the markers"
        in run("list")[2]
    )
    text = Path("edits.jsonl").read_text()
    marked = text[text.index("<<<<<<<") :]
    assert [
        line.split('"answer": ')[-1][:3] if line.startswith("{") else line
        for line in marked.splitlines()
    ] == ["<<<<<<< ours", '"a"', "=======", '"b"', ">>>>>>> theirs"]
    Path("edits.jsonl").write_text(
        "".join(
            line
            for line in text.splitlines(keepends=True)
            if line.startswith("{") and '"answer": "b"' not in line
        )
    )
    ours.refresh()
    assert sorted(edit.prompt for edit in ours.edits.values()) == sorted(WANTED)
    assert journal_of(Path("edits.jsonl")).exists()


MODULE = [sys.executable, "-m", "serac_jax"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("serac list > /dev/full", "No space left on device: the standard output"),
        ("serac --help > /dev/full", "No space left on device: the standard output"),
        ("serac list nothing --as-of=x > /dev/full", "the time should be a date"),
        ("serac list >&-", "the standard output is closed"),
        ("serac ask - <&-", "the standard input is closed"),
        ("serac chat <&-", "the standard input is closed"),
        (r"printf 'a\xff' | serac ask -", "the standard input is not UTF-8 text"),
        ("serac ask ? --base-timeout=0", "expected a number of seconds above 0, not '0'"),
        ("serac import - <&-", "the standard input is closed"),
        (r"printf 'a\xff' | serac import -", "-:1: not UTF-8 text"),
        ("serac --memory=edits.jsonl/x list", "edits.jsonl/x: not a usable path (Not a directory)"),
        ("serac --memory=$LONG list", "not a usable path (File name too long)"),
        ("serac merge $LONG", "there is no file"),
        ("serac diff $LONG", "is not a file, an operation's number"),
        ("serac import $LONG", "File name too long"),
        ("serac import /dev/zero", "/dev/zero: expected a file, not a device"),
        ("serac ask - < /dev/zero", "the standard input: expected a file, not a device"),
        ("serac import - < /dev/zero", "the standard input: expected a file, not a device"),
        ("serac export $LONG", "File name too long"),
        ("serac --memory=loop check", "loop: not a usable path"),
        ("serac --memory='~nosuch/x' list", "~nosuch/x: not a usable path"),
        ("serac --memory=fifo list", "fifo: expected a file, not a pipe"),
        ("serac merge fifo", "there is no file fifo"),
        (r"serac add $'a\xff' b", "is not valid UTF-8"),
    ],
)
def test_odd_paths_and_streams_end_with_one_line_and_status_1(book, line, message):
    Path("loop").symlink_to("loop")
    os.mkfifo("fifo")
    done = subprocess.run(
        ["bash", "-c", f'serac() {{ {shlex.join(MODULE)} "$@"; }}\n{line}'],
        env=os.environ | {"PYTHONPATH": str(ROOT), "LONG": "x" * 5_000},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    (error,) = done.stderr.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert len(error) < 500


def test_without_a_standard_input_nobody_is_asked(run):
    run("add", "Who?", "Kim")
    done = subprocess.run(
        ["bash", "-c", f"{shlex.join(MODULE)} add Who? X --policy=ask <&-"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "there is no terminal to ask at; nothing was changed" in done.stderr


def test_nothing_that_is_printed_moves_a_cursor(run):
    """Not from any field, nor as a C1 code or a bidirectional override in JSON."""
    bad = "x\x1b[2J\x9b2J\u202e\r\n"
    run("add", f"p{bad}", f"a{bad}", f"--tag=t{bad}", f"--note={bad}", f"--source={bad}")
    run("rm", lines(run("list", "--json")[1])[0]["id"], "-m", bad, f"--author={bad}")
    run("undo")
    Path("bad.csv").write_text(f'"{bad}",answer\n1,2\n')
    (key,) = (edit["id"] for edit in lines(run("list", "--json")[1]))
    for line in (
        "list", "list --json", f"show {key}", f"show {key} --json", "log", "log --json", "diff 0",
        "import bad.csv", "check",
    ):  # fmt: skip
        _, printed, errors = run(*line.split())
        assert set("".join((printed, errors)).replace("\n", "")) & set(bad) <= {"x", "[", "2", "J"}
    assert lines(run("list", "--json")[1])[0]["prompt"] == f"p{bad}"
    assert len(run("show", key)[1].splitlines()) == 8


@pytest.mark.parametrize("name", [row.name for rows in list(GROUPS.values())[:1] for row in rows])
def test_a_command_of_the_memory_imports_neither_jax_nor_numpy(book, name, folder):
    """Each runs where importing them is an error."""
    Path("more.csv").write_text("question,answer\nq,a\n")
    run_line = {
        "add": "add p a", "rm": f"rm {book}", "show": f"show {book}", "import": "import more.csv",
        "merge": "merge edits.jsonl",
    }.get(name, name)  # fmt: skip
    code = (
        "import sys; sys.modules.update(jax=None, numpy=None, jaxtyping=None);"
        " from serac_jax.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    if name == "redo":
        Store.open("edits.jsonl").undo()
    done = subprocess.run(
        [sys.executable, "-c", code, *run_line.split()],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_help_groups_commands_and_imports_none_of_them():
    code = (
        "import sys; from serac_jax.cli.main import main\n"
        "try: main(['--help'])\n"
        "finally: print(*sorted(name for name in sys.modules if 'serac_jax.cli.' in name))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    shown = done.stdout.splitlines()
    assert [line[:-1] for line in shown if line[:-1] in GROUPS] == list(GROUPS)
    assert set(shown[-1].split()) == {
        f"serac_jax.cli.{name}" for name in ("command", "commands", "main")
    }


def test_the_version_is_the_packages():
    done = subprocess.run([*MODULE, "--version"], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == f"serac {serac_jax.__version__}\n"
    assert done.returncode == 0
