// How edits and scores are shown, and how an edit is kept.

import { call, get } from "./api.js";
import { choose, el, toast } from "./dom.js";

export const SHORT = 8;  // digits of an id that people see

export const state = { about: {} };

export const mayEdit = () => Boolean(state.about.may_edit);

// Tells all views that the edits have changed.
export const changed = () => document.dispatchEvent(new Event("edits-changed"));

export const idOf = (edit) => el("code", { class: "id", title: edit.id }, edit.id.slice(0, SHORT));

export const tags = (edit) => (edit.tags || []).map((tag) => el("span", { class: "tag" }, tag));

export const pair = (edit, kind = "") =>
  el("div", { class: `pair ${kind}` },
    el("span", { class: "prompt" }, edit.prompt),
    el("span", { class: "arrow", "aria-label": "gets the answer" }, " →\u00a0"),
    el("span", { class: "answer" }, edit.answer));

export const meta = (edit) => Boolean(edit.tags?.length) && el("div", { class: "meta" }, tags(edit));

// A score, with the threshold above which an edit answers.
export function scoreBar(score, threshold) {
  const bar = el("div", { class: "bar", "aria-hidden": "true" }, el("i"), el("b"));
  bar.style.setProperty("--score", score);
  bar.style.setProperty("--threshold", threshold);
  const side = score > threshold ? "above" : "not above";
  return el("div", { class: "score" }, bar, el("p", { class: "muted" },
    `Score ${score.toFixed(2)}, ${side} the threshold of ${threshold.toFixed(2)}.`));
}

// Adds an edit; where stored ones contradict it, a person decides. Whether it was added.
export async function keep(draft, policy = "refuse") {
  try {
    const done = await call("POST", "edits", { ...draft, policy });
    const replaced = done.replaced.length ? `, and ${done.replaced.length} replaced` : "";
    const text = done.new ? `Edit saved${replaced}.` : "This edit is stored already.";
    toast(text, "", done.new && { text: "Undo", run: () => undo(done.version) });
    changed();
    return done;
  } catch (error) {
    if (error.code !== "contradiction") throw error;
    const chosen = await choose(
      "Another answer is stored for this question",
      el("div", { class: "stack" },
        el("div", { class: "row" }, el("h3", {}, "Yours"), pair(draft)),
        el("div", { class: "row" }, el("h3", {}, "Stored now"),
          error.error.conflicts.map((one) => [pair(one.old), meta(one.old)]))),
      [
        { text: "Cancel", kind: "" },
        { text: "Keep both", value: "keep", kind: "" },
        { text: "Replace the stored one", value: "newest", kind: "primary" },
      ],
    );
    return chosen ? keep(draft, chosen) : null;
  }
}

export async function undo(version) {
  const done = await call("POST", "undo", undefined, version);
  toast(`Undone: ${told(done.operation)}.`, "", {
    text: "Redo",
    run: async () => {
      const again = await call("POST", "redo", undefined, done.version);
      toast(`Done again: ${told(again.operation)}.`);
      changed();
    },
  });
  changed();
}

export const told = (operation) =>
  `${operation.do} by ${operation.author || "nobody"}${operation.message ? `, “${operation.message}”` : ""}`;

export async function remove(edit, message = "") {
  const query = message ? `?${new URLSearchParams({ message })}` : "";
  const done = await call("DELETE", `edits/${edit.id}${query}`);
  toast("Edit removed.", "", { text: "Undo", run: () => undo(done.version) });
  changed();
}

export async function operations(list, params) {
  const { operations: found, version } = await get("log", params);
  list.replaceChildren(...found.map(operationRow));
  if (!found.length) list.append(el("li", { class: "empty" }, "Nothing yet."));
  return { version, found };
}

function operationRow(operation) {
  const lines = (edits, sign, label) => edits.slice(0, 5).map((edit) =>
    el("div", { class: `change ${label}` },
      el("span", { class: "sign", "aria-label": label }, sign), pair(edit)));
  const more = operation.added.length + operation.removed.length - 10;
  return el("li", { class: "operation" },
    el("div", { class: "head" },
      el("strong", {}, operation.do + (operation.of ? ` of ${operation.of}` : "")),
      el("span", {}, operation.author || "nobody"),
      el("span", { class: "muted" }, `#${operation.seq}`),
      el("time", { class: "muted", datetime: operation.time },
        new Date(operation.time).toLocaleString())),
    operation.message && el("p", { class: "message" }, operation.message),
    lines(operation.removed, "−", "removed"),
    lines(operation.added, "+", "added"),
    more > 0 && el("p", { class: "muted" }, "and more"));
}
