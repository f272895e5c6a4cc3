// Photographs that are dropped or chosen: each zone hands its files on under its name.

import { dropped } from "./dropped.js";

export function takeDrops(root, take, problem) {
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
      dropped(event.dataTransfer).then((files) => take(files, name), (error) => problem(String(error)));
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
