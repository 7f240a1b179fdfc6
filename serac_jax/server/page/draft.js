// A draft: an edit that is tried on questions before it is kept.

import { call } from "./api.js";
import { button, el, field, find, once, tagsOf } from "./dom.js";
import { keep, mayEdit, pair, scoreBar, state } from "./parts.js";

let inputs;

export function start() {
  inputs = {
    prompt: el("textarea", { rows: 2, required: true, placeholder: "Who leads the team?" }),
    answer: el("textarea", { rows: 2, required: true, placeholder: "Kim" }),
    tags: el("input", { placeholder: "everyone", autocomplete: "off" }),
    note: el("input", { autocomplete: "off" }),
    source: el("input", { autocomplete: "off" }),
    expires: el("input", { type: "date" }),
    question: el("input", { autocomplete: "off", placeholder: "Who is in charge of the team?" }),
  };
  const tried = el("div", { class: "tried", "aria-live": "polite" });
  const form = el("form", { class: "card stack", onsubmit: once(async () => {
    const { note, source, expires } = inputs;
    const more = { note: note.value.trim(), source: source.value.trim(), expires: expires.value };
    if (await keep({ ...draft(), ...more })) {
      form.reset();
      tried.replaceChildren();
    }
  }) },
    field("Question, or whatever the model is given", inputs.prompt),
    field("Answer", inputs.answer),
    field("Tags", inputs.tags, "Who it is for, separated by commas; leave empty for everyone."),
    el("details", {}, el("summary", {}, "Note, source, expiry"), el("div", { class: "stack" },
      field("Note", inputs.note), field("Source", inputs.source),
      field("Not used from", inputs.expires))),
    el("div", { class: "actions" },
      button("Look for conflicts", () => conflicts(tried)),
      el("button", { class: "primary", id: "keep" }, "Keep this edit")));
  const attempt = el("form", { class: "card stack", onsubmit: once(() => tryOut(tried)) },
    field("Try a question", inputs.question, "It is answered as it is now, and by the draft. Nothing is stored."),
    el("div", { class: "actions" }, el("button", {}, "Try")), tried);
  find("draft").replaceChildren(
    el("div", { class: "title" }, el("h1", { id: "draft-title" }, "Draft an edit")),
    el("div", { class: "columns" }, form, attempt));
}

export function show() {
  find("keep").disabled = !mayEdit();
  find("keep").title = mayEdit() ? "" : "This API key may not change edits";
  if (!inputs.tags.value && state.about.tags) inputs.tags.value = state.about.tags.join(", ");
}

// Shows a draft with these fields.
export function openDraft({ prompt = "", answer = "", tags = [], question = "" }) {
  Object.assign(inputs.prompt, { value: prompt });
  Object.assign(inputs.answer, { value: answer });
  Object.assign(inputs.tags, { value: tags.join(", ") });
  Object.assign(inputs.question, { value: question });
  location.hash = "#/draft";
  (answer ? inputs.question : inputs.answer).focus();
}

const draft = () => ({
  prompt: inputs.prompt.value.trim(),
  answer: inputs.answer.value.trim(),
  tags: tagsOf(inputs.tags.value),
});

async function tryOut(place) {
  const question = inputs.question.value.trim() || draft().prompt;
  if (!inputs.prompt.form.reportValidity() || !question) return;
  const found = await call("POST", "try", { question, edit: draft() });
  const by = found.now.edit_id ? `edit ${found.now.edit_id.slice(0, 8)}` : "the base model";
  place.replaceChildren(
    el("div", { class: "compare" },
      el("div", { class: "now" }, el("h2", {}, "Now"), el("p", { class: "said" }, found.now.text || "(an empty answer)"),
        el("p", { class: "muted" }, `By ${by}.`)),
      el("div", { class: found.would_answer ? "then hit" : "then" }, el("h2", {}, "With the draft"),
        found.would_answer
          ? [el("p", { class: "said" }, found.text), el("p", { class: "muted" }, "The draft answers.")]
          : [el("p", { class: "said" }, found.now.text || "(an empty answer)"), el("p", { class: "muted" }, "The draft does not apply.")])),
    scoreBar(found.score, found.threshold));
}

async function conflicts(place) {
  if (!inputs.prompt.form.reportValidity()) return;
  const { conflicts: found } = await call("POST", "conflicts", draft());
  place.replaceChildren(el("h2", {}, found.length ? "It gets in the way of" : "No conflicts"),
    found.length
      ? el("ul", { class: "list" }, found.map((one) => el("li", {}, pair(one.old), el("p", { class: "muted" }, one.kind))))
      : el("p", { class: "muted" }, "No stored edit asks the same and answers otherwise."));
}
