// Teach: photographs go to a set on the station as they are dropped, so that nothing is lost by a reload.

import { call, fill } from "./api.js";
import { takeDrops, tellLeftOut } from "./drops.js";
import { percent } from "./numbers.js";

const AT_ONCE = 8; // photographs a request

const root = document.querySelector("[data-teach]");
const words = root.dataset;
const find = (selector) => root.querySelector(selector);
let set = words.set;
let busy = 0; // drops on their way, and a job that is begun

function problem(text) {
  find("[data-problem]").textContent = text;
  find("[data-problem]").hidden = !text;
}

const goodCount = () => root.querySelectorAll('[data-images="good"] [data-image]').length;

function tell() {
  const n = goodCount();
  const alpha = Number(document.getElementById("teach-alpha").value) / 100 || Number(words.alpha);
  find("[data-count]").textContent = n < Number(words.wished) ? fill(words.wordOf, { n, wished: words.wished }) : String(n);
  find('[data-drop="good"]').classList.toggle("slim", n > 0);
  find("[data-enough]").value = Math.min(n, Number(words.wished));
  find("[data-go]").disabled = n < 2 || busy > 0;
  const least = 1 / (n + 1);
  const promise = find("[data-promise]");
  if (n < 2) promise.textContent = words.wordNone;
  else if (least > alpha + 1e-9) promise.textContent = fill(words.wordFew, { n, least: percent(least) });
  else promise.textContent = fill(n >= 100 ? words.wordPromise : words.wordEstimate, { rate: percent(alpha) });
}

async function begun() {
  if (set) return set;
  set = (await call("POST", "/api/sets", { json: {} })).id;
  history.replaceState(history.state, "", `/teach?set=${set}`);
  return set;
}

async function send(files, label) {
  busy += 1;
  tell();
  const said = find("[data-said]");
  const left = [];
  let copies = 0;
  try {
    const id = await begun();
    for (let i = 0; i < files.length; i += AT_ONCE) {
      said.textContent = fill(words.wordSending, { n: files.length - i });
      const form = new FormData();
      form.append("label", label === "good" ? "good" : "bad");
      for (const file of files.slice(i, i + AT_ONCE)) form.append("files", file, file.name);
      const answer = await call("POST", `/api/sets/${id}/images`, { form });
      copies += answer.copies;
      for (const one of answer.refused) left.push(fill(words.wordRefused, { name: one.name, why: one.error.message }));
      await show(id);
    }
  } catch (error) {
    problem(error.sentences?.() ?? String(error));
  }
  busy -= 1;
  tell();
  said.textContent = "";
  if (copies) left.unshift(fill(words.wordCopies, { n: copies }));
  tellLeftOut(root, left);
}

async function show(id) {
  const known = await call("GET", `/api/sets/${id}`);
  for (const label of ["good", "bad"]) {
    const list = find(`[data-images="${label}"]`);
    const there = new Set([...list.querySelectorAll("[data-image]")].map((one) => one.dataset.image));
    for (const one of known.images.filter((image) => (image.label === "good") === (label === "good") && !there.has(image.name))) {
      const item = document.createElement("li");
      const tile = document.createElement("button");
      tile.type = "button";
      tile.className = "tile";
      tile.dataset.image = one.name;
      tile.setAttribute("aria-label", one.name.slice(0, 8));
      const picture = document.createElement("img");
      picture.src = `/sets/${id}/${one.name}/thumb.jpg`;
      picture.alt = "";
      picture.loading = "lazy";
      tile.append(picture);
      item.append(tile);
      list.append(item);
    }
  }
  tell();
}

takeDrops(root, (files, label) => () => send(files, label), problem);

// a photograph is chosen by focus; Delete takes it out
root.addEventListener("keydown", async (event) => {
  const tile = event.target.closest?.("[data-image]");
  if (!tile || (event.code !== "Delete" && event.code !== "Backspace")) return;
  event.preventDefault();
  const next = tile.parentElement.nextElementSibling ?? tile.parentElement.previousElementSibling;
  try {
    await call("DELETE", `/api/sets/${set}/images/${tile.dataset.image}`);
  } catch (error) {
    problem(error.sentences?.() ?? String(error));
    if (error.status !== 404) return; // it is there still
  }
  tile.parentElement.remove();
  next?.querySelector("button").focus();
  tell();
});
root.addEventListener("click", (event) => {
  const tile = event.target.closest("[data-image]");
  for (const one of root.querySelectorAll("[data-image]")) one.setAttribute("aria-pressed", String(one === tile));
});

find("[data-start]").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (busy) return;
  busy += 1;
  tell();
  problem("");
  const form = new FormData(event.target);
  const alpha = Number(form.get("alpha")) / 100;
  const settings = { name: form.get("name"), alpha, budget: Number(form.get("budget")) };
  if (alpha > 0.15) settings.review_alpha = alpha;
  if (form.get("method")) settings.method = form.get("method");
  try {
    const job = await call("POST", "/api/jobs", { json: { kind: "train", set, title: form.get("name"), settings } });
    location.href = `/jobs/${job.id}`;
  } catch (error) {
    problem(error.sentences?.() ?? String(error));
    busy -= 1;
    tell();
  }
});
// a page that the browser kept and shows again
window.addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  busy = 0;
  tell();
});
document.getElementById("teach-alpha").addEventListener("input", tell);
tell();
