// Review: one key a part. The next parts are there before they are asked for; an answer that could not be saved
// is kept and sent again; the zoom stays between pictures.

import { StationError, call, fill, piece, uuid, wait } from "./api.js";
import { MaskEditor } from "./mask.js";
import { startViews, viewOf } from "./view.js";

const AHEAD = 3;
const QUEUE = 20;
const MOST = 200; // parts the station gives at once
const BREAK_MS = 30 * 60 * 1000;
const CLAIMED = "claimed";

const root = document.querySelector("[data-review]");
const words = root.dataset;
const find = (selector) => root.querySelector(selector);
const state = { queue: words.queue.split(" ").filter(Boolean), ahead: new Map(), unsaved: [], began: Date.now(), answered: new Set(), editor: null, region: -1, turn: 0, changes: 0, sending: false, undoing: false, recount: false };

const part = () => find("[data-part]");
const left = () => Number(/\d+/.exec(find("[data-left]").textContent)?.[0] ?? 0);
const count = (n) => { find("[data-left]").textContent = fill(words.wordLeft, { n: Math.max(0, n) }); };

const problems = { answer: "", part: "" }; // one that ends must not wipe the other away
function problem(of, text) {
  problems[of] = text;
  const all = Object.values(problems).filter(Boolean).join(" ");
  find("[data-problem]").textContent = all;
  find("[data-problem]").hidden = !all;
}

// ---- the part that is looked at

function begin() {
  const shown = part();
  state.editor = null;
  state.region = -1;
  state.began = Date.now();
  if (!shown) return;
  startViews(root);
  const view = viewOf(shown.querySelector("[data-view]"));
  if (view && shown.querySelector("[data-mask-tools]")) state.editor = new MaskEditor(shown, view);
  if (view && state.zoom) {
    view.panzoom.zoom(state.zoom.scale, { animate: false });
    setTimeout(() => view.panzoom.pan(state.zoom.x, state.zoom.y, { animate: false }), 0);
  }
  call("POST", "/api/reviews/claim", { json: { inspection_id: shown.dataset.part } }).catch((error) => {
    if (error instanceof StationError && error.problem.code === CLAIMED && part() === shown) {
      find("[data-said]").textContent = fill(words.wordHas, { words: error.problem.message });
      next();
    }
  });
  const url = new URL(location.href);
  url.searchParams.set("id", shown.dataset.part);
  history.replaceState(history.state, "", url);
  fetchAhead();
}

function fetchAhead() {
  for (const id of state.queue.filter((one) => one !== part()?.dataset.part && !state.answered.has(one)).slice(0, AHEAD)) {
    if (state.ahead.has(id)) continue;
    state.ahead.set(id, piece(`/review/${id}/piece`).catch(() => null));
    const picture = new Image();
    picture.src = `/i/${id}/image`;
  }
}

// While an answer is on its way nobody here knows whether the station has counted it: what it says then is asked again.
const calm = () => !state.unsaved.length && !state.undoing;

async function more() {
  const changes = calm() ? state.changes : -1;
  const limit = Math.min(MOST, QUEUE + state.unsaved.length);
  const answer = await call("GET", `/api/reviews/queue?limit=${limit}`).catch(() => null);
  if (!answer) return;
  state.queue = answer.inspections.map((one) => one.id).filter((id) => !state.answered.has(id));
  state.recount = state.changes !== changes;
  if (!state.recount) count(answer.waiting);
  await settled();
}

async function settled() {
  if (state.recount && calm()) await more();
}

// The part as HTML, asked for until it comes; null where there is none any more.
async function pieceOf(id, turn) {
  let html = await state.ahead.get(id);
  while (!html && turn === state.turn) {
    try {
      html = await piece(`/review/${id}/piece`);
    } catch (error) {
      if (error.status === 404) break;
      problem("part", error.sentences?.() ?? document.body.dataset.wordNoConnection);
      await wait(3);
    }
  }
  problem("part", "");
  return html;
}

async function next() {
  const turn = ++state.turn;
  const view = part() && viewOf(part().querySelector("[data-view]"));
  if (view) {
    const scale = view.panzoom.getScale();
    state.zoom = scale > 1.01 ? { scale, ...view.panzoom.getPan() } : null;
  }
  const now = part()?.dataset.part;
  state.queue = state.queue.filter((id) => id !== now && !state.answered.has(id));
  if (!state.queue.length) await more();
  const id = state.queue[0];
  const html = id ? await pieceOf(id, turn) : null;
  if (turn !== state.turn) return; // another part was asked for meanwhile
  if (id && !html) { // it is gone
    state.answered.add(id);
    next();
    return;
  }
  state.ahead.delete(id);
  if (html) find("[data-place]").innerHTML = html;
  else find("[data-place]").replaceChildren(find("[data-empty]").content.cloneNode(true));
  begin();
  if (state.queue.length <= AHEAD) more().then(fetchAhead);
}

// ---- answers

function answer(value, defect = "") {
  const shown = part();
  if (!shown || state.answered.has(shown.dataset.part)) return; // a key for the part before is none for the next
  const said = { inspection_id: shown.dataset.part, answer: value, id: uuid(), seconds: Math.min(86400, (Date.now() - state.began) / 1000) };
  if (value === "bad" && defect) said.defect = defect;
  const mask = value === "bad" ? state.editor?.png() : "";
  if (mask) said.mask = mask;
  state.answered.add(said.inspection_id);
  state.unsaved.push({ said, name: shown.getAttribute("aria-label") });
  state.changes += 1;
  state.recount ||= !state.queue.includes(said.inspection_id); // opened by its address, it may not have waited
  count(left() - 1);
  next();
  save();
  if (!state.onBreak && Date.now() - started > BREAK_MS) {
    find("[data-break]").hidden = false;
    state.onBreak = true;
  }
}
const started = Date.now();

async function save() {
  if (state.sending) return;
  state.sending = true;
  while (state.unsaved.length) {
    const { said, name } = state.unsaved[0];
    try {
      const kept = await call("POST", "/api/reviews", { json: said });
      state.unsaved.shift();
      const undo = find("[data-undo]");
      undo.disabled = false;
      undo.dataset.last = kept.id;
      undo.dataset.lastPart = said.inspection_id;
      const told = { good: words.wordGood, bad: words.wordBad, skip: words.wordSkip }[said.answer];
      find("[data-said]").textContent = fill(words.wordSaid, { name, answer: said.defect ? `${told}, ${said.defect}` : told });
      problem("answer", "");
    } catch (error) {
      if (error instanceof StationError && error.status >= 400 && error.status < 500 && error.status !== 429 && error.status !== 408) {
        state.unsaved.shift(); // it will never be taken
        state.recount = true;
        problem("answer", error.sentences());
        continue;
      }
      problem("answer", fill(words.wordUnsaved, { n: state.unsaved.length }));
      await wait(3);
    }
  }
  state.sending = false;
  await settled();
}
window.addEventListener("beforeunload", (event) => { if (state.unsaved.length) event.preventDefault(); });

async function undo() {
  const button = find("[data-undo]");
  const { last, lastPart } = button.dataset;
  if (!last || !calm()) return;
  button.disabled = true;
  state.undoing = true;
  state.changes += 1;
  try {
    await call("POST", `/api/reviews/${last}/undo`, { json: {} });
    state.turn += 1;
    state.answered.delete(lastPart);
    state.queue = [lastPart, ...state.queue.filter((id) => id !== lastPart)];
    find("[data-place]").innerHTML = await piece(`/review/${lastPart}/piece`);
    count(left() + 1);
    find("[data-said]").textContent = "";
    begin();
    const mine = await call("GET", "/api/reviews/mine?limit=20");
    const before = mine.find((one) => !one.undone);
    button.dataset.last = before?.id ?? "";
    button.dataset.lastPart = before?.inspection_id ?? "";
    button.disabled = !before;
  } catch (error) {
    problem("answer", error.sentences?.() ?? String(error));
  } finally {
    state.undoing = false;
    await settled();
  }
}

root.addEventListener("click", (event) => {
  const button = event.target.closest("[data-answer]");
  if (button) answer(button.dataset.answer, button.dataset.defect);
  if (event.target.closest("[data-undo]")) undo();
  if (event.target.closest("[data-break-over]")) find("[data-break]").hidden = true;
  if (event.target.closest("[data-next-region]")) {
    const boxes = JSON.parse(part()?.dataset.boxes ?? "[]");
    if (!boxes.length) return;
    state.region = (state.region + 1) % boxes.length;
    viewOf(part().querySelector("[data-view]")).show(boxes[state.region]);
  }
});
root.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-other]")) return;
  event.preventDefault();
  answer("bad", event.target.elements.defect.value.trim());
});
// parts that come while nothing waits
document.querySelector("[data-live]")?.addEventListener("inspection", () => { if (!part() && !state.unsaved.length) more().then(() => { if (state.queue.length) next(); }); });

begin();
root.dataset.ready = "yes";
