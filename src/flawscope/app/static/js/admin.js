// Admin: a new token is shown once, and the audit chain says that it is whole.

import { fill } from "./api.js";

document.addEventListener("station:done", (event) => {
  const form = event.target;
  if (form.matches("[data-token]")) {
    form.hidden = true;
    const place = document.querySelector("[data-made]");
    place.hidden = false;
    const shown = place.querySelector("[data-made-token]");
    shown.textContent = event.detail.token;
    shown.focus();
  }
  if (form.matches("[data-verify]")) {
    const place = document.querySelector("[data-whole]");
    const entries = event.detail.entries.toLocaleString(document.documentElement.lang);
    place.textContent = fill(form.dataset.wordWhole, { entries, head: event.detail.head.slice(0, 12) });
    place.hidden = false;
  }
});

document.querySelector("[data-reload]")?.addEventListener("click", (event) => {
  event.preventDefault();
  location.reload();
});
