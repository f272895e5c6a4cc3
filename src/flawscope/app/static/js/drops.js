// Photographs that are dropped or chosen: each zone hands its files on under its name, one drop after the other.

import { dropped } from "./dropped.js";

// `plan` is told of the files and the zone's name at once and returns what sends them when the drops before have gone.
export function takeDrops(root, plan, problem) {
  let all = Promise.resolve();
  let under = 0;
  function begin() {
    problem("");
    root.querySelector("[data-left-out]").replaceChildren();
    tellLeftOut(root, []);
  }
  function take(files, name) {
    const send = plan(files, name);
    if (!under) begin();
    under += 1;
    all = all.then(send).catch((error) => problem(error.sentences?.() ?? String(error))).finally(() => { under -= 1; });
    return all;
  }
  for (const zone of root.querySelectorAll("[data-drop]")) {
    const name = zone.dataset.drop;
    zone.addEventListener("dragover", (event) => {
      event.preventDefault();
      zone.classList.add("over");
    });
    zone.addEventListener("dragleave", () => zone.classList.remove("over"));
    zone.addEventListener("drop", (event) => {
      event.preventDefault();
      zone.classList.remove("over");
      dropped(event.dataTransfer).then((files) => take(files, name)).catch((error) => problem(String(error)));
    });
    for (const input of zone.querySelectorAll("[data-files]")) {
      input.addEventListener("change", async () => {
        const files = [...input.files];
        input.value = "";
        await take(files, name);
      });
    }
  }
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => event.preventDefault());
}

// What was left out, a line each, behind what earlier drops of the same queue have left out.
export function tellLeftOut(root, lines) {
  const note = root.querySelector("[data-left-out]");
  note.append(...lines.map((text) => Object.assign(document.createElement("p"), { textContent: text })));
  note.hidden = !note.children.length;
}
