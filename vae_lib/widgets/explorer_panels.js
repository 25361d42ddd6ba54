// The explorer's three panels, each built when it is first opened: an image encoded, its ledger in nats, a walk between two images.
import { element, sharpContext, show } from "./kit.js";
import { BLUE, ORANGE, drawBar } from "./panels.js";
import { crossFade, gaussianKL, walk } from "./explorer_maths.js";
import { forward, sigmoid } from "./network.js";
import { paintGrey } from "./explorer_map.js";
import { textButton } from "./explorer_draw.js";
import { normals } from "./held_noise_maths.js";

const SAMPLES = 6;
const FRAMES = 9; // of a walk, side by side
const WALK_TIME = 4; // seconds from A to B
const PURPLE = "#8a63c9";

/** The decoder's probabilities at a point, a fresh array. */
export function decoded(data, z) {
  return Float32Array.from(forward(data.layers, z), sigmoid);
}

/** A point or a list of numbers for people: (0.52, −1.10). */
export function tuple(values, digits = 2) {
  const shown = Array.from(values.slice(0, 10), (value) => show(value, digits));
  return `(${shown.join(", ")}${values.length > 10 ? ", …" : ""})`;
}

/** A small picture with a name under it. */
function picture(parent, name) {
  const figure = element("figure", { class: "vae-explorer-picture" }, parent);
  const canvas = element("canvas", { role: "img", "aria-label": name }, figure);
  element("figcaption", {}, figure).textContent = name;
  return canvas;
}

/** Encode: the original, what comes back from the encoder's mean, and decoded samples of q(z|x). */
export class EncodePanel {
  constructor(parent, explorer) {
    const { signal } = explorer;
    Object.assign(this, { explorer, seed: 1, seen: null });
    const row = element("div", { class: "vae-explorer-row" }, parent);
    this.original = picture(row, "original");
    this.mean = picture(row, "reconstruction");
    this.drawn = picture(row, `${SAMPLES} samples of q(z|x), decoded`);
    this.drawn.parentElement.classList.add("vae-explorer-samples");
    this.text = element("p", { class: "vae-readout" }, parent);
    const buttons = element("div", { class: "vae-explorer-bar" }, parent);
    textButton(buttons, "New samples", () => this.#redraw(), signal);
    textButton(buttons, "Zoom the map to q", () => explorer.zoomTo(explorer.given.mu), signal);
    textButton(buttons, "Point to the mean", () => explorer.moveTo(explorer.given.mu), signal);
  }

  #redraw() {
    this.seed++;
    this.seen = null;
    this.explorer.update();
  }

  #sample({ mu, logVar }) {
    const eps = normals(SAMPLES * mu.length, this.seed);
    this.samples = Array.from({ length: SAMPLES }, (_, i) => mu.map((mean, k) => mean + Math.exp(logVar[k] / 2) * eps[i * mu.length + k]));
  }

  paint() {
    const { given, data } = this.explorer;
    if (!given || given === this.seen) return;
    this.seen = given;
    this.#sample(given);
    paintGrey(this.original, given.x, data.shape);
    paintGrey(this.mean, decoded(data, given.mu), data.shape);
    const frame = document.createElement("canvas");
    this.samples.forEach((z, i) => {
      paintGrey(frame, decoded(data, z), data.shape);
      if (!i) [this.drawn.width, this.drawn.height] = [SAMPLES * data.shape[1], data.shape[0]];
      this.drawn.getContext("2d").drawImage(frame, i * data.shape[1], 0);
    });
    this.text.textContent = this.describe();
    this.explorer.announce(this.text.textContent);
  }

  describe() {
    const { name, mu, logVar } = this.explorer.given;
    return `The encoder's answer to ${name}: q(z|x) with μ = ${tuple(mu)} and σ = ${tuple(logVar.map((value) => Math.exp(value / 2)), 3)}. The ellipses hold 39 % and 86 % of it.`;
  }

  /** What lies over the map. */
  overlay() {
    const { given } = this.explorer;
    return given ? { ellipses: [{ ...given, color: ORANGE }], samples: this.samples } : {};
  }
}

/** The ends of the ledger's axis: what all bars have in common is cut off, so that a nat can be seen. */
export function ledgerRange({ reconstruction, kl, logPx }) {
  const least = Math.min(reconstruction, Number.isFinite(logPx) ? -logPx : Infinity);
  const low = Math.max(0, 10 * Math.floor((least - 20) / 10));
  const span = (reconstruction + kl - low) * 1.05;
  const steps = [50, 100, 200, 400, 800, 1600, 3200];
  return [low, low + (steps.find((step) => step >= span) ?? span)];
}

/** Two bars of one length: −ELBO as reconstruction and KL, and as −log p(x) and the gap. */
function drawLedger(context, width, ledger, { ink, paper }) {
  const [low, high] = ledgerRange(ledger);
  const px = (nats) => ((nats - low) / (high - low)) * (width - 2) + 1;
  const rows = [[[ledger.reconstruction, "reconstruction", BLUE, false], [ledger.kl, "KL to the prior", ORANGE, true]]];
  if (Number.isFinite(ledger.logPx)) rows.push([[-ledger.logPx, "−log p(x)", "#717581", false], [Math.max(0, ledger.gap), "gap", PURPLE, true]]);
  context.font = "13px sans-serif";
  context.fillStyle = ink;
  rows.forEach((parts, row) => {
    const y = 20 + 56 * row;
    let from = low;
    let free = 0; // where the next name may begin
    for (const [nats, name, color, hatched] of parts) {
      const to = (from === low ? 0 : from) + nats;
      drawBar(context, px(from), y, px(to) - px(from), 24, { color, ink, hatched });
      const text = `${name} ${show(nats, 1)}`;
      context.fillStyle = ink;
      context.textAlign = "left";
      const size = context.measureText(text).width;
      const x = Math.max(free, Math.min(px(from), width - size));
      context.fillText(text, x, y - 6);
      [free, from] = [x + size + 12, to];
    }
  });
  const bottom = 20 + 56 * (rows.length - 1) + 24;
  drawLedgerAxis(context, { px, low, high, bottom, ink, paper, width });
}

function drawLedgerAxis(context, { px, low, high, bottom, ink, paper, width }) {
  context.fillStyle = context.strokeStyle = ink;
  context.lineWidth = 1;
  context.textAlign = "center";
  const step = (high - low) / 5;
  for (let i = 0; i <= 5; i++) {
    const at = px(low + i * step);
    context.fillRect(at - 0.5, bottom + 8, 1, 5);
    context.textAlign = i === 0 ? "left" : i === 5 ? "right" : "center";
    context.fillText(show(low + i * step, 0), i === 0 ? 0 : at, bottom + 27);
  }
  context.fillRect(0, bottom + 8, width, 1);
  if (!low) return;
  context.strokeStyle = paper;
  context.lineWidth = 4;
  for (let top = 18; top <= bottom; top += 56) { // the axis does not begin at zero: a cut through the bars
    context.beginPath();
    for (let i = 0; i <= 5; i++) context.lineTo(14 + 5 * (i % 2), top + 5.6 * i);
    context.stroke();
  }
}

/** Ledger: what the image costs in nats under a q that the reader moves, against log p(x), which stays. */
export class LedgerPanel {
  constructor(parent, explorer) {
    const { signal } = explorer;
    Object.assign(this, { explorer, asked: "", result: null, lines: [] });
    this.canvas = element("canvas", { class: "vae-explorer-ledger", role: "img", "aria-label": "Ledger, not summed up yet" }, parent);
    this.text = element("p", { class: "vae-readout" }, parent);
    this.sums = element("p", { class: "vae-readout vae-explorer-sums" }, parent);
    const buttons = element("div", { class: "vae-explorer-bar" }, parent);
    textButton(buttons, "Back to the encoder's mean", () => explorer.moveTo(explorer.given.mu), signal);
    textButton(buttons, "Zoom the map to q", () => explorer.zoomTo(explorer.z), signal);
  }

  /** q as the reader holds it: centred at the point; exactly the encoder's own while the point lies on its mean. */
  q() {
    const { given, z } = this.explorer;
    const own = given.mu.every((mean, k) => Math.abs(mean - z[k]) < 0.0051);
    return { mu: own ? given.mu : Float32Array.from(z), logVar: given.logVar, own };
  }

  async #ask(q) {
    const { given } = this.explorer;
    const key = [given.serial, ...q.mu].join();
    if (key === this.asked) return;
    this.asked = key;
    const result = await this.explorer.ledgers.request(given.x, q.mu, q.logVar);
    if (!result || this.explorer.signal.aborted) return;
    if (result.posterior && this.contoured !== given.serial) {
      this.lines = this.explorer.contoursOf(result);
      this.contoured = given.serial;
    }
    this.result = { ...result, q, serial: given.serial };
    this.explorer.update();
  }

  paint() {
    const { given } = this.explorer;
    if (!given) return;
    this.#ask(this.q()).catch((error) => (this.text.textContent = `The ledger cannot be computed: ${error.message}`));
    if (this.result?.serial !== given.serial) {
      this.sums.textContent = "Summing over the plane …";
      return;
    }
    const width = Math.max(240, this.explorer.panelWidth - 16);
    const height = Number.isFinite(this.result.logPx) ? 134 : 76;
    Object.assign(this.canvas.style, { width: `${width}px`, height: `${height}px` });
    drawLedger(sharpContext(this.canvas, width, height), width, this.result, this.explorer.theme);
    this.#say();
  }

  #say() {
    const { given } = this.explorer;
    const { reconstruction, kl, elbo, logPx, gap, q } = this.result; // with the q that they were summed up for
    const n = (value) => show(value, 2);
    this.text.textContent = q.own
      ? `q is the encoder's own for ${given.name}: it sits at its mean ${tuple(given.mu)}. Move the point to move q.`
      : `q is centred at the point, z = ${tuple(q.mu)}, with the σ that the encoder gave ${given.name}.`;
    const left = `Reconstruction ${n(reconstruction)} + KL ${n(kl)} = −ELBO ${n(-elbo)}`;
    this.sums.textContent = !Number.isFinite(logPx)
      ? `${left} nats. ${logPx === null ? "log p(x) is summed over the plane only where the latent space has two dimensions." : "log p(x) could not be summed: on no grid that was tried did it settle."}`
      : `${left} = −log p(x) ${n(-logPx)} + gap KL(q‖p(z|x)) ${n(gap)}, in nats.`;
    this.canvas.setAttribute("aria-label", this.sums.textContent);
    this.explorer.announce(`${this.text.textContent} ${this.sums.textContent}`);
  }

  overlay() {
    const { given } = this.explorer;
    if (!given) return {};
    const q = this.q();
    const ellipses = [{ ...q, color: ORANGE }];
    if (!q.own) ellipses.unshift({ ...given, color: ORANGE, dash: [4, 4] });
    return { ellipses, contours: this.contoured === given.serial ? [{ lines: this.lines, color: BLUE }] : [] };
  }
}

/** Walk: from image A to image B, on a straight line of z, and as a cross-fade of pixels. */
export class WalkPanel {
  constructor(parent, explorer) {
    Object.assign(this, { explorer, ends: [null, null], slot: 1, t: 0, timer: 0, seen: "" });
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    this.#build(parent, explorer.signal);
    explorer.signal.addEventListener("abort", () => this.pause());
  }

  #build(parent, signal) {
    const choice = element("div", { class: "vae-explorer-bar", role: "group", "aria-label": "Which end the grid sets" }, parent);
    this.slots = ["A: from", "B: to"].map((name, i) => textButton(choice, name, () => this.hold(i), signal));
    const row = element("div", { class: "vae-explorer-row" }, parent);
    this.pictures = ["A", "in z", "cross-fade", "B"].map((name) => picture(row, name));
    this.film = element("canvas", { class: "vae-explorer-film", role: "img" }, parent);
    const bar = element("div", { class: "vae-explorer-bar" }, parent);
    this.button = textButton(bar, "Play", () => (this.timer ? this.pause() : this.play()), signal);
    this.slider = element("input", { type: "range", min: "0", max: "1", step: "0.01", value: "0", "aria-label": "Place on the walk from A to B" }, bar);
    this.slider.addEventListener("input", () => {
      this.pause();
      this.go(Number(this.slider.value));
    }, { signal });
    this.text = element("p", { class: "vae-readout" }, parent);
    this.hold(1);
  }

  /** Choose the end that the next picked image becomes: 0 for A, 1 for B. */
  hold(slot) {
    this.slot = slot;
    this.explorer.grid?.mark(this.ends[slot]?.index ?? -1);
    this.slots.forEach((button, i) => button.setAttribute("aria-pressed", String(i === slot)));
  }

  /** Take an image as the end that is being chosen. */
  take(image) {
    this.pause();
    this.ends[this.slot] = image;
    if (this.ready) this.go(this.slot);
  }

  get ready() {
    return this.ends.every(Boolean);
  }

  go(t) {
    this.t = t;
    this.explorer.moveTo(walk(this.ends[0].mu, this.ends[1].mu, t), !this.timer);
    this.explorer.update();
  }

  play() {
    if (!this.ready || this.timer) return;
    const start = this.t >= 1 ? 0 : this.t;
    let began = null;
    const step = (time) => {
      began ??= time;
      const t = Math.min(1, start + (time - began) / 1000 / WALK_TIME);
      this.timer = requestAnimationFrame(step);
      this.go(t);
      if (t >= 1) this.pause();
    };
    this.timer = requestAnimationFrame(step);
    this.explorer.update();
  }

  pause() {
    if (!this.timer) return;
    cancelAnimationFrame(this.timer);
    this.timer = 0;
    this.explorer.save();
    this.explorer.update();
  }

  paint() {
    if (!this.ready) return;
    const { data } = this.explorer;
    const [a, b] = this.ends;
    const now = [a.x, decoded(data, walk(a.mu, b.mu, this.t)), crossFade(a.x, b.x, this.t), b.x];
    now.forEach((levels, i) => paintGrey(this.pictures[i], levels, data.shape));
    this.slider.value = String(this.t);
    this.slider.setAttribute("aria-valuetext", `${Math.round(100 * this.t)} %`);
    this.button.textContent = this.timer ? "Pause" : this.t >= 1 ? "Play again" : "Play";
    this.text.textContent = `${Math.round(100 * this.t)} % of the way from ${a.name} to ${b.name}. Upper row: decoded from the straight line in z. Lower row: the two images faded into each other.`;
    this.#paintFilm(a, b);
    if (!this.timer) this.explorer.announce(this.text.textContent);
  }

  #paintFilm(a, b) {
    const { data } = this.explorer;
    const [height, width] = data.shape;
    const total = Math.max(240, Math.min(640, this.explorer.panelWidth - 16));
    const side = total / FRAMES;
    const tall = (side * height) / width;
    const key = [a.serial, b.serial, total].join();
    if (key !== this.seen) this.#developFilm(a, b);
    this.seen = key;
    this.film.style.width = `${total}px`;
    const context = sharpContext(this.film, total, 2 * tall + 14);
    context.drawImage(this.strip, 0, 0, FRAMES * width, height, 0, 0, total, tall);
    context.drawImage(this.strip, 0, height, FRAMES * width, height, 0, tall + 14, total, tall);
    const at = side / 2 + this.t * (total - side);
    context.fillStyle = this.explorer.theme.ink;
    context.beginPath();
    for (const [dx, dy] of [[0, 1], [6, 7], [0, 13], [-6, 7]]) context.lineTo(at + dx, tall + dy);
    context.fill();
    this.film.setAttribute("aria-label", `${FRAMES} steps from ${a.name} to ${b.name}: decoded from a straight line in z above, cross-faded pixels below`);
  }

  #developFilm(a, b) {
    const { data } = this.explorer;
    const [height, width] = data.shape;
    this.strip = document.createElement("canvas");
    [this.strip.width, this.strip.height] = [FRAMES * width, 2 * height];
    const context = this.strip.getContext("2d");
    const frame = document.createElement("canvas");
    for (let i = 0; i < FRAMES; i++) {
      const t = i / (FRAMES - 1);
      [decoded(data, walk(a.mu, b.mu, t)), crossFade(a.x, b.x, t)].forEach((levels, row) => {
        paintGrey(frame, levels, data.shape);
        context.drawImage(frame, i * width, row * height);
      });
    }
  }

  overlay() {
    return this.ready ? { walk: this.ends.map(({ mu }) => mu) } : {};
  }
}
