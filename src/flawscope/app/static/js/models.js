// Models: two are chosen to be compared.

const boxes = [...document.querySelectorAll("[data-compare]")];
const button = document.querySelector("[data-compare-button]");
const form = document.getElementById("compare");

function tell() {
  const chosen = boxes.filter((box) => box.checked);
  if (button) button.disabled = chosen.length !== 2;
  for (const box of boxes) box.disabled = chosen.length >= 2 && !box.checked;
}

for (const box of boxes) box.addEventListener("change", tell);
form?.addEventListener("submit", (event) => {
  event.preventDefault();
  const [first, second] = boxes.filter((box) => box.checked).map((box) => box.value);
  if (second) location.href = `/models/compare?a=${second}&b=${first}`;
});
tell();
