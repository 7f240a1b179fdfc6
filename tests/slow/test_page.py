"""The web page in Chromium: what people do with it, by mouse, by keyboard, on a phone.

`pip install playwright && playwright install chromium` installs the browser; a Chromium of the
system will do. Without the package these tests are not collected.
"""

import os
import re
import shutil
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from playwright import sync_api as playwright

from serac_jax.edits.store import Store
from serac_jax.server import app
from serac_jax.server.settings import Settings
from serac_jax.server.tenants import make_key
from tests.facts import EDITS, REWORDED
from tests.servers import free_port, repeating_editor, wait_for

expect = playwright.expect
expect.set_options(timeout=60_000)  # programs compile on the way

pytestmark = pytest.mark.slow

(PROMPT, ANSWER), UNRELATED = EDITS[0], "What is the capital of France?"
MARKUP = "<img src=x onerror=alert(1)><b>bold</b>"
PHONE = {"width": 390, "height": 844}
SHOTS = os.environ.get("SERAC_SCREENSHOTS")  # a folder in which to keep pictures of the page


@pytest.fixture(scope="module")
def loaded():
    return repeating_editor()


@pytest.fixture(scope="module")
def chromium():
    with playwright.sync_playwright() as tool:
        found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
        browser = tool.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def listening(editor, memory=None, **settings):
    """The URL of a server, and its edits."""
    store = Store.open(memory, author="Ann")
    given = Settings(**{"warm_up": False, "memory": str(memory or "edits.jsonl")} | settings)
    served = app.create(editor.with_memory(store), given)
    config = uvicorn.Config(served, port=free_port(), log_level="critical")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield f"http://127.0.0.1:{config.port}", store
    finally:
        server.should_exit = server.force_exit = True
        thread.join()


@contextmanager
def opened(chromium, url, path="", **how):
    """The page, which loads nothing from elsewhere, breaks no rule and logs no error."""
    context = chromium.new_context(**{"viewport": {"width": 1200, "height": 800}} | how)
    page = context.new_page()
    wrong = []
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda sent: sent.url.startswith(url) or wrong.append(sent.url))
    page.goto(f"{url}/{path}")
    page.locator("body[data-ready], dialog").first.wait_for()
    try:
        yield page
        # that a request was refused is what some tests are about
        assert [one for one in wrong if "status of 4" not in one] == []
    finally:
        context.close()


@pytest.fixture
def served(loaded, tmp_path):
    with listening(loaded, reports=str(tmp_path / "reports")) as found:
        yield found


def shoot(page, name):
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png")


def ask(page, question):
    page.get_by_label("Message").fill(question)
    page.keyboard.press("Enter")
    turn = page.locator(".turn").last
    expect(turn.locator(".chip")).to_be_visible()
    return turn


def test_an_answer_is_corrected_explained_reported_and_taken_back(chromium, served, tmp_path):
    url, store = served
    with opened(chromium, url) as page:
        shoot(page, "welcome")
        turn = ask(page, REWORDED)
        expect(turn.locator(".chip")).to_have_text("Base model")
        turn.get_by_role("button", name="Correct").click()
        turn.get_by_label("The right answer").fill(ANSWER)
        shoot(page, "correct")
        turn.get_by_role("button", name="Save").click()
        expect(turn.get_by_text("Corrected.")).to_be_visible()
        (edit,) = store.edits.values()
        assert (edit.prompt, edit.answer) == (REWORDED, ANSWER)
        turn = ask(page, PROMPT)
        expect(turn.locator(".text")).to_have_text(ANSWER)
        expect(turn.locator(".chip")).to_contain_text(edit.id[:8])
        turn.get_by_role("button", name="Why?").click()
        expect(turn.get_by_text("The edit that answers")).to_be_visible()
        expect(turn.get_by_text("above the threshold")).to_be_visible()
        expect(turn.get_by_text("Without the edit")).to_be_visible()
        shoot(page, "why")
        turn.get_by_role("button", name="Report a false hit").click()
        expect(turn.get_by_text("Reported")).to_be_visible()
        assert PROMPT in (tmp_path / "reports").read_text()
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_text("Undone:")).to_be_visible()
        assert store.refresh() in (True, False)
        assert store.edits == {}
        expect(ask(page, PROMPT).locator(".chip")).to_have_text("Base model")


def test_a_contradiction_is_decided_by_a_person(chromium, served):
    url, store = served
    store.add([store.make(PROMPT, ANSWER)])
    with opened(chromium, url) as page:
        turn = ask(page, PROMPT)
        turn.get_by_role("button", name="Correct").click()
        turn.get_by_label("The right answer").fill("Bram Stoker")
        turn.get_by_role("button", name="Save").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_text("Another answer is stored")).to_be_visible()
        shoot(page, "contradiction")
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        assert [edit.answer for edit in store.edits.values()] == [ANSWER]
        turn.get_by_role("button", name="Save").click()
        page.get_by_role("button", name="Replace the stored one").click()
        expect(page.get_by_text("1 replaced")).to_be_visible()
        assert [edit.answer for edit in store.edits.values()] == ["Bram Stoker"]


def test_a_draft_is_tried_before_it_is_kept(chromium, served):
    url, store = served
    with opened(chromium, url, "#/draft") as page:
        page.get_by_label("Question, or whatever").fill(PROMPT)
        page.get_by_label("Answer", exact=True).fill(ANSWER)
        page.get_by_role("textbox", name="Tags").fill("books, gothic")
        page.get_by_label("Try a question").fill(REWORDED)
        page.get_by_role("button", name="Try", exact=True).click()
        expect(page.get_by_text("The draft answers.")).to_be_visible()
        shoot(page, "draft")
        page.get_by_label("Try a question").fill(UNRELATED)
        page.get_by_role("button", name="Try", exact=True).click()
        expect(page.get_by_text("The draft does not apply.")).to_be_visible()
        page.get_by_role("button", name="Look for conflicts").click()
        expect(page.get_by_role("heading", name="No conflicts")).to_be_visible()
        assert store.edits == {}
        page.get_by_role("button", name="Keep this edit").click()
        expect(page.get_by_text("Edit saved.")).to_be_visible()
        assert [edit.tags for edit in store.edits.values()] == [("books", "gothic")]


def test_edits_are_searched_opened_removed_and_brought_back(chromium, served):
    url, store = served
    store.add([store.make(*one, tags=["books"] if "Dracula" in one[0] else []) for one in EDITS])
    with opened(chromium, url) as page:
        ask(page, PROMPT)
        page.get_by_role("link", name="Edits").click()
        rows = page.locator(".edit")
        expect(rows).to_have_count(len(EDITS))
        expect(rows.first).to_contain_text("answered 1 question, last just now")
        shoot(page, "edits")
        page.get_by_label("Search edits").fill("hamlet")
        expect(rows).to_have_count(1)
        page.get_by_label("Search edits").fill("")
        page.get_by_role("button", name="books").click()
        expect(rows).to_have_count(1)
        rows.first.get_by_role("button").first.click()
        expect(rows.first.get_by_text("add", exact=True)).to_be_visible()
        shoot(page, "edit")
        rows.first.get_by_role("button", name="Remove").click()
        page.get_by_label("Why").fill("wrong")
        page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        expect(page.get_by_text("Edit removed.")).to_be_visible()
        assert len(store.edits) == len(EDITS) - 1
        page.get_by_role("link", name="History").click()
        expect(page.locator(".operation").first).to_contain_text("wrong")
        shoot(page, "history")
        page.locator("#undo").click()
        expect(page.locator(".operation").first).to_contain_text("undo of 2")
        assert len(store.edits) == len(EDITS)
        page.locator("#redo").click()
        expect(page.locator(".operation").first).to_contain_text("redo of 2")


def test_conflicts_are_settled(chromium, served):
    url, store = served
    store.add([store.make(PROMPT, ANSWER), store.make(PROMPT, "Bram Stoker")])
    with opened(chromium, url) as page:
        expect(page.locator("#conflict-count")).to_have_text("1")
        page.get_by_role("link", name="Conflicts").click()
        expect(page.get_by_text("Both ask the same, and answer otherwise")).to_be_visible()
        shoot(page, "conflicts")
        page.get_by_role("button", name="Keep the newer one").click()
        expect(page.get_by_text("No two edits")).to_be_visible()
        expect(page.locator("#conflict-count")).to_be_hidden()
        assert [edit.answer for edit in store.edits.values()] == ["Bram Stoker"]


def test_a_key_is_asked_for_and_says_what_one_may_do(chromium, loaded, tmp_path):
    keys = tmp_path / "keys"
    reader = make_key(keys, "reader", ["books"], False)
    with (
        listening(loaded, api_keys=str(keys)) as (url, store),
        opened(chromium, url) as page,
    ):
        store.add([store.make(PROMPT, ANSWER, tags=["books"]), store.make("Who?", "x", tags=["y"])])
        expect(page.get_by_role("dialog")).to_be_visible()
        shoot(page, "key")
        page.get_by_role("textbox", name="API key").fill("sk-serac-wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_text("does not know this key")).to_be_visible()
        page.get_by_role("textbox", name="API key").fill(reader)
        page.keyboard.press("Enter")
        expect(page.locator("#about")).to_contain_text("reader, may ask")
        turn = ask(page, PROMPT)
        expect(turn.locator(".text")).to_have_text(ANSWER)
        expect(turn.get_by_role("button", name="Correct")).to_have_count(0)
        page.get_by_role("link", name="Edits").click()
        expect(page.locator(".edit")).to_have_count(1)
        assert page.evaluate("Object.keys(localStorage).length") == 0
        page.reload()
        expect(page.locator("#about")).to_contain_text("reader")
        page.get_by_role("button", name="Forget the key").click()
        expect(page.get_by_role("dialog")).to_be_visible()


def test_texts_are_texts(chromium, served):
    url, store = served
    store.add([store.make(MARKUP, MARKUP, tags=[MARKUP], note=MARKUP)], message=MARKUP)
    with opened(chromium, url) as page:
        turn = ask(page, MARKUP)
        expect(turn.locator(".text")).to_have_text(MARKUP)
        turn.get_by_role("button", name="Why?").click()
        expect(turn.locator(".details")).to_contain_text(MARKUP)
        for view in ("edits", "history", "conflicts"):
            page.goto(f"{url}/#/{view}")
            page.wait_for_timeout(300)
        page.goto(f"{url}/#/edits/{next(iter(store.edits))}")
        expect(page.locator(".edit .body")).to_contain_text(MARKUP)
        assert page.locator("b:has-text('bold'), img[src='x']").count() == 0


def test_all_is_done_by_keyboard(chromium, served):
    url, store = served
    with opened(chromium, url) as page:
        expect(page.get_by_label("Message")).to_be_focused()
        page.keyboard.type(PROMPT)
        page.keyboard.press("Enter")
        turn = page.locator(".turn").last
        expect(turn.locator(".chip")).to_be_visible()
        expect(page.get_by_label("Message")).to_be_focused()
        for _ in range(2):  # back over Why? and Correct
            page.keyboard.press("Shift+Tab")
            if page.evaluate("document.activeElement.textContent") == "Correct":
                break
        page.keyboard.press("Enter")
        page.keyboard.type(ANSWER)
        page.keyboard.press("Enter")
        expect(turn.get_by_text("Corrected.")).to_be_visible()
        assert len(store.edits) == 1
        page.locator("body").click(position={"x": 1, "y": 1})
        page.goto(f"{url}/#/edits")
        page.locator("#skip").focus()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["phone", "desktop"])
def test_pages_fit_and_can_be_read(chromium, loaded, scheme, size):
    """No page scrolls sideways, every control has a name, and texts have contrast."""
    how = {"color_scheme": scheme}
    if size == "phone":
        how |= {"viewport": PHONE, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
    with listening(loaded) as (url, store):
        long = "What is the name of the longest word that a person has ever put into a question?"
        store.add([store.make(*one, tags=["books", "films"]) for one in EDITS])
        store.add(
            [
                store.make(long, "Donaudampfschifffahrt" * 4),
                store.make(PROMPT, "Bram", tags=["books"]),
            ]
        )
        with opened(chromium, url, **how) as page:
            turn = ask(page, PROMPT)
            turn.get_by_role("button", name="Why?").click()
            expect(turn.get_by_text("Without the edit")).to_be_visible()
            for view in ("chat", "edits", "draft", "history", "conflicts"):
                page.goto(f"{url}/#/{view}")
                page.wait_for_timeout(400)
                shoot(page, f"{view}-{size}-{scheme}")
                wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
                assert not wide, view
                for control in page.locator(
                    "button:visible, input:visible, textarea:visible"
                ).all():
                    assert control.evaluate(NAMED), control
                low = page.evaluate(CONTRAST)
                assert low == [], view


NAMED = """one => Boolean(one.textContent.trim() || one.getAttribute('aria-label')
    || one.labels?.length)"""
# Texts whose contrast with what is behind them is below 4.5, as WCAG asks for.
CONTRAST = """() => {
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const behind = (one) => {
    for (; one; one = one.parentElement) {
      const color = parse(getComputedStyle(one).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const one of document.querySelectorAll("main *, .side *")) {
    const own = [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const style = getComputedStyle(one);
    if (!own || !one.checkVisibility() || one.matches(":disabled, .visually-hidden")) continue;
    const [a, b] = [light(parse(style.color)), light(behind(one))].sort((x, y) => y - x);
    if ((a + .05) / (b + .05) < 4.5) low.push(one.className + ": " + one.textContent);
  }
  return low;
}"""


def test_a_page_of_another_site_gets_nothing(chromium, served):
    url, _ = served
    with opened(chromium, url) as page:
        headers = page.request.get(f"{url}/").headers
        policy = headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        for path in ("page/../app.py", "page/%2e%2e/app.py", "page/nothing.js", "page/"):
            assert page.request.get(f"{url}/{path}").status == 404, path
        loaded = page.evaluate("performance.getEntriesByType('resource').map(one => one.name)")
        assert loaded
        assert all(re.match(re.escape(url), one) for one in loaded)
