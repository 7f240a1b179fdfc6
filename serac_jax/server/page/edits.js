// The list of edits: search, tags, use, history, removal.

import { get } from "./api.js";
import { ago, button, choose, counted, el, field, find, once, reporting } from "./dom.js";
import { idOf, mayEdit, operations, pair, remove, tags } from "./parts.js";
import { openDraft } from "./draft.js";

const PAGE = 50;
let query = { q: "", tag: [], expired: undefined };
let list, more, total, chosen, known = new Set(), latest = 0;

export function start() {
  let waiting;
  const search = el("input", { type: "search", placeholder: "Search", "aria-label": "Search edits",
    oninput: () => {
      clearTimeout(waiting);
      waiting = setTimeout(reporting(() => { query.q = search.value.trim(); return load(); }), 200);
    } });
  const expired = el("input", { type: "checkbox", id: "expired", onchange: reporting(() => {
    query.expired = expired.checked || undefined;
    return load();
  }) });
  chosen = el("div", { class: "filters", role: "group", "aria-label": "Tags" });
  list = el("ul", { class: "list edits" });
  total = el("p", { class: "muted", role: "status" });
  more = button("Show more", () => load(list.children.length), "", { hidden: true });
  find("edits").replaceChildren(
    el("div", { class: "title" }, el("h1", { id: "edits-title" }, "Edits"),
      button("New edit", () => openDraft({}), "primary", { id: "new-edit" })),
    el("div", { class: "tools" }, search, el("label", { class: "check" }, expired, "Expired too")),
    chosen, total, list, more);
}

export async function show(id) {
  find("new-edit").hidden = !mayEdit();
  await load();
  if (id) await open(id);
}

async function load(offset = 0) {
  const asked = (latest += 1);
  const found = await get("edits", { ...query, limit: PAGE, offset });
  if (asked !== latest) return;  // another search has begun meanwhile
  const rows = found.edits.map(row);
  offset ? list.append(...rows) : list.replaceChildren(...rows);
  const filtered = query.q || query.tag.length;
  total.textContent = counted(found.total, "edit") + (filtered ? " found" : "");
  if (!found.total) {
    list.append(el("li", { class: "empty" }, filtered
      ? "No edit matches."
      : "No edits yet. Correct an answer in the chat, or draft one."));
  }
  more.hidden = list.children.length >= found.total;
  found.edits.forEach((edit) => edit.tags.forEach((tag) => known.add(tag)));
  filters();
}

function filters() {
  chosen.hidden = !known.size;
  chosen.replaceChildren(...[...known].sort().map((tag) => {
    const pressed = query.tag.includes(tag);
    return button(tag, () => {
      query.tag = pressed ? query.tag.filter((one) => one !== tag) : [...query.tag, tag];
      return load();
    }, "tag", { "aria-pressed": String(pressed) });
  }));
}

function usage(edit) {
  if (!edit.answers) return ["not used yet"];
  return [`answered ${counted(edit.answers, "question")}, last `, ago(edit.last_answered)];
}

function row(edit) {
  const body = el("div", { class: "body", id: `body-${edit.id}`, hidden: true });
  const head = el("button", { type: "button", class: "head", "aria-expanded": "false", "aria-controls": body.id,
    onclick: once(() => toggle(head, body, edit)) },
    pair(edit),
    el("div", { class: "meta" }, tags(edit), edit.expired && el("span", { class: "tag expired" }, "expired"),
      el("span", { class: "muted" }, ...usage(edit))));
  return el("li", { class: "edit", id: `edit-${edit.id}` }, head, body);
}

async function toggle(head, body, edit, open = body.hidden) {
  head.setAttribute("aria-expanded", String(open));
  body.hidden = !open;
  if (!open) return;
  const history = el("ol", { class: "operations" });
  const fact = (name, value) => value && [el("dt", {}, name), el("dd", {}, value)];
  body.replaceChildren(
    el("dl", { class: "facts" },
      fact("Id", idOf(edit)), fact("Author", edit.author), fact("Added", edit.time && ago(edit.time)),
      fact("Note", edit.note), fact("Source", edit.source),
      fact(edit.expired ? "Not used since" : "Not used from", edit.expires && ago(edit.expires))),
    el("h2", {}, "History"), history,
    el("div", { class: "actions" },
      button("Draft a change", () => openDraft({ ...edit, question: edit.prompt })),
      mayEdit() && button("Remove", () => ask(edit), "danger")));
  await operations(history, { edit_id: edit.id, limit: 20 });
}

async function ask(edit) {
  const reason = el("input", { autocomplete: "off", placeholder: "optional" });
  const message = await choose("Remove this edit?", el("div", { class: "stack" }, pair(edit), field("Why", reason)), [
    { text: "Cancel", kind: "" },
    { text: "Remove", kind: "primary", value: () => ({ text: reason.value.trim() }) },
  ]);
  if (message) await remove(edit, message.text);
}

// Shows one edit, also where it is not on the first page.
async function open(id) {
  let shown = find(`edit-${id}`);
  if (!shown) {
    try {
      shown = row(await get(`edits/${encodeURIComponent(id)}`));
    } catch (error) {
      if (error.status !== 404) throw error;
      list.prepend(el("li", { class: "empty" }, "This edit is gone. The history shows when."));
      return;
    }
    list.prepend(shown);
  }
  const head = shown.querySelector(".head");
  if (head.getAttribute("aria-expanded") === "false") head.click();
  shown.scrollIntoView({ block: "center" });
  head.focus();
}
