// The conversation: answers as they come, what decided each, and how to correct it.

import { call, chat, get } from "./api.js";
import { button, el, field, find, once, said, tagsOf, toast } from "./dom.js";
import { SHORT, keep, mayEdit, pair, scoreBar, state } from "./parts.js";
import { openDraft } from "./draft.js";

const messages = [];
const LIKE = ["What is the capital of France?", "Who wrote Dracula?"];

export function start() {
  const form = find("composer"), question = find("question");
  form.addEventListener("submit", once(() => ask(question.value.trim())));
  question.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  question.addEventListener("input", () => fit(question));
  welcome();
}

export function show() {
  if (matchMedia("(pointer: fine)").matches) find("question").focus();
}

function fit(box) {
  box.style.height = "auto";
  box.style.height = `${Math.min(box.scrollHeight + 2, 200)}px`;
}

function welcome() {
  find("turns").replaceChildren(el("div", { class: "welcome" },
    el("h2", {}, "Ask, and correct what is wrong"),
    el("p", { class: "muted" },
      "Each answer says whether an edit gave it. A correction holds at once, also for the same question in other words, and can be undone."),
    el("div", { class: "suggestions" },
      LIKE.map((text) => button(text, () => ask(text), "suggestion")))));
}

async function ask(question) {
  if (!question) return;
  const turns = find("turns"), box = find("question");
  if (!messages.length) turns.replaceChildren();
  box.value = "";
  fit(box);
  const text = el("div", { class: "text pending" }), notes = el("div", { class: "notes" });
  const turn = el("article", { class: "turn", "aria-busy": "true" },
    el("p", { class: "asked" }, question), text, notes);
  turns.append(turn);
  turn.scrollIntoView({ block: "end" });
  const sent = [...messages, { role: "user", content: question }];
  let happened;
  try {
    await chat(state.model, sent, (found) => { happened = found; }, (piece) => {
      text.classList.remove("pending");
      text.append(piece);
      turn.scrollIntoView({ block: "end" });
    });
  } catch (error) {
    text.classList.add("failed");
    text.append(`${said(error)} `, button("Ask again", () => { turn.remove(); return ask(question); }, "quiet"));
    return;
  } finally {
    text.classList.remove("pending");
    turn.removeAttribute("aria-busy");
  }
  const answer = text.textContent;
  if (!answer) text.append(el("span", { class: "muted" }, "(an empty answer)"));
  messages.push(sent.at(-1), { role: "assistant", content: answer });
  footnotes(notes, question, answer, happened);
  turn.scrollIntoView({ block: "end" });
  box.focus();
}

// What stands below an answer: its origin, and what can be done about it.
function footnotes(notes, question, answer, happened) {
  const details = el("div", { class: "details" });
  const toggle = (text, fill) => {
    const shown = button(text, async () => {
      const open = shown.getAttribute("aria-expanded") === "true";
      for (const other of line.querySelectorAll("[aria-expanded]")) other.setAttribute("aria-expanded", "false");
      details.replaceChildren();
      if (open) return;
      await fill(details);
      shown.setAttribute("aria-expanded", "true");
      details.scrollIntoView({ block: "nearest" });
    }, "quiet", { "aria-expanded": "false" });
    return shown;
  };
  const line = el("div", { class: "line" },
    origin(happened),
    toggle("Why?", (place) => explain(place, question, happened)),
    mayEdit() && toggle("Correct", (place) => correct(place, question)),
    happened.edit && button("Report a false hit", (event) => report(event, question, happened.edit, "hit"), "quiet"));
  notes.append(line, details);
}

function origin({ edit, score, unsure }) {
  if (edit) {
    return el("a", { class: "chip edited", href: `#/edits/${edit}`, title: "Show this edit" },
      `Edit ${edit.slice(0, SHORT)}`, el("span", {}, score.toFixed(2)));
  }
  const name = state.about.upstream ? "Upstream model" : "Base model";
  return unsure
    ? el("span", { class: "chip unsure", title: "An edit might have answered" }, `${name}, unsure`, el("span", {}, score.toFixed(2)))
    : el("span", { class: "chip" }, name);
}

async function report(event, question, edit, wrong) {
  await call("POST", "reports", { question, edit_id: edit, wrong });
  event.target.replaceWith(el("span", { class: "muted done" }, "Reported"));
  toast("Thank you. `serac calibrate` reads these reports.");
}

async function explain(place, question, happened) {
  const why = await call("POST", "why", { question });
  const near = why.nearest;
  place.replaceChildren(el("dl", {},
    near && [
      el("dt", {}, why.edit_id ? "The edit that answers" : "The nearest edit"),
      el("dd", {}, pair(near.edit), scoreBar(near.score, why.threshold),
        !why.edit_id && mayEdit() && button("It should have answered", (event) => report(event, question, near.edit.id, "miss"), "quiet")),
    ],
    why.runner_up && [
      el("dt", {}, "The next one"),
      el("dd", {}, pair(why.runner_up.edit), el("p", { class: "muted" }, `Score ${why.runner_up.score.toFixed(2)}.`)),
    ],
    !near && [el("dt", {}, "Edits"), el("dd", {}, "None is near to this question.")],
    el("dt", {}, happened.edit ? "Without the edit" : "The base model"),
    el("dd", { class: "base" }, why.base_text || "(an empty answer)")));
}

function correct(place, question) {
  const input = el("input", { autocomplete: "off", required: true, maxlength: 100000 });
  const own = (state.about.tags || []).join(", ");
  const tags = el("input", { autocomplete: "off", value: own, placeholder: "everyone" });
  const draft = () => ({ prompt: question, answer: input.value.trim(), tags: tagsOf(tags.value) });
  const form = el("form", { class: "correct", onsubmit: once(async () => {
    if (draft().answer && (await keep(draft()))) {
      place.replaceChildren(el("p", { class: "saved" }, "Corrected. ",
        button("Ask again", () => ask(question), "quiet")));
    }
  }) },
    field("The right answer", input),
    field("For questions tagged", tags, "Separated by commas; leave empty for everyone."),
    el("div", { class: "actions" },
      button("Try it first", () => openDraft({ ...draft(), question })),
      el("button", { class: "primary" }, "Save")));
  place.replaceChildren(form);
  input.focus();
}
