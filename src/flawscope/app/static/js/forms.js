// Forms that talk to the REST service: <form data-call="POST /api/..."> sends its fields as JSON and then
// follows data-then ("reload", or an address with {name} from the answer). What is wrong is said in the form,
// and what was typed stays.

import { call, fill, uuid } from "./api.js";

function values(form) {
  const found = {};
  for (const field of form.elements) {
    if (!field.name || field.disabled || field.type === "submit") continue;
    if (field.type === "checkbox") found[field.name] = field.checked;
    else if (field.type === "radio") { if (field.checked) found[field.name] = field.value; }
    else if (field.type === "number") { if (field.value !== "") found[field.name] = Number(field.value); }
    else if (field.value !== "" || field.hasAttribute("data-empty")) found[field.name] = field.value;
  }
  if (form.hasAttribute("data-new-id")) found.id = uuid();
  return found;
}

function say(form, text) {
  let place = form.querySelector("[data-problem]");
  if (!place) {
    place = document.createElement("p");
    place.className = "note error";
    place.dataset.problem = "";
    place.setAttribute("role", "alert");
    form.append(place);
  }
  place.textContent = text;
  place.hidden = !text;
}

function file(form) {
  const field = form.querySelector('input[type="file"][name]');
  return field?.files.length ? new FormData(form) : null;
}

function hold(form, held) {
  for (const button of form.querySelectorAll("button:not([type=button])")) button.disabled = held;
  if (held) form.setAttribute("aria-busy", "true");
  else form.removeAttribute("aria-busy");
}

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-call]");
  if (!form) return;
  event.preventDefault();
  if (form.hasAttribute("aria-busy")) return; // a double click is one wish
  say(form, "");
  const [method, path] = form.dataset.call.split(" ");
  hold(form, true);
  try {
    const raw = form.hasAttribute("data-raw") ? form.querySelector('input[type="file"]').files[0] : null;
    const whole = raw ? null : file(form);
    const sent = raw ? { form: raw, headers: { "Content-Type": "application/octet-stream" } } : whole ? { form: whole } : { json: values(form) };
    const answer = await call(method, path, sent);
    form.dispatchEvent(new CustomEvent("station:done", { bubbles: true, detail: answer }));
    const then = form.dataset.then ?? "reload";
    if (then === "reload") location.reload();
    else if (then.startsWith("/")) location.href = fill(then, answer ?? {});
    else hold(form, false); // else it is held until the next page is there
  } catch (error) {
    say(form, error.sentences?.() ?? String(error));
    hold(form, false);
  }
});
// a page that the browser kept and shows again
window.addEventListener("pageshow", (event) => {
  if (event.persisted) for (const form of document.querySelectorAll("form[aria-busy]")) hold(form, false);
});
