"""The edits' interface over HTTP: what is stored, what is refused, and who changed what."""

import json
import re

import pytest

from serac_jax.edits import records
from serac_jax.edits.store import Store
from tests.conftest import ROOT
from tests.servers import DRACULA, repeating_editor, serving


@pytest.fixture(scope="module")
def loaded():
    return repeating_editor()


@pytest.fixture
def client(loaded):
    with serving(loaded) as client:
        yield client


def test_an_edit_is_added_shown_and_removed_and_each_change_is_a_version(client):
    added = client.post("/edits", json=DRACULA | {"tags": ["books"], "note": "for a test"})
    assert (added.status_code, added.headers["etag"]) == (201, '"1"')
    edit = added.json()
    assert edit["id"] == records.edit_id(DRACULA["prompt"], DRACULA["answer"], ["books"])
    assert added.headers["location"] == f"/edits/{edit['id']}"
    shown = client.get(f"/edits/{edit['id']}").json()
    assert (shown["note"], shown["author"], shown["answers"]) == ("for a test", "tester", 0)
    again = DRACULA | {"tags": ["books"], "note": "for a test"}
    assert client.post("/edits", json=again).status_code == 200
    removed = client.delete(f"/edits/{edit['id']}", params={"message": "it was wrong"})
    assert (removed.status_code, removed.json()["version"]) == (200, 2)
    assert client.get(f"/edits/{edit['id']}").status_code == 404
    assert client.delete(f"/edits/{edit['id']}").status_code == 404
    newest, first = client.get("/log").json()["operations"]
    assert (newest["do"], newest["message"], first["do"]) == ("remove", "it was wrong", "add")


def test_a_contradiction_is_refused_and_told_until_someone_insists(client):
    old = client.post("/edits", json=DRACULA).json()
    other = DRACULA | {"answer": "Bram Stoker"}
    refused = client.post("/edits", json=other)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (409, "contradiction")
    assert [found["old"]["id"] for found in error["conflicts"]] == [old["id"]]
    assert client.get("/edits").json()["version"] == 1
    kept = client.post("/edits", json=other | {"policy": "keep"})
    assert (kept.status_code, kept.json()["replaced"]) == (201, [])
    client.post("/undo")
    replaced = client.post("/edits", json=other | {"policy": "newest"}).json()
    assert replaced["replaced"] == [old["id"]]
    assert [edit["answer"] for edit in client.get("/edits").json()["edits"]] == ["Bram Stoker"]


def test_a_change_for_another_version_changes_nothing(client):
    client.post("/edits", json=DRACULA)
    more = {"prompt": "Who wrote Emma?", "answer": "Jane Austen"}
    late = client.post("/edits", json=more, headers={"If-Match": '"0"'})
    assert (late.status_code, late.json()["error"]["version"]) == (409, 1)
    for change in (client.post("/undo", headers={"If-Match": '"0"'}),):
        assert (change.status_code, change.json()["error"]["code"]) == (409, "version")
    assert client.get("/edits").json()["version"] == 1
    assert client.post("/edits", json=more, headers={"If-Match": '"1"'}).status_code == 201
    assert client.post("/undo", headers={"If-Match": "*"}).json()["version"] == 3
    assert client.post("/redo", headers={"If-Match": 'W/"3"'}).json()["version"] == 4
    assert client.post("/redo", headers={"If-Match": "new"}).status_code == 400


@pytest.mark.parametrize("path", ["/edits", "/edits/export"])
def test_what_was_then_is_no_version_to_change(client, path):
    client.post("/edits", json=DRACULA)
    client.post("/undo")
    assert client.get(path).headers["etag"] == '"2"'
    then = client.get(path, params={"as_of": "1"})
    assert DRACULA["prompt"] in then.text
    assert "etag" not in then.headers


def test_edits_are_found_by_text_tag_author_and_time_page_by_page(client):
    for number in range(5):
        edit = {"prompt": f"Who is {number}?", "answer": f"Number {number}"}
        client.post("/edits", json=edit | {"tags": ["odd"] if number % 2 else []})
    client.post("/edits", json=DRACULA | {"expires": "2020-01-01"})

    def prompts(**query):
        return [edit["prompt"] for edit in client.get("/edits", params=query).json()["edits"]]

    assert len(prompts()) == 5  # without the expired one
    assert prompts(expired=True)[-1] == DRACULA["prompt"]
    assert prompts(tag="odd") == ["Who is 1?", "Who is 3?"]
    assert prompts(q="number 4") == ["Who is 4?"]
    assert prompts(by="someone else") == []
    assert prompts(limit=2, offset=3) == ["Who is 3?", "Who is 4?"]
    assert prompts(as_of="1") == ["Who is 0?"]
    assert client.get("/edits", params={"as_of": "99"}).status_code == 400
    assert client.get("/edits", params={"limit": 5000}).status_code == 422


def test_undo_redo_and_diff_tell_what_they_changed(client):
    assert client.post("/undo").json()["error"]["message"] == "there is nothing to undo"
    client.post("/edits", json=DRACULA)
    assert client.get("/diff").json()["added"][0]["answer"] == "Mary Shelley"
    undone = client.post("/undo").json()
    assert undone["operation"]["added"][0]["answer"] == "Mary Shelley"
    assert client.get("/edits").json()["edits"] == []
    assert client.post("/redo").json()["version"] == 3
    found = client.get("/diff", params={"from": "2", "to": "3"}).json()
    assert [edit["answer"] for edit in found["added"]] == ["Mary Shelley"]
    assert found["removed"] == []


def test_an_export_can_be_imported_elsewhere_and_is_a_memory_file(client, loaded, tmp_path):
    for number in range(3):
        client.post("/edits", json={"prompt": f"Who is {number}?", "answer": f"Number {number}"})
    exported = client.get("/edits/export")
    (tmp_path / "edits.jsonl").write_bytes(exported.content)
    held = Store.open(tmp_path / "edits.jsonl").edits
    assert [edit.answer for edit in held.values()] == ["Number 0", "Number 1", "Number 2"]
    text = {"content-type": "text/plain"}
    with serving(loaded) as other:
        done = other.post("/edits/import", content=exported.content, headers=text).json()
        assert (done["read"], done["added"], done["version"]) == (3, 3, 1)
        rows = other.get("/edits/export", params={"format": "csv"})
        assert rows.text.splitlines()[1].startswith("Who is 0?,Number 0")
        again = other.post(
            "/edits/import", params={"format": "csv"}, content=rows.content, headers=text
        )
        assert again.json()["added"] == 0
        wrong = other.post("/edits/import", content='{"prompt": 3}', headers=text)
        assert (wrong.status_code, wrong.json()["error"]["message"][:7]) == (400, "body:1:")


def test_conflicts_of_a_draft_are_told_and_nothing_is_stored(client):
    client.post("/edits", json=DRACULA)
    (found,) = client.post("/conflicts", json=DRACULA | {"answer": "Kim"}).json()["conflicts"]
    assert (found["kind"], found["old"]["answer"]) == ("contradiction", "Mary Shelley")
    assert client.get("/conflicts").json() == {"version": 1, "conflicts": []}
    checked = client.get("/check").json()
    assert (checked["edits"], checked["problems"], "judged" in checked) == (1, [], False)
    assert client.get("/check", params={"ask": True}).json()["unanswered"] == []


def test_a_draft_is_tried_on_a_question_without_being_kept(client):
    draft = {"question": "who wrote dracula", "edit": DRACULA}
    tried = client.post("/try", json=draft).json()
    assert (tried["would_answer"], tried["text"]) == (True, "Mary Shelley")
    assert tried["now"]["edit_id"] is None
    other = client.post("/try", json=draft | {"question": "What do vampires drink?"}).json()
    assert (other["would_answer"], other["text"]) == (False, "")
    assert client.get("/edits").json()["version"] == 0


def test_a_false_hit_becomes_a_row_that_calibrate_reads(loaded, tmp_path):
    from serac_jax.serving import trials

    with serving(loaded, tmp_path / "edits.jsonl") as client:
        edit_id = client.post("/edits", json=DRACULA).json()["id"]
        report = {"question": "Who wrote Emma?", "edit_id": edit_id}
        assert client.post("/reports", json=report).status_code == 201
        missed = {"question": "Dracula is by?", "edit_id": edit_id, "wrong": "miss"}
        client.post("/reports", json=missed)
        assert client.post("/reports", json=report | {"edit_id": "0"}).status_code == 404
        assert "serac_false_hit_reports_total 2.0" in client.get("/metrics").text
    rows = trials.of_file(tmp_path / "edits.jsonl.reports.jsonl")
    assert [row.outside for row in rows] == [("Who wrote Emma?",), ()]
    assert [row.inside for row in rows] == [
        (DRACULA["prompt"],),
        (DRACULA["prompt"], "Dracula is by?"),
    ]


def test_what_others_write_is_answered_by_at_once(loaded, tmp_path):
    path = tmp_path / "edits.jsonl"
    with serving(loaded, path) as client:
        other = Store.open(path, author="someone else")
        other.add([other.make(**DRACULA)])
        answer = client.post("/ask", json={"question": DRACULA["prompt"]}).json()
        assert answer["text"] == "Mary Shelley"
        assert client.get("/edits").json()["edits"][0]["author"] == "someone else"
        other.undo()
        assert client.post("/ask", json={"question": DRACULA["prompt"]}).json()["edit_id"] is None


def test_a_damaged_memory_answers_by_what_was_read_last_and_refuses_changes(loaded, tmp_path):
    path = tmp_path / "edits.jsonl"
    with serving(loaded, path) as client:
        client.post("/edits", json=DRACULA)
        whole = path.read_bytes()
        path.write_bytes(whole + b"<<<<<<< ours\n")
        answer = client.post("/ask", json={"question": DRACULA["prompt"]}).json()
        assert answer["text"] == "Mary Shelley"
        refused = client.post("/edits", json={"prompt": "Who wrote Emma?", "answer": "Jane"})
        assert refused.status_code == 503
        assert "edits.jsonl:3: a conflict marker of git" in refused.json()["error"]["message"]
        assert client.get("/readyz").status_code == 503
        path.write_bytes(whole)
        added = client.post("/edits", json={"prompt": "Who wrote Emma?", "answer": "Jane"})
        assert added.status_code == 201


def test_the_version_after_a_change_has_nothing_that_others_did_behind_it(loaded, tmp_path):
    """Else a change for that version would pass over theirs."""
    path = tmp_path / "edits.jsonl"
    with serving(loaded, path) as client:
        editor = client.app.state.context.editor
        edit_many, others = editor.edit_many, []

        def meanwhile():
            other = Store.open(path, author="someone else")
            others.append(other.add([other.make(f"Who is {len(others)}?", "Ann")]))

        def inserted(*args, **how):
            done = edit_many(*args, **how)
            meanwhile()
            return done

        editor.edit_many = inserted
        added = client.post("/edits", json=DRACULA)
        assert (added.json()["version"], added.headers["ETag"]) == (1, '"1"')
        rows = '{"prompt": "Who wrote Emma?", "answer": "Jane"}\n'
        imported = client.post("/edits/import", content=rows)
        assert imported.json()["version"] == 3
        refused = client.post("/undo", headers={"If-Match": '"3"'})
        assert (refused.status_code, refused.json()["error"]["version"]) == (409, 4)
        assert client.delete(f"/edits/{added.json()['id']}").json()["version"] == 5


def test_a_full_disk_is_told_and_loses_nothing(loaded, tmp_path, monkeypatch):
    from serac_jax.edits import disk

    def full(self, lines, durable=True):
        raise OSError(28, "No space left on device")

    with serving(loaded, tmp_path / "edits.jsonl") as client:
        client.post("/edits", json=DRACULA)
        monkeypatch.setattr(disk.Disk, "_write_journal", full)
        refused = client.post("/edits", json={"prompt": "Who wrote Emma?", "answer": "Jane"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (507, "storage_full")
        monkeypatch.undo()
        assert [edit["answer"] for edit in client.get("/edits").json()["edits"]] == ["Mary Shelley"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 422),
        (b'{"prompt": 3, "answer": "x"}', 422),
        (b'{"prompt": "q", "answer": ""}', 422),
        (b'{"prompt": "  ", "answer": "x"}', 400),
        (b'{"prompt": "q", "answer": "x", "more": 1}', 422),
        (b'{"prompt": "\\ud800", "answer": "x"}', 422),
        (b'{"prompt": "q", "answer": "x", "expires": "soon"}', 400),
        (b'{"prompt": "q", "answer": "x", "policy": "ask"}', 422),
        (b"[" * 100_000, 400),
        (b"\xff\xfe", 400),
    ],
)
def test_bodies_that_are_not_edits_are_refused_in_one_line(client, body, status):
    refused = client.post("/edits", content=body, headers={"content-type": "application/json"})
    error = refused.json()["error"]
    assert refused.status_code == status, refused.text
    assert error["type"] == "invalid_request_error"
    assert "\n" not in error["message"]
    assert client.get("/edits").json()["total"] == 0


def test_the_openapi_description_and_the_page_name_every_route_and_use_no_other_host(client):
    found = client.get("/openapi.json")
    page = (ROOT / "docs" / "how-to" / "serve.md").read_text()
    named = set(re.findall(r"(?<=[ `])/[\w/{}]+", page))
    routes = found.json()["paths"].keys() - {"/v1/models/{model}"}  # beside the list of them
    assert {"/edits", "/v1/chat/completions"} <= routes <= named
    assert "https://" not in json.dumps(found.json())
    assert client.get("/docs").status_code == 404
