// Shared by widgets of several panels: a canvas as wide as its place, levels on the left of axes, hatched bars, rows of labels.
import { element, keepPainted, sharpContext, show, themeOf } from "./kit.js";

export const BLUE = "#3f90da"; // with the orange: apart for colour-blind readers, and 3:1 on white and on the dark page
export const ORANGE = "#e76300";

const NARROWEST = 280;
const WIDEST = 640;

/** Width of a canvas in this place, CSS pixels. */
export function canvasWidth(el) {
  return Math.max(NARROWEST, Math.min(WIDEST, el.clientWidth || WIDEST));
}

/** Give a canvas its size on the page; it shrinks in proportion where even the narrowest is too wide. */
export function fitCanvas(canvas, width, height) {
  canvas.style.width = `${width}px`;
  canvas.style.height = "auto";
  canvas.style.aspectRatio = `${width} / ${height}`;
}

/** An empty context of a canvas that has this size on the page. */
export function fittedContext(canvas, width, height) {
  fitCanvas(canvas, width, height);
  return sharpContext(canvas, width, height);
}

/**
 * A canvas as wide as its place, and under it its numbers in words, both kept in step with the model and the page's theme.
 * paint(canvas, width, theme) draws, and returns {label, lines}: what the canvas is for who cannot see it, and the words.
 * Returns {canvas, readout, update, stop}, as keepPainted does.
 */
export function keepPanels({ model, el }, traits, paint) {
  const figure = element("figure", {}, el);
  const canvas = element("canvas", { role: "img" }, figure);
  const readout = element("div", { class: "vae-readout", "aria-live": "polite" }, figure);
  const { update, stop } = keepPainted(el, model, traits, () => {
    const { label, lines } = paint(canvas, canvasWidth(el), themeOf(el));
    canvas.setAttribute("aria-label", `${label} ${lines.join(" ")}`);
    say(readout, lines);
  });
  const forgetWidth = followWidth(el, update);
  return {
    canvas,
    readout,
    update,
    stop() {
      forgetWidth();
      stop();
    },
  };
}

/** Ask for another painting whenever the place becomes wider or narrower; returns how to end that. */
export function followWidth(el, update) {
  let last = canvasWidth(el);
  const observer = new ResizeObserver(() => {
    const now = canvasWidth(el);
    if (now !== last) update();
    last = now;
  });
  observer.observe(el);
  return () => observer.disconnect();
}

/** The lines of a read-out, one paragraph each; written only if they differ, so that nothing is read out twice. */
function say(readout, lines) {
  if (readout.dataset.said === lines.join("\n")) return;
  readout.dataset.said = lines.join("\n");
  readout.replaceChildren(...lines.map((line) => {
    const paragraph = element("div");
    paragraph.textContent = line;
    return paragraph;
  }));
}

/** The largest of 1, 2, 5 times a power of ten that does not exceed a positive number. */
export function roundBelow(number) {
  const power = 10 ** Math.floor(Math.log10(number));
  const digit = number / power;
  return (digit >= 5 ? 5 : digit >= 2 ? 2 : 1) * power;
}

/** A line at zero, and numbers on the left of axes at zero and at one round value. */
export function drawLevels(axes) {
  const { context, ink } = axes;
  const top = roundBelow(axes.ylim[1]);
  context.save();
  context.strokeStyle = context.fillStyle = ink;
  context.lineWidth = 1;
  context.font = "12px sans-serif";
  context.textAlign = "right";
  for (const level of [0, top]) {
    const digits = Math.min(20, Math.max(0, -Math.floor(Math.log10(top))));
    const at = Math.round(axes.py(level)) + 0.5;
    context.fillText(level ? show(level, digits) : "0", axes.x - 7, at + 4);
    context.globalAlpha = level ? 0.25 : 0.6;
    context.beginPath();
    context.moveTo(axes.x - 4, at);
    context.lineTo(axes.x + axes.width, at);
    context.stroke();
    context.globalAlpha = 1;
  }
  context.restore();
}

/** A filled bar; hatched, it is told apart from a plain one without colour. */
export function drawBar(context, x, y, width, height, { color, ink, hatched = false }) {
  if (width <= 0) return;
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.globalAlpha = hatched ? 0.35 : 0.8;
  context.fillStyle = color;
  context.fillRect(x, y, width, height);
  context.globalAlpha = 1;
  context.strokeStyle = hatched ? color : ink;
  context.lineWidth = 2;
  if (hatched) {
    context.beginPath();
    const [low, high] = [Math.max(x, 0) - height, Math.min(x + width, context.canvas.width / context.getTransform().a)]; // lines on the canvas, however long the bar
    for (let at = low; at < high; at += 7) {
      context.moveTo(at, y + height);
      context.lineTo(at + height, y);
    }
    context.stroke();
  }
  context.strokeRect(x, y, width, height);
  context.restore();
}

/**
 * A row for each label so that labels in one row stay `apart` from each other: the lowest row that has room, or −1 if none of
 * `rows` has. Positions may come in any order.
 */
export function labelRows(positions, apart, rows) {
  const order = positions.map((_, i) => i).sort((a, b) => positions[a] - positions[b]);
  const ends = new Array(rows).fill(-Infinity);
  const result = new Array(positions.length).fill(-1);
  for (const i of order) {
    const row = ends.findIndex((end) => positions[i] - end >= apart);
    if (row < 0) continue;
    ends[row] = positions[i];
    result[i] = row;
  }
  return result;
}
