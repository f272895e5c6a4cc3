// Inspect: pictures are sent one after the other, nothing is lost while the station is full, and the verdict of
// the one that is looked at fills the page.

import { StationError, call, fill, piece, uuid, wait } from "./api.js";
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

async function filesOf(items) {
  const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const found = [];
  const walk = async (entry) => {
    if (entry.isFile) {
      found.push(await new Promise((done, failed) => entry.file(done, failed)));
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!some.length) break;
      for (const one of some) await walk(one);
    }
  };
  for (const entry of entries) await walk(entry);
  return found;
}

function take(files) {
  const pictures = [...files].filter((file) => file.type.startsWith("image/") || PICTURE.test(file.name));
  const chosen = pictures.length ? pictures : [...files]; // what is no picture gets its answer from the station
  if (!chosen.length) return;
  problem("");
  if (!state.waiting.length && !state.underWay) {
    Object.assign(state, { results: [], shown: -1, started: new Date(), all: 0 });
    find("[data-list]").replaceChildren();
    if (!root.querySelector("[data-panel] [data-inspection]") || chosen.length) waiting();
  }
  chosen.sort((a, b) => (a.webkitRelativePath || a.name).localeCompare(b.webkitRelativePath || b.name, undefined, { numeric: true }));
  for (const file of chosen) state.waiting.push({ file, id: uuid() });
  state.all += chosen.length;
  tell();
  pump();
}

function waiting() {
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
      full(error.retryAfter || 3);
    } else {
      done(job, { id: null, verdict: null, error: error.problem, sentences: error.sentences() });
    }
  } finally {
    state.underWay -= 1;
    tell();
    pump();
  }
}

async function full(seconds) {
  if (Date.now() < state.fullUntil) return;
  state.fullUntil = Date.now() + 1000 * seconds;
  for (let left = seconds; left > 0; left -= 1) {
    problem(fill(words.wordFull, { seconds: Math.ceil(left), kept: state.waiting.length }));
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
  const item = document.createElement("li");
  item.append(tile(result));
  result.tile = item.firstChild;
  find("[data-list]").append(item);
  if (state.shown < 0 || !state.paused) show(state.results.length - 1);
  if (!state.waiting.length && state.underWay <= 1) settle();
}

// When all are judged, the worst come first, and the first of them is shown.
function settle() {
  if (state.results.length < 2) return;
  state.results.sort((a, b) => WORST_FIRST.indexOf(a.verdict) - WORST_FIRST.indexOf(b.verdict));
  find("[data-list]").append(...state.results.map((result) => result.tile.parentElement));
  show(0);
}

function tile(result) {
  const link = document.createElement("a");
  link.className = "tile";
  link.href = result.id ? `/i/${result.id}` : "#";
  const label = { OK: words.wordOk, REVIEW: words.wordReview, NG: words.wordNg, NONE: words.wordNone }[result.verdict];
  if (result.id) {
    const image = document.createElement("img");
    image.src = `/i/${result.id}/thumb.jpg`;
    image.alt = "";
    image.loading = "lazy";
    link.append(image);
  }
  const name = document.createElement("span");
  name.className = "name";
  name.textContent = result.name;
  const badge = document.createElement("span");
  badge.className = `badge ${{ OK: "ok", REVIEW: "review", NG: "ng", NONE: "none" }[result.verdict]}`;
  badge.textContent = label;
  link.append(name, badge);
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    show(state.results.indexOf(result));
  });
  return link;
}

// ---- showing

async function show(index) {
  const result = state.results[index];
  if (!result) return;
  state.shown = index;
  for (const one of state.results) one.tile.setAttribute("aria-selected", String(one === result));
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
  const { results, all } = state;
  find("[data-next]").disabled = results.length < 2;
  find("[data-pause]").disabled = all < 2;
  const batch = find("[data-batch]");
  if (!batch) return;
  batch.hidden = all < 2;
  find("[data-progress]").max = Math.max(all, 1);
  find("[data-progress]").value = results.length;
  find("[data-progress-words]").textContent = state.paused ? fill(words.wordPaused, { kept: state.waiting.length }) : fill(words.wordProgress, { done: results.length, all });
  const counts = { OK: 0, REVIEW: 0, NG: 0, NONE: 0 };
  for (const result of results) counts[result.verdict] += 1;
  const since = state.started ? new Date(state.started.getTime() - 1000).toISOString() : "";
  const query = (more) => new URLSearchParams({ from: since, ...more }).toString();
  find("[data-tally]").replaceChildren(...WORST_FIRST.filter((verdict) => counts[verdict]).map((verdict) => {
    const chip = document.createElement("a");
    chip.className = "chip";
    chip.href = `/history?${query({ verdict: verdict === "NONE" ? "NOT_JUDGED" : verdict })}`;
    chip.textContent = `${{ OK: words.wordOk, REVIEW: words.wordReview, NG: words.wordNg, NONE: words.wordNone }[verdict]} ${counts[verdict]}`;
    return chip;
  }));
  if (state.started) {
    find('[data-export="csv"]').href = `/api/inspections.csv?${query({})}`;
    find('[data-export="json"]').href = `/history.json?${query({})}`;
    find('[data-export="print"]').href = `/history?${query({ view: "print" })}`;
  }
}

// ---- the ways in

const zone = find("[data-drop]");
if (zone) {
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) zone.classList.remove("over"); });
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    const plain = [...event.dataTransfer.files];
    const walked = await filesOf(event.dataTransfer.items).catch(() => []);
    take(walked.length ? walked : plain);
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

const camera = find("[data-camera]");
let stream = null;
find("[data-camera-open]")?.addEventListener("click", async () => {
  if (!navigator.mediaDevices?.getUserMedia) {
    problem(words.wordNoCamera);
    document.getElementById("inspect-shot").click();
    return;
  }
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } }, audio: false });
  } catch {
    problem(words.wordNoCamera);
    return;
  }
  camera.hidden = false;
  find("[data-video]").srcObject = stream;
  camera.scrollIntoView({ block: "center" });
});
find("[data-camera-close]")?.addEventListener("click", () => {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  camera.hidden = true;
});
find("[data-take]")?.addEventListener("click", () => {
  const video = find("[data-video]");
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  canvas.toBlob((blob) => {
    const name = `camera-${new Date().toISOString().replace(/[:.]/g, "-")}.png`;
    take([new File([blob], name, { type: "image/png" })]);
  }, "image/png");
});
