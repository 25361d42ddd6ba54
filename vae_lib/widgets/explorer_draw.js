// Where the explorer gets an image from: a grid of test images, or a square to draw in with mouse, finger, pen or keys.
import { element, sharpContext, themeOf } from "./kit.js";
import { digitOfStrokes } from "./drawing_maths.js";
import { paintGrey } from "./explorer_map.js";

const COLUMNS = 10;
const PAD = 200; // CSS pixels
const PEN_STEP = 1 / 28; // of the pad, for each press of an arrow key
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** A button with a text, and what it does until `signal` ends it. */
export function textButton(parent, text, action, signal) {
  const button = element("button", { type: "button" }, parent);
  button.textContent = text;
  button.addEventListener("click", action, { signal });
  return button;
}

/** Test images as a group of radio buttons; pick(i) is called with the number of the one taken. Returns {mark(i)}. */
export function imageGrid(parent, examples, shape, pick, signal) {
  const group = element("div", { class: "vae-explorer-grid", role: "radiogroup", "aria-label": "Test images" }, parent);
  const cells = examples.map(({ x, name }, i) => {
    const cell = element("button", { type: "button", role: "radio", "aria-checked": "false", tabindex: i ? "-1" : "0" }, group);
    cell.setAttribute("aria-label", name);
    paintGrey(element("canvas", { "aria-hidden": "true" }, cell), x, shape);
    cell.addEventListener("click", () => pick(i), { signal });
    return cell;
  });
  group.addEventListener("keydown", (event) => {
    const direction = ARROWS[event.key];
    if (!direction) return;
    event.preventDefault();
    const next = cells.indexOf(document.activeElement) + direction[0] + COLUMNS * direction[1];
    if (!cells[next]) return;
    cells[next].focus();
    pick(next);
  }, { signal });
  const mark = (index) => cells.forEach((cell, i) => {
    cell.setAttribute("aria-checked", String(i === index));
    cell.tabIndex = i === Math.max(0, index) ? 0 : -1;
  });
  return { group, mark };
}

/** A square to draw in. drawn(image) is called with the prepared image, or null once it is empty, at most once a frame. */
export class DrawPad {
  constructor(parent, shape, drawn, signal) {
    Object.assign(this, { shape: { height: shape[0], width: shape[1] }, drawn, strokes: [], pen: [0.5, 0.5], down: false, frame: 0 });
    const figure = element("figure", { class: "vae-explorer-pad" }, parent);
    this.canvas = element("canvas", { tabindex: "0", role: "application", "aria-roledescription": "drawing pad" }, figure);
    const buttons = element("div", { class: "vae-explorer-bar" }, figure);
    textButton(buttons, "Undo", () => this.#undo(), signal);
    textButton(buttons, "Clear", () => this.clear(), signal);
    element("figcaption", {}, figure).textContent = "Draw with mouse, finger or pen. By keys: arrows move the pen, Space sets it down and lifts it.";
    const on = (name, handler) => this.canvas.addEventListener(name, handler, { signal });
    on("pointerdown", (event) => this.#begin(event));
    on("pointermove", (event) => this.#extend(event));
    for (const end of ["pointerup", "pointercancel"]) on(end, () => (this.active = null));
    on("keydown", (event) => this.#key(event));
    for (const name of ["focus", "blur"]) on(name, () => this.paint());
    signal.addEventListener("abort", () => cancelAnimationFrame(this.frame));
  }

  clear() {
    Object.assign(this, { strokes: [], down: false });
    this.#changed();
  }

  #undo() {
    this.strokes.pop();
    this.down = false;
    this.#changed();
  }

  #changed() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.paint();
      this.drawn(digitOfStrokes(this.strokes, this.shape));
    });
  }

  #point(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  #begin(event) {
    if (event.button || this.active != null) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    Object.assign(this, { active: event.pointerId, down: false });
    this.strokes.push([this.#point(event)]);
    this.#changed();
  }

  #extend(event) {
    if (event.pointerId !== this.active) return;
    const all = event.getCoalescedEvents?.() ?? [];
    this.strokes.at(-1).push(...(all.length ? all : [event]).map((one) => this.#point(one)));
    this.#changed();
  }

  #key(event) {
    const direction = ARROWS[event.key];
    if (event.key === "Backspace" || event.key === "Delete") this.#undo();
    else if (event.key === " " || event.key === "Enter") {
      this.down = !this.down;
      if (this.down) this.strokes.push([this.pen]);
    } else if (direction) {
      this.pen = this.pen.map((value, k) => Math.min(1, Math.max(0, value + PEN_STEP * direction[k])));
      if (this.down) this.strokes.at(-1).push(this.pen);
    } else return;
    event.preventDefault();
    this.#changed();
  }

  paint() {
    const context = sharpContext(this.canvas, PAD, PAD);
    const { ink, paper } = themeOf(this.canvas);
    context.strokeStyle = ink;
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = PAD / 14;
    for (const stroke of this.strokes) {
      context.beginPath();
      for (const [x, y] of [stroke[0], ...stroke]) context.lineTo(x * PAD, y * PAD);
      context.stroke();
    }
    const place = this.pen.map((value) => Math.round(100 * value));
    const pen = `Pen ${this.down ? "down" : "up"} at ${place[0]} % from the left, ${place[1]} % from the top`;
    this.canvas.setAttribute("aria-label", `Drawing pad, ${this.strokes.length === 1 ? "1 stroke" : `${this.strokes.length} strokes`}. ${pen}. Arrows move it, Space sets it down or lifts it, Backspace takes a stroke back.`);
    if (document.activeElement !== this.canvas || !this.canvas.matches(":focus-visible")) return;
    context.beginPath();
    context.arc(this.pen[0] * PAD, this.pen[1] * PAD, 6, 0, 2 * Math.PI);
    context.fillStyle = this.down ? ink : paper;
    context.fill();
    context.lineWidth = 2;
    context.stroke();
  }
}
