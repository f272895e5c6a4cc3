// Threshold: both limits are dragged over the histogram. What they would do is counted here, on the calibration
// and on reviewed parts, so that a drag needs no server; saving makes a version with who and why.

import { call, fill } from "./api.js";
import { percent } from "./numbers.js";

const FEWEST_BAD = 8; // below it a share of missed parts says nothing
const Z = 1.959964;
const THUMBS = 12;

const root = document.querySelector("[data-threshold]");
const words = root.dataset;
const language = document.documentElement.lang;
const find = (selector, within = root) => within.querySelector(selector);

const data = (await (await fetch(words.twin)).json()).data;
const parts = data.calibration.scores.map((score, i) => ({ score, weight: data.calibration.weights[i] }));
const good = data.reviewed.filter((one) => one.answer === "good");
const bad = data.reviewed.filter((one) => one.answer === "bad");
const everyone = [...data.reviewed, ...data.recent];
const before = { ng: data.limits.ng, review: data.limits.review };
const now = { ...before };
// the stops of the arrow keys: between neighbouring scores
const scores = [...new Set([...parts, ...everyone].map((one) => one.score))].sort((a, b) => a - b);
const stops = scores.map((score, i) => (i + 1 < scores.length ? (score + scores[i + 1]) / 2 : score * 1.02 + 1e-6));

const plain = (value) => new Intl.NumberFormat(language, { maximumSignificantDigits: 3 }).format(value);

function wilson(share, n) {
  if (!n) return [0, 1];
  const spread = Z * Math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n));
  const middle = share + Z * Z / (2 * n);
  const whole = 1 + Z * Z / n;
  return [Math.max(0, (middle - spread) / whole), Math.min(1, (middle + spread) / whole)];
}

const total = data.promise.parts;
const above = (limit) => (limit === null ? 0 : parts.reduce((sum, one) => sum + (one.score > limit ? one.weight : 0), 0));
const verdict = (score, limits) => {
  if (limits.ng !== null && score > limits.ng) return "NG";
  return limits.review !== null && score > limits.review ? "REVIEW" : "OK";
};

// ---- what the limits would do

function interval(share, n) {
  const [low, high] = wilson(share, n);
  return `${fill(words.wordInterval, { low: percent(low), high: percent(high) })}, ${fill(words.wordOf, { n })}`;
}

function tell() {
  const overkill = above(now.ng) / total;
  const notOk = above(Math.min(now.review ?? Infinity, now.ng ?? Infinity)) / total;
  find("[data-overkill]").textContent = percent(overkill);
  find("[data-overkill-more]").textContent = interval(overkill, total);
  find("[data-not-ok]").textContent = percent(notOk);
  find("[data-not-ok-more]").textContent = interval(notOk, total);
  const missed = bad.filter((one) => verdict(one.score, now) === "OK").length;
  const known = bad.length >= FEWEST_BAD;
  find("[data-escape]").textContent = known ? percent(missed / bad.length) : fill(words.wordUnknown, { n: bad.length });
  find("[data-escape-more]").textContent = known ? interval(missed / bad.length, bad.length) : "";
  find("[data-promise]").textContent = promised(overkill);
  for (const which of ["review", "ng"]) {
    find(`[data-limit="${which}"] [data-value]`).textContent = now[which] === null ? "–" : plain(now[which]);
  }
  const moved = now.ng !== before.ng || now.review !== before.review;
  find("[data-save] .main").disabled = !moved;
  find("[data-reset]").disabled = !moved;
  changes();
  costs();
}

// The share that a rank stands for: (k + 1) of (n + 1) with k good parts above the limit.
function promised(overkill) {
  const rate = (overkill * total + 1) / (total + 1);
  const least = 1 / (total + 1);
  if (now.ng === null) return fill(words.wordFew, { n: total, least: percent(least) });
  if (now.ng !== before.ng || data.moved) return fill(words.wordMoved, { rate: percent(overkill) });
  return fill(data.promise.mode === "split" ? words.wordByRank : words.wordByFolds, { rate: percent(rate) });
}

function changes() {
  const changed = everyone.filter((one) => verdict(one.score, before) !== verdict(one.score, now));
  find("[data-change-words]").textContent = changed.length ? fill(words.wordChange, { n: changed.length }) : words.wordNone;
  find("[data-changed]").replaceChildren(...changed.slice(0, THUMBS).map((one) => {
    const item = document.createElement("li");
    const link = document.createElement("a");
    link.className = "tile";
    link.href = `/i/${one.id}`;
    const image = document.createElement("img");
    image.src = one.thumb;
    image.alt = one.name;
    image.loading = "lazy";
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = `${verdict(one.score, before)} → ${verdict(one.score, now)}`;
    link.append(image, name);
    item.append(link);
    return item;
  }));
}

// ---- costs

function expected(limit) {
  const [missedCost, alarmCost, share] = ["cost-missed", "cost-alarm", "bad-share"].map((id) => Number(document.getElementById(id).value));
  const escape = bad.filter((one) => one.score <= limit).length / bad.length;
  const prior = share / 100;
  return missedCost * prior * escape + alarmCost * (1 - prior) * above(limit) / total;
}

function costs() {
  const known = bad.length >= FEWEST_BAD;
  const place = find("[data-cost-words]");
  find("[data-by-cost]").disabled = !known;
  if (!known) place.textContent = fill(words.wordUnknown, { n: bad.length });
  else if (now.ng !== null) place.textContent = fill(words.wordCost, { cost: plain(1000 * expected(now.ng)) });
}

for (const id of ["cost-missed", "cost-alarm", "bad-share"]) document.getElementById(id).addEventListener("input", costs);
find("[data-by-cost]").addEventListener("click", () => {
  const best = stops.reduce((least, stop) => (expected(stop) < expected(least) - 1e-12 ? stop : least), stops[0]);
  move("ng", best);
});

// ---- the handles

const charts = [...root.querySelectorAll("svg.chart")];

function place(svg, score) {
  const { low, high, left, span } = svg.dataset;
  const share = (score - Number(low)) / (Number(high) - Number(low));
  return Number(left) + Number(span) * Math.min(Math.max(share, 0), 1);
}

function draw() {
  for (const svg of charts) {
    for (const which of ["review", "ng"]) {
      const mark = svg.querySelector(`[data-mark="${which}"]`);
      if (!mark || now[which] === null) continue;
      const x = place(svg, now[which]);
      const far = x > Number(svg.dataset.left) + Number(svg.dataset.span) / 2;
      const line = mark.querySelector("line");
      line.setAttribute("x1", x);
      line.setAttribute("x2", x);
      const label = mark.querySelector("text");
      label.setAttribute("x", x + (far ? -14 : 14));
      label.setAttribute("text-anchor", far ? "end" : "start");
      const y = Number(line.getAttribute("y1")) + 8;
      const grip = mark.querySelector(".grip");
      grip.setAttribute("cx", x);
      grip.setAttribute("cy", y);
      const reach = mark.querySelector(".reach");
      reach.setAttribute("x", x - 22);
      mark.setAttribute("aria-valuenow", String(now[which]));
      mark.setAttribute("aria-valuetext", plain(now[which]));
    }
  }
  tell();
}

function move(which, value) {
  if (!Number.isFinite(value)) return;
  now[which] = value;
  // REVIEW never lies above NG: the one that is moved pushes the other
  if (now.ng !== null && now.review !== null && now.review > now.ng) now[which === "ng" ? "review" : "ng"] = value;
  draw();
}

function step(which, by) {
  const from = now[which] ?? before.review ?? stops[stops.length - 1];
  const higher = stops.findIndex((stop) => stop > from + 1e-12);
  const at = by > 0 ? (higher < 0 ? stops.length : higher) + by - 1 : lowerOf(from) + by + 1;
  move(which, stops[Math.min(Math.max(at, 0), stops.length - 1)]);
}

function lowerOf(from) {
  let at = stops.length - 1;
  while (at >= 0 && stops[at] >= from - 1e-12) at -= 1;
  return at;
}

const SVG = "http://www.w3.org/2000/svg";
for (const svg of charts) {
  for (const [which, name] of [["review", words.wordLimitReview], ["ng", words.wordLimitNg]]) {
    const mark = svg.querySelector(`[data-mark="${which}"]`);
    if (!mark) continue;
    const line = mark.querySelector("line");
    const reach = document.createElementNS(SVG, "rect");
    reach.setAttribute("class", "reach");
    reach.setAttribute("y", 0);
    reach.setAttribute("width", 44);
    reach.setAttribute("height", line.getAttribute("y2"));
    const grip = document.createElementNS(SVG, "circle");
    grip.setAttribute("class", "grip");
    grip.setAttribute("r", 9);
    mark.append(reach, grip);
    for (const [key, value] of Object.entries({ tabindex: 0, role: "slider", "aria-label": name, "aria-valuemin": svg.dataset.low, "aria-valuemax": svg.dataset.high })) mark.setAttribute(key, value);
    mark.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      mark.focus();
      mark.setPointerCapture(event.pointerId);
    });
    mark.addEventListener("pointermove", (event) => {
      if (!mark.hasPointerCapture(event.pointerId)) return;
      const matrix = svg.getScreenCTM().inverse();
      const x = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix).x;
      const share = (x - Number(svg.dataset.left)) / Number(svg.dataset.span);
      move(which, Number(svg.dataset.low) + Math.min(Math.max(share, 0), 1) * (Number(svg.dataset.high) - Number(svg.dataset.low)));
    });
    mark.addEventListener("keydown", (event) => {
      const turn = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.code];
      if (!turn) return;
      event.preventDefault();
      step(which, turn * (event.shiftKey ? 10 : 1));
    });
  }
}
for (const which of ["review", "ng"]) {
  for (const button of root.querySelectorAll(`[data-limit="${which}"] [data-step]`)) {
    button.addEventListener("click", (event) => step(which, Number(button.dataset.step) * (event.shiftKey ? 10 : 1)));
  }
}
find("[data-reset]").addEventListener("click", () => {
  Object.assign(now, before);
  draw();
});

find("[data-save]").addEventListener("submit", async (event) => {
  event.preventDefault();
  const problem = find("[data-problem]");
  problem.hidden = true;
  const button = find("[data-save] .main");
  button.disabled = true;
  try {
    const json = { limit_ng: now.ng, limit_review: now.review, reason: find("#threshold-reason").value, version: data.version };
    const made = await call("POST", `/api/bundles/${words.bundle}/limits`, { json });
    location.href = `/threshold?bundle=${encodeURIComponent(made.bundle_id ?? made.id)}&saved=1`;
  } catch (error) {
    problem.textContent = error.sentences?.() ?? String(error);
    problem.hidden = false;
    button.disabled = false;
  }
});
draw();
root.dataset.ready = "yes";
