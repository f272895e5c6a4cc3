// The mask editor: one raster canvas at the photograph's own resolution, so that zoom never distorts it. Strokes
// are kept as a list, so that each can be taken back.

import { fill } from "./api.js";

const PAINT = "#00E5FF";
const MOST_PIXELS = 32_000_000;

export class MaskEditor {
  constructor(part, view) {
    this.part = part;
    this.view = view;
    this.tools = part.querySelector("[data-mask-tools]");
    this.strokes = [];
    this.tool = "brush";
    this.corners = null;
    const { width, height } = view.figure.dataset;
    const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (Number(width) * Number(height))));
    this.canvas = document.createElement("canvas");
    this.canvas.className = "view-mask";
    this.canvas.width = Math.round(Number(width) * scale);
    this.canvas.height = Math.round(Number(height) * scale);
    this.scale = scale;
    view.layers.append(this.canvas);
    this.drawing = this.canvas.getContext("2d", { willReadFrequently: true });
    this.#tools();
    this.#pointer();
    this.tell();
  }

  get size() {
    return Number(this.tools.querySelector("[data-size]").value);
  }

  get open() {
    return this.canvas.classList.contains("drawing");
  }

  set open(on) {
    this.canvas.classList.toggle("drawing", on);
    this.tools.querySelector("[data-mask-open]").hidden = !on;
    this.tools.querySelector("[data-mask]").setAttribute("aria-pressed", String(on));
    // a drag draws instead of moving the picture; the wheel still zooms
    this.view.panzoom.setOptions({ disablePan: on });
    if (!on) this.#close();
  }

  #tools() {
    const on = (selector, act) => this.tools.querySelector(selector)?.addEventListener("click", act);
    on("[data-mask]", () => { this.open = !this.open; });
    on("[data-mask-undo]", () => {
      if (this.corners) this.corners = null;
      else this.strokes.pop();
      this.paint();
    });
    on("[data-mask-clear]", () => {
      this.corners = null;
      this.strokes = [];
      this.paint();
    });
    on("[data-from-regions]", () => {
      for (const outline of JSON.parse(this.part.dataset.regionsJson)) this.strokes.push({ tool: "polygon", points: outline });
      this.paint();
    });
    const step = (by) => {
      const size = this.tools.querySelector("[data-size]");
      size.value = String(Number(size.value) + by);
    };
    on("[data-narrower]", () => step(-4));
    on("[data-wider]", () => step(4));
    for (const button of this.tools.querySelectorAll("[data-tool]")) {
      button.addEventListener("click", () => {
        this.#close();
        this.tool = button.dataset.tool;
        for (const one of this.tools.querySelectorAll("[data-tool]")) one.setAttribute("aria-pressed", String(one === button));
      });
    }
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect(); // as it is seen, zoomed and moved
    return [(event.clientX - box.left) / box.width * this.canvas.width / this.scale, (event.clientY - box.top) / box.height * this.canvas.height / this.scale];
  }

  #pointer() {
    let stroke = null;
    this.canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      event.stopPropagation();
      if (this.tool === "polygon") {
        this.#corner(this.#place(event));
        return;
      }
      this.canvas.setPointerCapture(event.pointerId);
      stroke = { tool: this.tool, size: this.size, points: [this.#place(event)] };
      this.strokes.push(stroke);
      this.paint();
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!stroke) return;
      for (const one of event.getCoalescedEvents?.() ?? [event]) stroke.points.push(this.#place(one));
      this.#stroke(stroke);
    });
    const end = () => {
      stroke = null;
      this.tell();
    };
    this.canvas.addEventListener("pointerup", end);
    this.canvas.addEventListener("pointercancel", end);
    this.canvas.addEventListener("dblclick", (event) => {
      event.stopPropagation(); // and does not fit the picture
      this.#close();
    });
  }

  // A polygon is closed by a click near its first corner, by a double click, or by another tool.
  #corner(place) {
    this.corners ??= [];
    const first = this.corners[0];
    const near = first && Math.hypot(place[0] - first[0], place[1] - first[1]) * this.view.base * this.view.panzoom.getScale() < 10;
    if (near && this.corners.length > 2) {
      this.#close();
      return;
    }
    this.corners.push(place);
    this.paint();
  }

  #close() {
    if (this.corners?.length > 2) this.strokes.push({ tool: "polygon", points: this.corners });
    this.corners = null;
    this.paint();
  }

  paint() {
    this.drawing.clearRect(0, 0, this.canvas.width, this.canvas.height);
    for (const stroke of this.strokes) this.#stroke(stroke);
    if (this.corners) this.#open(this.corners);
    this.tell();
  }

  #trace(points) {
    this.drawing.beginPath();
    for (const [x, y] of points) this.drawing.lineTo(x * this.scale, y * this.scale);
  }

  #stroke({ tool, size, points }) {
    const pen = this.drawing;
    pen.globalCompositeOperation = tool === "eraser" ? "destination-out" : "source-over";
    pen.fillStyle = PAINT;
    pen.strokeStyle = PAINT;
    if (tool === "polygon") {
      this.#trace(points);
      pen.closePath();
      pen.fill();
    } else {
      pen.lineWidth = Math.max(1, size * this.scale);
      pen.lineCap = "round";
      pen.lineJoin = "round";
      this.#trace(points.length > 1 ? points : [points[0], [points[0][0] + 0.01, points[0][1]]]);
      pen.stroke();
    }
    pen.globalCompositeOperation = "source-over";
  }

  #open(points) {
    this.#trace(points);
    this.drawing.lineWidth = Math.max(1, 2 / this.view.base);
    this.drawing.strokeStyle = PAINT;
    this.drawing.stroke();
    for (const [x, y] of points) this.drawing.fillRect(x * this.scale - 2 / this.view.base, y * this.scale - 2 / this.view.base, 4 / this.view.base, 4 / this.view.base);
  }

  area() {
    if (!this.strokes.length) return 0;
    const { data } = this.drawing.getImageData(0, 0, this.canvas.width, this.canvas.height);
    let count = 0;
    for (let i = 3; i < data.length; i += 4) count += data[i] > 127 ? 1 : 0;
    return Math.round(count / (this.scale * this.scale));
  }

  tell() {
    const place = this.tools.querySelector("[data-mask-area]");
    place.dataset.words ??= place.textContent;
    place.textContent = fill(place.dataset.words, { n: this.area() });
  }

  // White where the flaw is, black elsewhere, hard edges; empty where nothing is marked.
  png() {
    this.#close();
    if (!this.area()) return "";
    const out = document.createElement("canvas");
    out.width = this.canvas.width;
    out.height = this.canvas.height;
    const pen = out.getContext("2d");
    const image = this.drawing.getImageData(0, 0, out.width, out.height);
    for (let i = 0; i < image.data.length; i += 4) {
      const value = image.data[i + 3] > 127 ? 255 : 0;
      image.data[i] = image.data[i + 1] = image.data[i + 2] = value;
      image.data[i + 3] = 255;
    }
    pen.putImageData(image, 0, 0);
    return out.toDataURL("image/png").split(",")[1];
  }
}
