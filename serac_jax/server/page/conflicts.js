// Edits that get in each other's way, to settle one by one.

import { get } from "./api.js";
import { ago, button, el, find } from "./dom.js";
import { mayEdit, meta, pair, remove } from "./parts.js";

const MEANS = {
  contradiction: "Both ask the same, and answer otherwise",
  duplicate: "Both say the same",
  shadows: "The newer one would answer the older one's own question",
  shadowed: "The older one answers the newer one's own question",
};
let list, deep = false;

export function start() {
  list = el("ul", { class: "list" });
  find("conflicts").replaceChildren(
    el("div", { class: "title" }, el("h1", { id: "conflicts-title" }, "Conflicts"),
      button("Look in other words too", () => { deep = true; return show(); })),
    list);
}

export async function count() {
  const { conflicts } = await get("conflicts");
  const badge = find("conflict-count");
  badge.hidden = !conflicts.length;
  badge.textContent = conflicts.length;
  badge.setAttribute("aria-label", `${conflicts.length} to settle`);
}

export async function show() {
  const { conflicts } = await get("conflicts", { ask: deep });
  list.replaceChildren(...conflicts.map(row));
  if (!conflicts.length) {
    list.append(el("li", { class: "empty" }, deep
      ? "No two edits get in each other's way."
      : "No two edits of the same words answer otherwise."));
  }
}

function row({ kind, old, new: newer }) {
  const side = (edit, name, other) => el("div", { class: "side-of" },
    el("h3", {}, name), pair(edit), meta(edit),
    el("p", { class: "muted" }, edit.author || "nobody", edit.time && ", ", edit.time && ago(edit.time)),
    mayEdit() && button(`Keep the ${name.toLowerCase()} one`, () => remove(other, "settled a conflict")));
  return el("li", { class: "card conflict" }, el("p", {}, el("strong", {}, MEANS[kind] || kind)),
    el("div", { class: "compare" }, side(old, "Older", newer), side(newer, "Newer", old)));
}
