// A test set: photographs go to the station with their labels, and masks with the photograph of their name.

import { call, fill, piece } from "./api.js";
import { takeDrops, tellLeftOut } from "./drops.js";

const AT_ONCE = 8; // photographs a request
const MASKS = ["ground_truth", "mask", "masks"];
const FOLDERS = ["test", "train", "images"]; // that name no defect

const root = document.querySelector("[data-test]");
const words = root.dataset;
const find = (selector) => root.querySelector(selector);

const stem = (file) => file.name.replace(/\.[^.]*$/, "").replace(/_mask$/, "");
const folders = (file) => (file.webkitRelativePath ?? "").split("/").slice(0, -1);
const isMask = (file) => /_mask\.[^.]*$/.test(file.name) || folders(file).some((name) => MASKS.includes(name.toLowerCase()));

function labelOf(file, zone) {
  if (zone === "good") return "good";
  const last = folders(file).at(-1) ?? "";
  const named = /^[A-Za-z0-9][A-Za-z0-9 _-]{0,39}$/.test(last) && !FOLDERS.includes(last.toLowerCase());
  return named ? last : document.getElementById("test-label").value.trim() || "bad";
}

function problem(text) {
  find("[data-problem]").textContent = text;
  find("[data-problem]").hidden = !text;
}

// What is dropped under which label is settled by the drop: another may be typed before it is sent.
function plan(files, zone) {
  const masks = new Map(files.filter(isMask).map((file) => [stem(file), file]));
  const byLabel = new Map();
  for (const file of files.filter((one) => !isMask(one))) {
    const label = labelOf(file, zone);
    byLabel.set(label, [...(byLabel.get(label) ?? []), file]);
  }
  return () => send(byLabel, masks);
}

async function send(byLabel, masks) {
  let left = [...byLabel.values()].reduce((sum, some) => sum + some.length, 0);
  let copies = 0;
  const refused = [];
  try {
    for (const [label, some] of byLabel) {
      for (let i = 0; i < some.length; i += AT_ONCE) {
        find("[data-said]").textContent = fill(words.wordSending, { n: left });
        const form = new FormData();
        form.append("label", label);
        for (const file of some.slice(i, i + AT_ONCE)) {
          form.append("files", file, file.name);
          if (masks.has(stem(file))) form.append("masks", masks.get(stem(file)), file.name);
          left -= 1;
        }
        const answer = await call("POST", `/api/tests/${words.test}/images`, { form });
        copies += answer.copies;
        for (const one of answer.refused) refused.push(fill(words.wordRefused, { name: one.name, why: one.error.message }));
      }
    }
  } catch (error) {
    problem(error.sentences?.() ?? String(error));
  }
  if (copies) refused.unshift(fill(words.wordCopies, { n: copies }));
  find("[data-said]").textContent = "";
  tellLeftOut(root, refused);
  await refresh();
}

// The station words counts and tiles; what was left out stays on the page while they are brought up to date.
async function refresh() {
  const page = new DOMParser().parseFromString(await piece(location.href), "text/html");
  for (const list of root.querySelectorAll("[data-images]")) {
    const fresh = page.querySelector(`[data-images="${list.dataset.images}"]`);
    const count = (one) => one.closest("section").querySelector("h2 .number");
    count(list).textContent = count(fresh).textContent;
    list.replaceChildren(...fresh.children);
  }
  document.getElementById("test-labels")?.replaceChildren(...page.getElementById("test-labels").children);
}

takeDrops(root, plan, problem);

root.addEventListener("keydown", async (event) => {
  const tile = event.target.closest?.("[data-image]");
  if (!tile || (event.code !== "Delete" && event.code !== "Backspace")) return;
  event.preventDefault();
  const next = (tile.parentElement.nextElementSibling ?? tile.parentElement.previousElementSibling)?.querySelector("[data-image]")?.dataset.image;
  try {
    await call("DELETE", `/api/tests/${words.test}/images/${tile.dataset.image}`);
    await refresh();
    root.querySelector(`[data-image="${next}"]`)?.focus();
  } catch (error) {
    problem(error.sentences?.() ?? String(error));
  }
});
root.addEventListener("click", (event) => {
  const tile = event.target.closest("[data-image]");
  for (const one of root.querySelectorAll("[data-image]")) one.setAttribute("aria-pressed", String(one === tile));
});
root.dataset.ready = "yes";
