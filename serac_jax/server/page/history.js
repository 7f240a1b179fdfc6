// Who changed what, and how it is taken back.

import { call } from "./api.js";
import { button, el, find, toast } from "./dom.js";
import { changed, mayEdit, operations, told, undo } from "./parts.js";

let list, more, buttons, limit = 30, version;

export function start() {
  buttons = el("div", { class: "actions" },
    button("Undo", () => undo(version), "", { id: "undo" }),
    button("Redo", redo, "", { id: "redo" }));
  list = el("ol", { class: "operations card" });
  more = button("Show more", () => { limit = 1000; return show(); });
  find("history").replaceChildren(
    el("div", { class: "title" }, el("h1", { id: "history-title" }, "History"), buttons), list, more);
}

export async function show() {
  buttons.hidden = !mayEdit();
  const shown = await operations(list, { limit });
  version = shown.version;
  more.hidden = shown.found.length < limit || limit === 1000;
  find("redo").disabled = shown.found[0]?.do !== "undo" && shown.found[0]?.do !== "redo";
}

async function redo() {
  const done = await call("POST", "redo", undefined, version);
  toast(`Done again: ${told(done.operation)}.`);
  changed();
}
