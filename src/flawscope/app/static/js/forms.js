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

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-call]");
  if (!form) return;
  event.preventDefault();
  say(form, "");
  const [method, path] = form.dataset.call.split(" ");
  const buttons = [...form.querySelectorAll("button:not([type=button])")];
  for (const button of buttons) button.disabled = true;
  form.setAttribute("aria-busy", "true");
  try {
    const raw = form.hasAttribute("data-raw") ? form.querySelector('input[type="file"]').files[0] : null;
    const whole = raw ? null : file(form);
    const sent = raw ? { form: raw, headers: { "Content-Type": "application/octet-stream" } } : whole ? { form: whole } : { json: values(form) };
    const answer = await call(method, path, sent);
    form.dispatchEvent(new CustomEvent("station:done", { bubbles: true, detail: answer }));
    const then = form.dataset.then ?? "reload";
    if (then === "reload") location.reload();
    else if (then.startsWith("/")) location.href = fill(then, answer ?? {});
  } catch (error) {
    say(form, error.sentences?.() ?? String(error));
  } finally {
    for (const button of buttons) button.disabled = false;
    form.removeAttribute("aria-busy");
  }
});
