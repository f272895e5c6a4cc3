// One-key shortcuts by physical key, so that they work under a Korean input method as well. An element with
// data-key="KeyH" (several codes apart by spaces) is pressed by that key. They can be turned off.

const TYPING = "input:not([type=checkbox]):not([type=radio]):not([type=range]):not([type=button]), select, textarea, [contenteditable]";
const PRESSED_BY_SPACE = "button, a[href], summary, input, select, textarea";

export const keysOn = () => document.body.dataset.keys !== "off";

function taken(event) {
  const target = event.target;
  if (target.closest?.(TYPING)) return true;
  // space and enter press what the keyboard has focused; what a mouse click left focused does not count
  return (event.code === "Space" || event.code === "Enter") && target.matches?.(PRESSED_BY_SPACE) && target.matches(":focus-visible");
}

function reachable(element) {
  return !element.disabled && element.getAttribute("aria-disabled") !== "true" && element.getClientRects().length > 0;
}

function scope() {
  return document.querySelector("dialog[open]") ?? document;
}

export function startKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.altKey || event.metaKey) return;
    if (event.ctrlKey) {
      press(`[data-ctrl-key~="${event.code}"]`, event);
      return;
    }
    if (event.code === "Escape") {
      if (event.target.matches?.(TYPING)) event.target.blur();
      else press('[data-key~="Escape"]', event);
      return;
    }
    if (!keysOn() || taken(event) || event.repeat) return;
    if (event.key === "?" || (event.code === "Slash" && event.shiftKey)) {
      press('[data-key~="Question"]', event);
    } else if (event.key === "/" || event.code === "Slash") {
      const filter = scope().querySelector("[data-filter]");
      if (filter) {
        event.preventDefault();
        filter.closest("details")?.setAttribute("open", "");
        filter.focus();
      }
    } else if (!event.shiftKey) {
      press(`[data-key~="${event.code}"]`, event);
    }
  });
  // a button that a mouse click left focused is not pressed again when its space is somebody else's key
  document.addEventListener("keyup", (event) => {
    if (event.code === "Space" && keysOn() && !taken(event) && scope().querySelector('[data-key~="Space"]')) event.preventDefault();
  });
}

function press(selector, event) {
  const element = [...scope().querySelectorAll(selector)].find(reachable);
  if (!element) return;
  event.preventDefault();
  if (element.matches("input:not([type=checkbox]), select, textarea")) element.focus();
  else element.click();
}
