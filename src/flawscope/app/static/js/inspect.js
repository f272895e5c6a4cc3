// Inspect: pictures are sent one after the other, nothing is lost while the station is full, and the verdict of
// the one that is looked at fills the page.

import { StationError, call, fill, piece, uuid, wait } from "./api.js";
import { dropped } from "./dropped.js";
import { startViews } from "./view.js";

const AT_ONCE = 3; // pictures under way; the rest wait here
const PICTURE = /\.(png|jpe?g|bmp|tiff?|webp|pgm|ppm)$/i;
const WORST_FIRST = ["NG", "NONE", "REVIEW", "OK"];

const root = document.querySelector("[data-inspect]");
const find = (selector) => root.querySelector(selector);
const words = root.dataset;
const state = { waiting: [], underWay: 0, results: [], shown: -1, paused: false, started: null, all: 0, fullUntil: 0, showing: null };

function problem(text) {
  const place = find("[data-problem]");
  place.textContent = text ?? "";
  place.hidden = !text;
}

// ---- taking pictures in

function take(files) {
  const pictures = [...files].filter((file) => file.type.startsWith("image/") || PICTURE.test(file.name));
  const chosen = pictures.length ? pictures : [...files]; // what is no picture gets its answer from the station
  if (!chosen.length) return;
  problem("");
  if (!state.waiting.length && !state.underWay) {
    Object.assign(state, { results: [], shown: -1, started: new Date(), all: 0 });
    if (!root.querySelector("[data-panel] [data-inspection]") || chosen.length) waiting();
  }
  chosen.sort((a, b) => (a.webkitRelativePath || a.name).localeCompare(b.webkitRelativePath || b.name, undefined, { numeric: true }));
  for (const file of chosen) state.waiting.push({ file, id: uuid() });
  state.all += chosen.length;
  tell();
  pump();
}

function waiting() {
  state.showing?.abort(); // a part that comes now is no longer looked at
  find("[data-panel]").replaceChildren(find("[data-waiting]").content.cloneNode(true));
}

// ---- sending

function pump() {
  while (!state.paused && state.underWay < AT_ONCE && state.waiting.length && Date.now() >= state.fullUntil) {
    send(state.waiting.shift());
  }
}

async function send(job) {
  state.underWay += 1;
  try {
    const origin = new FormData(find("[data-origin]"));
    const form = new FormData();
    form.append("file", job.file, job.file.name);
    form.append("id", job.id); // sent twice, kept once
    for (const name of ["product", "lot", "part"]) if (origin.get(name)) form.append(name, origin.get(name));
    if (!origin.get("part")) form.append("part", job.file.name.slice(-100));
    const answer = await call("POST", "/api/inspect", { form });
    done(job, answer);
  } catch (error) {
    if (!(error instanceof StationError)) throw error;
    if (error.status === 503 || error.status === 429 || error.status === 0) {
      state.waiting.unshift(job);
      later(error.retryAfter || 3, error.status === 0 ? words.wordSilent : words.wordFull);
    } else {
      done(job, { id: null, verdict: null, error: error.problem, sentences: error.sentences() });
    }
  } finally {
    state.underWay -= 1;
    tell();
    pump();
  }
}

async function later(seconds, why) {
  if (Date.now() < state.fullUntil) return;
  state.fullUntil = Date.now() + 1000 * seconds;
  for (let left = seconds; left > 0; left -= 1) {
    problem(fill(why, { seconds: Math.ceil(left), kept: state.waiting.length }));
    await wait(Math.min(1, left));
  }
  state.fullUntil = 0;
  problem("");
  pump();
}

function done(job, answer) {
  const verdict = answer.verdict && answer.verdict !== "NOT JUDGED" ? answer.verdict : "NONE";
  const result = { id: answer.id, name: job.file.webkitRelativePath || job.file.name, verdict, answer };
  state.results.push(result);
  if (state.shown < 0 || !state.paused) show(state.results.length - 1);
  if (!state.waiting.length && state.underWay <= 1) settle();
}

// When all are judged, the worst come first.
function settle() {
  if (state.results.length < 2) return;
  state.results.sort((a, b) => WORST_FIRST.indexOf(a.verdict) - WORST_FIRST.indexOf(b.verdict));
  show(0);
}

// ---- showing

async function show(index) {
  const result = state.results[index];
  if (!result) return;
  state.shown = index;
  tell();
  if (!result.id) {
    waiting();
    find("[data-panel] .verdict").dataset.verdict = "NONE";
    find("[data-panel] .verdict-word span").textContent = words.wordNone;
    problem(result.answer.sentences);
    return;
  }
  await look(result.id);
}

async function look(id) {
  state.showing?.abort();
  state.showing = new AbortController();
  try {
    const html = await piece(`/i/${id}/panel`, { signal: state.showing.signal });
    const panel = find("[data-panel]");
    panel.innerHTML = html;
    window.htmx.process(panel);
    startViews(panel);
    const url = new URL(location.href);
    url.searchParams.set("id", id);
    for (const name of ["z", "x", "y"]) url.searchParams.delete(name);
    history.replaceState(history.state, "", url);
    find("[data-to-review]").disabled = false;
    document.querySelector("[data-drop]")?.classList.add("slim");
  } catch (error) {
    if (error.name !== "AbortError") problem(error.sentences?.() ?? String(error));
  }
}

function tell() {
  find("[data-next]").disabled = state.results.length < 2;
  find("[data-pause]").disabled = state.all < 2;
  if (state.started) import("./batch.js").then(({ drawBatch }) => drawBatch(root, state, show));
}

// ---- the ways in

const zone = find("[data-drop]");
if (zone) {
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) zone.classList.remove("over"); });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    dropped(event.dataTransfer).then(take, (error) => problem(String(error)));
  });
  document.addEventListener("paste", (event) => take(event.clipboardData.files));
  for (const input of root.querySelectorAll("[data-files]")) {
    input.addEventListener("change", () => {
      take(input.files);
      input.value = "";
    });
  }
}

find("[data-next]").addEventListener("click", () => show((state.shown + 1) % state.results.length));
find("[data-pause]").addEventListener("click", (event) => {
  state.paused = !state.paused;
  event.currentTarget.setAttribute("aria-pressed", String(state.paused));
  tell();
  pump();
});
find("[data-to-review]").addEventListener("click", async () => {
  const id = find("[data-panel] [data-inspection]")?.dataset.inspection;
  if (!id) return;
  try {
    await call("POST", "/api/reviews/ask", { json: { inspection_ids: [id] } });
    location.href = `/review?id=${id}`;
  } catch (error) {
    problem(error.sentences());
  }
});
find("[data-origin]")?.addEventListener("submit", (event) => event.preventDefault());
find("[data-origin]")?.addEventListener("change", () => {
  const url = new URL(location.href);
  for (const [name, value] of new FormData(find("[data-origin]"))) {
    if (name === "part") continue;
    if (value) url.searchParams.set(name, value);
    else url.searchParams.delete(name);
  }
  if (find("[data-follow]").checked) url.searchParams.set("follow", "1");
  else url.searchParams.delete("follow");
  history.replaceState(history.state, "", url);
});

// what other cameras send is shown as it is judged
document.querySelector("[data-live]")?.addEventListener("inspection", (event) => {
  if (!find("[data-follow]")?.checked || state.underWay || state.paused) return;
  const told = typeof event.detail?.data === "string" ? JSON.parse(event.detail.data) : event.detail;
  if (told?.id) look(told.id);
});

// ---- camera

find("[data-camera-open]")?.addEventListener("click", async () => {
  const { openCamera } = await import("./camera.js");
  if (await openCamera(root, take)) return;
  problem(words.wordNoCamera);
  if (!navigator.mediaDevices?.getUserMedia) document.getElementById("inspect-shot").click();
});

// fetched while there is a connection
setTimeout(() => Promise.all([import("./batch.js"), import("./camera.js")]).catch(() => {}), 2000);
