// The service as functions. A refusal becomes a Problem, whose words are fit to be shown.

export class Problem extends Error {
  constructor(body) {
    super(body.detail || body.title || "The service did not answer.");
    this.body = body;
    this.kind = (body.type || "").split(":").pop();
    this.title = body.title || "Something went wrong";
    this.status = body.status || 0;
  }
}

// The tab's own storage: a token is forgotten with the tab, and no cookie carries it to where it should not go.
const TOKEN = "regrow.token";
export const setToken = (token) => sessionStorage.setItem(TOKEN, token);

async function ask(method, path, { body, type, accept = "application/json" } = {}) {
  const headers = { accept };
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.authorization = `Bearer ${token}`;
  if (body !== undefined) headers["content-type"] = type || "application/json";
  const plain = body === undefined || body instanceof Blob || body instanceof ArrayBuffer || typeof body === "string";
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: plain ? body : JSON.stringify(body) });
  } catch {
    throw new Problem({ title: "No connection", detail: "The service does not answer. Is it still running?" });
  }
  if (!answer.ok) {
    throw new Problem(await answer.json().catch(() => ({ status: answer.status, detail: `It answered ${answer.status}.` })));
  }
  return answer;
}

const json = async (...request) => (await ask(...request)).json();
const one = (id) => `/v1/sessions/${encodeURIComponent(id)}`;
const delta = (id) => `/v1/deltas/${encodeURIComponent(id)}`;

export const models = () => json("GET", "/v1/models");
export const open = (model, name) => json("POST", "/v1/sessions", { body: { model, name } });
export const sessions = () => json("GET", "/v1/sessions");
export const session = (id) => json("GET", one(id));
export const rename = (id, name) => ask("PATCH", one(id), { body: { name } });
export const erase = (id) => ask("DELETE", one(id));
export const undo = (id) => ask("POST", `${one(id)}/undo`);
export const reset = (id) => ask("POST", `${one(id)}/reset`);
export const load = (id, saved) => ask("POST", `${one(id)}/load`, { body: { delta: saved } });
export const save = (id, name) => json("POST", `${one(id)}/deltas`, { body: { name } });
export const deltas = () => json("GET", "/v1/deltas");
export const eraseDelta = (id) => ask("DELETE", delta(id));
export const download = async (id) => (await ask("GET", `${delta(id)}/file`, { accept: "application/octet-stream" })).blob();

export function upload(model, name, file) {
  const query = new URLSearchParams({ model, name });
  return json("POST", `/v1/deltas?${query}`, { body: file, type: "application/octet-stream" });
}

export function addSample(id, label, sample, heldBack) {
  const query = new URLSearchParams({ label, held_back: heldBack });
  return json("POST", `${one(id)}/samples?${query}`, { body: sample.data, type: sample.type });
}

export const holdBack = (id, sample, held) => ask("PATCH", `${one(id)}/samples/${sample}`, { body: { held_back: held } });
export const eraseSample = (id, sample) => ask("DELETE", `${one(id)}/samples/${sample}`);
export const eraseClass = (id, label) => ask("DELETE", `${one(id)}/samples?${new URLSearchParams({ label })}`);
export function renameClass(id, label, name) {
  return ask("PATCH", `${one(id)}/classes?${new URLSearchParams({ label })}`, { body: { name } });
}
export const numbers = async (id, sample) => (await json("GET", `${one(id)}/samples/${sample}`)).x;
export const picture = async (id, sample) => (await ask("GET", `${one(id)}/samples/${sample}`, { accept: "image/png" })).blob();

export function predict(id, sample, at) {
  return json("POST", `${one(id)}/predict?at=${at}`, { body: sample.data, type: sample.type });
}

/** Learn; `heard(event, data)` is called for every event but the last, which is returned. */
export async function adapt(id, start, heard) {
  const answer = await ask("POST", `${one(id)}/adapt`, { body: { start }, accept: "text/event-stream" });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Problem({ title: "The connection broke", detail: "It may have learned all the same: reload the page to see." });
    text += value;
    for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
      const [event, data] = parse(text.slice(0, end));
      text = text.slice(end + 2);
      if (event === "done") return data;
      if (event === "problem") throw new Problem(data);
      if (event) heard(event, data);
    }
  }
}

function parse(block) {
  const lines = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s)));
  return [lines.event, lines.data ? JSON.parse(lines.data) : null];
}
