// Talks to the station: no request without its token.

export class StationError extends Error {
  constructor(problem, status, retryAfter) {
    super(problem.message || `HTTP ${status}`);
    this.problem = problem;
    this.status = status;
    this.retryAfter = retryAfter;
  }

  // The error as sentences for a person: its kind, input, expected, found, what to do.
  sentences() {
    const words = document.body.dataset;
    const { code, expected, found, remedy } = this.problem;
    const parts = [JSON.parse(words.problems ?? "{}")[code], this.message];
    if (expected) parts.push(`${words.wordExpected} ${expected}`);
    if (found) parts.push(`${words.wordFound} ${found}`);
    if (remedy) parts.push(remedy);
    return parts.filter(Boolean).map((part) => `${part.replace(/\.$/, "")}.`).join(" ");
  }
}

const token = () => document.querySelector('meta[name="csrf"]')?.content ?? "";

export async function call(method, path, { json, form, signal, headers } = {}) {
  const sent = { Accept: "application/json", ...(headers ?? {}) };
  if (method !== "GET") sent["X-CSRF-Token"] = token();
  let body;
  if (json !== undefined) {
    sent["Content-Type"] = "application/json";
    body = JSON.stringify(json);
  } else if (form !== undefined) {
    body = form;
  }
  let response;
  try {
    response = await fetch(path, { method, headers: sent, body, signal, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new StationError({ code: "no_connection", message: document.body.dataset.wordNoConnection }, 0, 3);
  }
  if (response.status === 204) return null;
  const answer = await response.json().catch(() => ({}));
  if (!response.ok || !answer.ok) {
    throw new StationError(answer.error ?? {}, response.status, Number(response.headers.get("Retry-After") ?? 0));
  }
  return answer.data;
}

// A piece of a page as HTML; the server words it.
export async function piece(path, { signal } = {}) {
  const response = await fetch(path, { headers: { Accept: "text/html", "HX-Request": "true" }, signal, credentials: "same-origin" });
  if (!response.ok) throw new StationError({}, response.status, 0);
  return response.text();
}

export const wait = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

// Plain HTTP on a LAN has no randomUUID; the address of a blob ends with one.
export function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const address = URL.createObjectURL(new Blob());
  URL.revokeObjectURL(address);
  return address.slice(-36);
}

// Fills {name} in a sentence that the server worded.
export const fill = (text, values) => text.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
