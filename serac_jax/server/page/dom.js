// Elements, times, messages and dialogs. All text goes in as text: nothing here parses markup.

export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === false || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "value" || name === "checked") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child || child === 0));
  return element;
}

export const find = (id) => document.getElementById(id);

export const button = (text, onclick, kind = "", properties = {}) =>
  el("button", { type: "button", class: kind, onclick: once(onclick), ...properties }, text);

// A handler that does not run twice at a time, and whose errors people see.
export function once(handler) {
  let running = false;
  return async (event) => {
    event?.preventDefault();
    if (running) return;
    running = true;
    const pressed = event?.submitter || event?.currentTarget;
    pressed?.setAttribute?.("aria-busy", "true");
    await reporting(handler)(event);
    running = false;
    pressed?.removeAttribute?.("aria-busy");
  };
}

// A handler whose errors people see.
export const reporting = (handler) => async (...given) => {
  try {
    await handler(...given);
  } catch (error) {
    toast(said(error), "error");
  }
};

export function said(error) {
  const wait = error.wait && !error.message.includes("wait") ? ` Try again in ${error.wait} s.` : "";
  return error.message + wait;
}

let count = 0;
export function field(label, input, hint = "") {
  input.id ||= `field-${++count}`;
  const note = hint && el("small", { id: `${input.id}-hint` }, hint);
  if (note) input.setAttribute("aria-describedby", note.id);
  return el("div", { class: "field" }, el("label", { for: input.id }, label), input, note);
}

export function toast(text, kind = "", action) {
  const remove = () => shown.remove();
  const shown = el(
    "div",
    { class: `toast ${kind}` },
    el("span", {}, text),
    action && button(action.text, async () => { remove(); await action.run(); }, "quiet"),
    button("×", remove, "quiet close", { "aria-label": "Dismiss" }),
  );
  find("toasts").append(shown);
  setTimeout(remove, kind === "error" ? 12000 : 8000);
}

// Shows a dialog until one of its choices is made; what was chosen, or undefined.
export function choose(title, contents, choices) {
  return new Promise((resolve) => {
    let chosen;
    const heading = el("h2", { id: `dialog-${++count}` }, title);
    const dialog = el("dialog", { "aria-labelledby": heading.id, onclose: () => {
      dialog.remove();
      resolve(chosen);
    } });
    const pick = (value) => {
      chosen = typeof value === "function" ? value() : value;
      dialog.close();
    };
    const form = el("form", { method: "dialog", onsubmit: (event) => {
      event.preventDefault();
      pick(choices.find((one) => one.kind === "primary").value);
    } }, heading, contents, el("div", { class: "actions" }, choices.map(({ text, value, kind }) =>
      kind === "primary"
        ? el("button", { class: kind }, text)
        : el("button", { type: "button", class: kind, onclick: () => pick(value) }, text))));
    dialog.append(form);
    document.body.append(dialog);
    dialog.showModal();
  });
}

const UNITS = [["year", 31536000], ["month", 2592000], ["day", 86400], ["hour", 3600], ["minute", 60]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

export function ago(time) {
  const seconds = (new Date(time) - Date.now()) / 1000;
  const [unit, size] = UNITS.find((one) => Math.abs(seconds) >= one[1]) || [];
  const text = unit ? relative.format(Math.round(seconds / size), unit) : "just now";
  return el("time", { datetime: time, title: new Date(time).toLocaleString() }, text);
}

export const counted = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;

export const tagsOf = (text) =>
  [...new Set(text.split(",").map((tag) => tag.trim()).filter(Boolean))];
