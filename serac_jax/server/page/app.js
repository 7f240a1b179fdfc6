// Starts the page, and shows the view that the address names.

import { forgetKey, get, key, onKeyNeeded } from "./api.js";
import { button, choose, el, field, find, reporting, said, toast } from "./dom.js";
import { state } from "./parts.js";
import * as chat from "./chat.js";
import * as conflicts from "./conflicts.js";
import * as draft from "./draft.js";
import * as edits from "./edits.js";
import * as history from "./history.js";

const VIEWS = { chat, edits, draft, history, conflicts };
const TITLES = { chat: "Chat", edits: "Edits", draft: "Draft", history: "History", conflicts: "Conflicts" };
let asking;

onKeyNeeded((refused) => {
  asking ||= askForKey(refused).finally(() => { asking = undefined; });
  return asking;
});

async function askForKey(refused) {
  const input = el("input", { type: "password", autocomplete: "off", spellcheck: "false", placeholder: "sk-serac-…" });
  const hint = refused
    ? "The server does not know this key."
    : "It is kept in this tab until you close it. `serac serve key NAME` makes one.";
  const found = await choose("This server needs an API key", field("API key", input, hint), [
    { text: "Cancel", kind: "" },
    { text: "Continue", kind: "primary", value: () => input.value.trim() },
  ]);
  return found || "";
}

function about() {
  const { editor, upstream, mode, name, keys, may_edit: edits, version } = state.about;
  find("about").replaceChildren(el("div", {},
    el("p", {}, el("strong", {}, editor.replace(/\/$/, "").split("/").pop()), upstream && ` in front of ${state.model || "an upstream"}`),
    upstream && mode === "inject" && el("p", {}, "Edits are put before the question."),
    el("p", {}, keys ? `${name}, ${edits ? "may edit" : "may ask"}` : "No API keys: this machine only"),
    keys && key() && button("Forget the key", () => { forgetKey(); location.reload(); }, "quiet"),
    el("p", {}, `serac ${version}`)));
}

const route = reporting(async () => {
  const [, name, rest] = location.hash.split("/");
  const view = Object.hasOwn(VIEWS, name) ? name : "chat";
  for (const section of document.querySelectorAll(".view")) section.hidden = section.id !== view;
  for (const link of document.querySelectorAll("nav a")) {
    link.dataset.view === view ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
  }
  document.title = `${TITLES[view]} · serac`;
  document.body.dataset.view = view;
  await VIEWS[view].show(rest && decodeURIComponent(rest));
});

async function refresh() {
  await conflicts.count();
  const view = document.body.dataset.view;
  if (view !== "chat" && view !== "draft") await VIEWS[view].show();
}

find("skip").addEventListener("click", (event) => {
  event.preventDefault();
  find("main").focus();
});
document.addEventListener("edits-changed", reporting(refresh));

try {
  state.about = await get("about");
  state.model = (await get("v1/models")).data?.[0]?.id || "";
} catch (error) {
  toast(said(error), "error", { text: "Reload", run: () => location.reload() });
}
for (const view of Object.values(VIEWS)) view.start();
if (state.about.editor) {
  about();
  conflicts.count().catch((error) => toast(said(error), "error"));
}
window.addEventListener("hashchange", route);
await route();
document.body.dataset.ready = "";
