// Runs on every page: shortcuts, image views, the help dialog, and the one stream of events.

import { startKeys } from "./keys.js";
import { startViews } from "./view.js";

startKeys();
startViews();
document.addEventListener("htmx:after:swap", () => startViews());
document.addEventListener("station:shown", () => startViews());

for (const opener of document.querySelectorAll("[data-opens]")) {
  opener.addEventListener("click", () => document.getElementById(opener.dataset.opens).showModal());
}
document.addEventListener("click", (event) => {
  const closer = event.target.closest("[data-closes]");
  if (closer) closer.closest("dialog").close();
  if (event.target.closest("[data-back]") && history.length > 1) history.back();
  if (event.target.closest("[data-print]")) window.print();
});
// a choice that is a form of its own is sent when it is made
document.addEventListener("change", (event) => {
  if (event.target.matches("[data-send]")) event.target.form.requestSubmit();
});

// what forms need is fetched with the first that is sent
let forms = null;
document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (forms || !form.matches("[data-call]")) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  forms = await import("./forms.js");
  form.requestSubmit(event.submitter);
}, true);

// No stale verdict: a lost stream is said at once, with the time of the last word.
const strip = document.querySelector("[data-lost]");
const live = document.querySelector("[data-live]");
if (strip && live) {
  const time = new Intl.DateTimeFormat(document.documentElement.lang, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  live.addEventListener("htmx:sse:error", () => {
    if (!strip.hidden) return;
    strip.textContent = strip.dataset.lost.replace("{time}", time.format(new Date()));
    strip.hidden = false;
  });
  live.addEventListener("htmx:sse:after:connection", () => { strip.hidden = true; });
}
// begun here, since htmx may read the page before its extension is there
if (live?.dataset.stream) setTimeout(() => {
  live.setAttribute("hx-sse:connect", live.dataset.stream);
  htmx.process(live);
});
