// A batch on Inspect: its progress, its tiles in the order of the results, how many had which verdict, and its
// exports. Fetched with the first picture.

import { fill } from "./api.js";

const BADGES = { NG: "ng", NONE: "none", REVIEW: "review", OK: "ok" }; // the worst first

// Draws `state` (results, all, shown, paused, waiting, started); a press on a tile calls `show` with its place.
export function drawBatch(root, state, show) {
  const find = (selector) => root.querySelector(selector);
  const { results, all } = state;
  const words = root.dataset;
  const label = { OK: words.wordOk, REVIEW: words.wordReview, NG: words.wordNg, NONE: words.wordNone };
  find("[data-batch]").hidden = all < 2;
  find("[data-progress]").max = Math.max(all, 1);
  find("[data-progress]").value = results.length;
  find("[data-progress-words]").textContent = state.paused ? fill(words.wordPaused, { kept: state.waiting.length }) : fill(words.wordProgress, { done: results.length, all });
  const list = find("[data-list]");
  results.forEach((result, place) => {
    result.item ??= item(result, label, () => show(state.results.indexOf(result)));
    result.item.firstChild.setAttribute("aria-selected", String(place === state.shown));
    if (list.children[place] !== result.item) list.insertBefore(result.item, list.children[place] ?? null);
  });
  while (list.children.length > results.length) list.lastChild.remove();
  const since = new Date(state.started.getTime() - 1000).toISOString();
  const query = new URLSearchParams({ from: since });
  find('[data-export="csv"]').href = `/api/inspections.csv?${query}`;
  find('[data-export="json"]').href = `/history.json?${query}`;
  find('[data-export="print"]').href = `/history?${query}&view=print`;
  find("[data-tally]").replaceChildren(...Object.keys(BADGES).flatMap((verdict) => {
    const count = results.filter((result) => result.verdict === verdict).length;
    if (!count) return [];
    const chip = document.createElement("a");
    chip.className = "chip";
    chip.href = `/history?${new URLSearchParams({ from: since, verdict: verdict === "NONE" ? "NOT_JUDGED" : verdict })}`;
    chip.textContent = `${label[verdict]} ${count}`;
    return [chip];
  }));
}

function item(result, label, press) {
  const link = document.createElement("a");
  link.className = "tile";
  link.href = result.id ? `/i/${result.id}` : "#";
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
  badge.className = `badge ${BADGES[result.verdict]}`;
  badge.textContent = label[result.verdict];
  link.append(name, badge);
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    press();
  });
  const made = document.createElement("li");
  made.append(link);
  return made;
}
