// Requests to the server. An API key, where one is needed, is kept for this tab only.

const NAME = "serac-api-key";
let askForKey = async () => "";

export class Refused extends Error {
  constructor(status, error, wait) {
    super(error.message || `the server answered ${status}`);
    Object.assign(this, { status, code: error.code, error, wait });
  }
}

export const key = () => sessionStorage.getItem(NAME) || "";

export function forgetKey() {
  sessionStorage.removeItem(NAME);
}

// What asks a person for a key; called again where the key is not known to the server.
export function onKeyNeeded(ask) {
  askForKey = ask;
}

// The response to a request that was served; throws Refused for all others.
export async function send(method, path, body, headers = {}) {
  for (;;) {
    const given = key();
    const response = await reach(path, {
      method,
      headers: {
        ...(given && { Authorization: `Bearer ${given}` }),
        ...(body !== undefined && { "Content-Type": "application/json" }),
        ...headers,
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
    });
    if (response.ok) return response;
    if (response.status !== 401) throw await refusal(response);
    if (key() === given) {  // else another request has got one meanwhile
      const found = await askForKey(Boolean(given));
      if (!found) throw await refusal(response);
      sessionStorage.setItem(NAME, found);
    }
  }
}

async function reach(path, request) {
  try {
    return await fetch(path, request);
  } catch {
    throw new Refused(0, { message: "The server cannot be reached. Is it still running?" });
  }
}

async function refusal(response) {
  let error = {};
  try {
    error = (await response.json()).error || {};
  } catch {
    // a proxy's page, which says nothing to a person
  }
  return new Refused(response.status, error, response.headers.get("Retry-After"));
}

export async function call(method, path, body, version) {
  const headers = version === undefined ? {} : { "If-Match": `"${version}"` };
  return (await send(method, path, body, headers)).json();
}

export const get = (path, params = {}) => {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const one of [value].flat()) if (one !== "" && one !== undefined) query.append(name, one);
  }
  return call("GET", query.size ? `${path}?${query}` : path);
};

// Streams the answer to a conversation: `started` is told what happened, `piece` each new text.
export async function chat(model, messages, started, piece) {
  const response = await send("POST", "v1/chat/completions", { model, messages, stream: true });
  const told = (name) => response.headers.get(`X-Serac-${name}`) || "";
  started({
    edit: told("Edit"),
    score: Number(told("Score")) || 0,
    unsure: told("Unsure") === "true",
  });
  const type = response.headers.get("Content-Type") || "";
  if (!type.startsWith("text/event-stream")) {
    piece((await response.json()).choices?.[0]?.message?.content || "");
    return;
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      const fields = JSON.parse(data);
      if (fields.error) throw new Refused(500, fields.error);
      piece(fields.choices?.[0]?.delta?.content || "");
    }
  }
}
