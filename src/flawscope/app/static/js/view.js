// The image view: photograph, heat map coloured here from an 8-bit grey PNG (value / limit, 0 to 2), regions;
// zoom and pan; what is shown stands in the URL.

import { COLOURS } from "./colours.js";
import { keysOn } from "./keys.js";

const HOLD_MS = 250; // a key held longer hides the heat map while it is down
const WORKING_SIDE = 640; // pixels: the map is enlarged before it is coloured, so that colours do not bleed

export class View {
  constructor(figure) {
    this.figure = figure;
    this.stage = figure.querySelector("[data-stage]");
    this.layers = figure.querySelector("[data-layers]");
    this.photo = figure.querySelector("[data-photo]");
    this.canvas = figure.querySelector("[data-heat-src]");
    this.off = new AbortController();
    this.#fit();
    this.observer = new ResizeObserver(() => this.#fit());
    this.observer.observe(this.stage);
    this.#zoom();
    this.#tools();
    if (this.canvas) this.#colour();
  }

  close() {
    this.off.abort();
    this.observer.disconnect();
    this.panzoom?.destroy();
  }

  // The layers take the photograph's shape, as large as the stage allows.
  #fit() {
    const [width, height] = [Number(this.figure.dataset.width), Number(this.figure.dataset.height)];
    if (!width || !height) return;
    const scale = Math.min(this.stage.clientWidth / width, this.stage.clientHeight / height);
    this.layers.style.width = `${Math.floor(width * scale)}px`;
    this.layers.style.height = `${Math.floor(height * scale)}px`;
    this.base = scale;
  }

  #zoom() {
    this.panzoom = window.Panzoom(this.layers, { maxScale: 40, minScale: 1, contain: false, step: 0.35, canvas: true, cursor: "grab", duration: 0 });
    const listen = { signal: this.off.signal };
    this.stage.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.panzoom.zoomWithWheel(event, { animate: false });
    }, { passive: false, signal: this.off.signal });
    this.stage.addEventListener("dblclick", () => this.home(), listen);
    this.layers.addEventListener("panzoomchange", (event) => {
      const { scale, x, y } = event.detail;
      this.figure.classList.toggle("magnified", scale * this.base > 3);
      this.#state({ z: scale > 1.01 ? scale.toFixed(2) : null, x: scale > 1.01 ? Math.round(x) : null, y: scale > 1.01 ? Math.round(y) : null });
    }, listen);
    const asked = new URLSearchParams(location.search);
    const scale = Number(asked.get("z") ?? 1);
    if (this.#inUrl() && scale > 1) {
      this.panzoom.zoom(scale, { animate: false });
      // the pan follows in the next turn: the library applies a zoom's transform with a frame
      setTimeout(() => this.panzoom.pan(Number(asked.get("x") ?? 0), Number(asked.get("y") ?? 0), { animate: false }), 30);
    }
  }

  home() {
    this.panzoom.reset({ animate: false });
  }

  // Brings a place of the photograph (in its pixels) to the middle, at a third of the stage.
  show([left, top, right, bottom]) {
    const side = Math.max(right - left, bottom - top, 8) * this.base;
    const scale = Math.max(1, Math.min(24, this.stage.clientHeight / (3 * side)));
    const [width, height] = [Number(this.figure.dataset.width), Number(this.figure.dataset.height)];
    this.panzoom.zoom(scale, { animate: false });
    const x = (width / 2 - (left + right) / 2) * this.base;
    const y = (height / 2 - (top + bottom) / 2) * this.base;
    setTimeout(() => this.panzoom.pan(x, y, { animate: false }), 0);
  }

  #inUrl() {
    return this.figure.dataset.url !== "off";
  }

  #state(values) {
    if (!this.#inUrl()) return;
    const url = new URL(location.href);
    for (const [name, value] of Object.entries(values)) {
      if (value === null) url.searchParams.delete(name);
      else url.searchParams.set(name, value);
    }
    if (url.href !== location.href) history.replaceState(history.state, "", url);
  }

  set(layer, on) {
    this.figure.dataset[layer] = on ? "on" : "off";
    const button = this.figure.querySelector(`[data-toggle="${layer}"]`);
    button?.setAttribute("aria-pressed", String(on));
    const shown = [...this.figure.querySelectorAll("[data-toggle]")].filter((one) => one.getAttribute("aria-pressed") === "true");
    this.#state({ layer: shown.map((one) => one.dataset.toggle).join("+") || "original" });
  }

  toggle(layer) {
    this.set(layer, this.figure.dataset[layer] === "off");
  }

  #tools() {
    const listen = { signal: this.off.signal };
    const asked = new URLSearchParams(location.search).get("layer");
    if (asked !== null && this.#inUrl()) {
      for (const button of this.figure.querySelectorAll("[data-toggle]")) {
        const on = asked.split(/[+ ]/).includes(button.dataset.toggle);
        this.figure.dataset[button.dataset.toggle] = on ? "on" : "off";
        button.setAttribute("aria-pressed", String(on));
      }
    }
    this.figure.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      if (button.dataset.toggle && !this.held) this.toggle(button.dataset.toggle);
      if (button.dataset.zoom === "in") this.panzoom.zoomIn({ animate: false });
      if (button.dataset.zoom === "out") this.panzoom.zoomOut({ animate: false });
      if (button.dataset.zoom === "home") this.home();
    }, listen);
    const slider = this.figure.querySelector("[data-opacity]");
    const fade = () => { if (this.canvas) this.canvas.style.opacity = String(Number(slider.value) / 100); };
    slider?.addEventListener("input", fade, listen);
    if (slider) fade();
    this.stage.addEventListener("keydown", (event) => {
      const steps = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
      if (!steps[event.code] || this.panzoom.getScale() <= 1) return;
      event.preventDefault();
      const [x, y] = steps[event.code].map((step) => step / this.panzoom.getScale());
      this.panzoom.pan(x, y, { relative: true, animate: false });
    }, listen);
    this.#hold(listen);
  }

  // H pressed and let go toggles the heat map (as any shortcut); H held hides it as long as it is down.
  #hold(listen) {
    let since = 0;
    document.addEventListener("keydown", (event) => {
      if (event.code !== "KeyH" || !keysOn() || event.target.closest?.("input, select, textarea") || event.ctrlKey || event.metaKey) return;
      if (!event.repeat) since = event.timeStamp;
      else if (event.timeStamp - since > HOLD_MS && !this.held) {
        this.held = true;
        this.toggle("heat"); // takes back what the first press did
        this.figure.classList.add("holding");
      }
    }, listen);
    document.addEventListener("keyup", (event) => {
      if (event.code !== "KeyH" || !this.held) return;
      this.held = false;
      this.figure.classList.remove("holding");
    }, listen);
  }

  async #colour() {
    const picture = new Image();
    picture.src = this.canvas.dataset.heatSrc;
    try {
      await picture.decode();
    } catch {
      this.canvas.hidden = true;
      return;
    }
    const scale = Math.max(1, WORKING_SIDE / Math.max(picture.naturalWidth, picture.naturalHeight));
    const width = Math.round(picture.naturalWidth * scale);
    const height = Math.round(picture.naturalHeight * scale);
    this.canvas.width = width;
    this.canvas.height = height;
    const drawing = this.canvas.getContext("2d", { willReadFrequently: true });
    drawing.imageSmoothingQuality = "high";
    drawing.drawImage(picture, 0, 0, width, height);
    const data = drawing.getImageData(0, 0, width, height);
    const floor = 127.5 * Number(this.canvas.dataset.floor ?? 0.5); // below: a good part stays plain
    for (let i = 0; i < data.data.length; i += 4) {
      const value = data.data[i];
      data.data[i + 3] = value < floor ? 0 : Math.min(255, 90 + 165 * (value - floor) / Math.max(127.5 - floor, 1));
      data.data[i] = COLOURS[3 * value];
      data.data[i + 1] = COLOURS[3 * value + 1];
      data.data[i + 2] = COLOURS[3 * value + 2];
    }
    drawing.putImageData(data, 0, 0);
    this.canvas.dataset.coloured = "yes";
  }
}

const views = new WeakMap();
const open = new Set();

export function viewOf(figure) {
  return views.get(figure);
}

// Gives every image view in `root` its behaviour, once; views that left the page let go of their listeners.
export function startViews(root = document) {
  for (const view of open) {
    if (!view.figure.isConnected) {
      view.close();
      open.delete(view);
    }
  }
  for (const figure of root.querySelectorAll("[data-view]")) {
    if (views.has(figure)) continue;
    const view = new View(figure);
    views.set(figure, view);
    open.add(view);
  }
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-show-box]");
  if (!link) return;
  const view = views.get(document.querySelector("[data-view]"));
  if (!view) return;
  event.preventDefault();
  view.show(link.dataset.showBox.split(",").map(Number));
});
