// History: rows are walked by J and K, and Enter opens the one that is chosen.

import { keysOn } from "./keys.js";

const rows = [...document.querySelectorAll("[data-row]")];
let at = -1;

function choose(next) {
  if (!rows.length) return;
  at = Math.min(Math.max(next, 0), rows.length - 1);
  for (const row of rows) row.setAttribute("aria-selected", String(row === rows[at]));
  rows[at].querySelector("a").focus({ preventScroll: true });
  rows[at].scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  if (!keysOn() || event.ctrlKey || event.altKey || event.metaKey || event.target.closest?.("input, select, textarea, dialog")) return;
  if (event.code === "KeyJ") choose(at + 1);
  if (event.code === "KeyK") choose(at - 1);
});

// what is not filled in does not stand in the URL
document.querySelector("[data-filters]")?.addEventListener("submit", (event) => {
  for (const field of event.target.elements) if (field.name && !field.value) field.disabled = true;
});
if (new URLSearchParams(location.search).get("view") === "print") window.addEventListener("load", () => setTimeout(() => window.print(), 300));
