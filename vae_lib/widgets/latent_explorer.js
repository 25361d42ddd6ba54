// The latent explorer: decodes z in the browser, shows it on a map, encodes images, keeps their ledger, walks between them.
import { demand, finiteNumber, finiteNumbers, hexColors, imageShape, wholeNumber } from "./checks.js";
import { announcer, element, keepPainted, show, themeOf, widget } from "./kit.js";
import { encode, float16ToFloat32, unpackEncoder, unpackLayers } from "./network.js";
import { contours, highestDensityLevel } from "./map_maths.js";
import { makeLedgerWorker } from "./explorer_maths.js";
import { LatentMap, paintCloseUp, paintGrey } from "./explorer_map.js";
import { DrawPad, imageGrid, textButton } from "./explorer_draw.js";
import { EncodePanel, LedgerPanel, WalkPanel, decoded, tuple } from "./explorer_panels.js";

const WIDEST_MAP = 400; // CSS pixels
const CLOSE_UP = 176;
const KEYS_ARE_OURS = "data-lm-suppress-shortcuts"; // or JupyterLab would take arrows, + and 0 for its own
const SHARES = [0.393, 0.865]; // of a Gaussian in the plane within 1σ and 2σ: what the posterior's contours hold as well
const PANELS = [["encode", "Encode an image", EncodePanel], ["ledger", "Ledger", LedgerPanel], ["walk", "Walk", WalkPanel]];

const bytesOf = (view) => (view ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength) : new Uint8Array());

function readCodes(model) {
  const [points, spreads, labels] = ["codes", "spreads", "labels"].map((name) => model.get(name));
  const count = labels?.byteLength ?? 0;
  demand((points?.byteLength ?? 0) === 4 * count, `${count} pairs of codes, one for each label`, `${points?.byteLength ?? 0} bytes`);
  const wide = spreads?.byteLength ?? 0;
  demand(!wide || wide === 4 * count, `${count} pairs of log-variances`, `${wide} bytes`);
  const codes = { count, points: count ? float16ToFloat32(points) : null, labels: bytesOf(labels) };
  demand(!count || codes.points.every(Number.isFinite), "finite codes", "others");
  demand(codes.labels.every((label) => label < 10), "labels from 0 to 9", "others");
  const names = model.get("names") ?? [];
  const named = Array.isArray(names) && names.every((name) => Array.isArray(name) && name.length === 3 && name.every(Number.isFinite));
  demand(named && names.every(([digit]) => [...Array(10).keys()].includes(digit)), "names as a digit and its place", names);
  return { codes, names, spreads: wide ? float16ToFloat32(spreads) : null };
}

/** The test images under the pointer, two bits for each pixel; null where there are none. */
function readThumbs(model, count) {
  const packed = bytesOf(model.get("thumbs"));
  if (!packed.length) return null;
  const shape = imageShape(model.get("thumb_shape"));
  const pixels = shape[0] * shape[1];
  demand(packed.length === Math.ceil((pixels * count) / 4), `${count} small images of ${pixels} pixels`, `${packed.length} bytes`);
  const levels = (i) => Float32Array.from({ length: pixels }, (_, k) => {
    const at = i * pixels + k;
    return ((packed[at >> 2] >> (2 * (at & 3))) & 3) / 3;
  });
  return { shape, levels };
}

function readExamples(model, pixels) {
  const [bytes, labels] = [bytesOf(model.get("examples")), bytesOf(model.get("example_labels"))];
  demand(bytes.length === pixels * labels.length, `${labels.length} images of ${pixels} pixels`, `${bytes.length} bytes`);
  const indices = finiteNumbers("example_indices", model.get("example_indices"), labels.length);
  return Array.from(labels, (label, i) => ({
    label,
    name: `test image ${indices[i]}, a ${label}`,
    x: Float32Array.from(bytes.subarray(i * pixels, (i + 1) * pixels), (level) => level / 255),
  }));
}

/** All that travels, unpacked and checked; an Error says what was expected and what came. */
function readModel(model) {
  const layers = unpackLayers(model.get("layers"), model.get("weights"));
  const [latentDim, pixels] = [layers[0].inputs, layers.at(-1).outputs];
  const shape = imageShape(model.get("image_shape"), pixels);
  layers.slice(1).forEach((layer, i) => demand(layer.inputs === layers[i].outputs, `${layers[i].outputs} inputs of layer ${i + 2}`, layer.inputs));
  const limit = finiteNumber("limit", model.get("limit"), -Infinity, 1e30);
  demand(limit > 0, "a limit above 0", limit);
  finiteNumbers("start", model.get("start"), latentDim);
  wholeNumber("sliders", model.get("sliders"), 1, Math.min(latentDim, 10));
  const packed = model.get("encoder_layers") ?? [];
  const encoder = packed.length ? unpackEncoder(packed, model.get("encoder_weights")) : null;
  if (encoder) demand(encoder.inputs === pixels && encoder.latentDim === latentDim, `an encoder from ${pixels} pixels to ${latentDim} numbers`, `${encoder.inputs} to ${encoder.latentDim}`);
  const { codes, spreads, names } = readCodes(model);
  const colors = hexColors(model.get("colors"));
  demand(colors.length >= 10, "10 colours, one for each digit", colors.length);
  const data = { layers, latentDim, shape, encoder, codes, spreads, limit, colors, names };
  data.decode = (z) => decoded(data, z);
  return { ...data, thumb: readThumbs(model, codes.count), examples: encoder ? readExamples(model, pixels) : [] };
}

class Explorer {
  constructor(model, el) {
    this.model = model;
    this.el = el;
    el.setAttribute(KEYS_ARE_OURS, "true");
    this.data = readModel(model);
    this.ending = new AbortController();
    this.signal = this.ending.signal;
    this.traits = Array.from({ length: Math.min(this.data.latentDim, model.get("sliders")) }, (_, i) => `z${i}`);
    this.z = new Float32Array(this.data.latentDim);
    this.given = null;
    this.serial = 0;
    this.panels = {};
    this.open = "";
    this.update = () => {}; // until it is painted for the first time
    this.#build();
  }

  #build() {
    this.stage = element("div", { class: "vae-explorer-stage" }, this.el);
    const actions = { move: (x, y) => this.moveTo([x, y]), repaint: () => this.update() };
    this.map = this.data.codes.count && this.traits.length > 1 ? new LatentMap(this.stage, this.data, actions) : null;
    const side = element("div", { class: "vae-explorer-side" }, this.stage);
    const figure = element("figure", {}, side);
    const [height, width] = this.data.shape;
    this.digit = element("canvas", { class: "vae-explorer-digit", role: "img", width, height }, figure);
    this.caption = element("figcaption", {}, figure);
    if (this.map && this.data.thumb) this.#buildNearest(side);
    this.voice = announcer(this.el);
    if (this.data.encoder) this.#buildPanels();
  }

  #buildNearest(parent) {
    const figure = element("figure", { class: "vae-explorer-nearest" }, parent);
    this.neighbour = element("canvas", { role: "img" }, figure);
    this.neighbourText = element("figcaption", {}, figure);
  }

  #buildPanels() {
    this.more = element("div", { class: "vae-widget vae-explorer-more", [KEYS_ARE_OURS]: "true" }, this.el);
    const tabs = element("div", { class: "vae-explorer-tabs", role: "group", "aria-label": "More to do" }, this.more);
    this.tabs = PANELS.map(([name, title]) => textButton(tabs, title, () => this.toggle(name), this.signal));
    this.tabs.forEach((tab) => tab.setAttribute("aria-expanded", "false"));
    for (const event of ["pointerenter", "focusin"]) tabs.addEventListener(event, () => this.prepareLedger(), { signal: this.signal, once: true });
    this.picker = element("div", { class: "vae-explorer-picker", hidden: "" }, this.more);
    this.model.on("change:given", this.onGiven);
  }

  /** What the page's layout and theme give; asked for only when they may have changed, since asking makes the page lay itself out. */
  measure() {
    this.theme = themeOf(this.el);
    this.width = this.stage.clientWidth;
    this.panelWidth = this.more?.clientWidth ?? 0;
  }

  /** Below the sliders stands a place for the panels; it may arrive later than this. */
  settle() {
    const place = this.el.closest(".vae-widget-box")?.querySelector(".vae-explorer-place");
    if (!this.more || !place || this.more.parentElement === place) return;
    place.append(this.more);
  }

  #buildPicker() {
    const sources = element("div", { class: "vae-explorer-bar", role: "group", "aria-label": "Where the image comes from" }, this.picker);
    const show = (drawing) => {
      [grid.group.hidden, pad.canvas.parentElement.hidden] = [drawing, !drawing];
      buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(drawing === Boolean(i))));
      pad.paint();
    };
    const buttons = [["Test images", false], ["Draw a digit", true]].map(([text, drawing]) => textButton(sources, text, () => show(drawing), this.signal));
    const row = element("div", { class: "vae-explorer-row" }, this.picker);
    const grid = imageGrid(row, this.data.examples, this.data.shape, (i) => this.choose(this.data.examples[i]), this.signal);
    const pad = new DrawPad(row, this.data.shape, (x) => x && this.choose({ x, name: "your drawing" }), this.signal);
    const figure = element("figure", { class: "vae-explorer-lens" }, row);
    this.lens = element("canvas", { role: "img" }, figure);
    this.lensText = element("figcaption", {}, figure);
    Object.assign(this, { grid, pad });
    show(!this.data.examples.length);
  }

  /** Open one panel, or close the one that is open. */
  toggle(name) {
    this.panels.walk?.pause();
    this.open = this.open === name ? "" : name;
    if (this.open && !this.grid) this.#buildPicker();
    this.picker.hidden = !this.open;
    PANELS.forEach(([other, title, Panel], i) => {
      this.tabs[i].setAttribute("aria-expanded", String(other === this.open));
      if (other === this.open && !this.panels[other]) this.#buildPanel(other, title, Panel, i);
      if (this.panels[other]) this.panels[other].box.hidden = other !== this.open;
    });
    if (this.open && !this.given && this.data.examples.length) this.choose(this.data.examples[0], true);
    if (this.open === "walk") this.#beginWalk();
    else this.grid?.mark(this.given?.index ?? -1);
    this.update();
  }

  /** A worker begins to decode the plane: not with the page, which has to be light, but before the reader asks for a ledger. */
  prepareLedger() {
    this.ledgers ??= makeLedgerWorker(this.data.layers);
  }

  #buildPanel(name, title, Panel, i) {
    const box = element("div", { class: `vae-explorer-panel vae-explorer-${name}`, role: "region", "aria-label": title }, this.more);
    if (name === "ledger") this.prepareLedger();
    this.panels[name] = new Panel(box, this);
    this.panels[name].box = box;
  }

  #beginWalk() {
    const panel = this.panels.walk;
    if (panel.ready) return panel.hold(panel.slot);
    if (!this.given) return;
    const other = this.data.examples.find(({ label }) => label !== this.given.label) ?? this.given;
    panel.ends = [this.given, this.#encoded(other)];
    panel.hold(1);
    panel.go(0);
    if (!panel.still.matches) panel.play();
  }

  #encoded(image) {
    const index = this.data.examples.indexOf(image);
    return { ...image, index, ...encode(this.data.encoder, image.x), serial: ++this.serial };
  }

  /** Encode an image, and take the point to the mean of its q(z|x). */
  choose(image, first = false) {
    const encoded = this.#encoded(image);
    this.grid.mark(encoded.index);
    if (this.open === "walk" && !first) this.panels.walk.take(encoded);
    else {
      this.given = encoded;
      this.own = true;
      this.model.set("given", new DataView(Uint8Array.from(image.x, (level) => Math.round(255 * level)).buffer));
      this.own = false;
      this.moveTo(encoded.mu);
    }
    this.update();
  }

  /** An image that Python has given. */
  onGiven = () => {
    const bytes = bytesOf(this.model.get("given"));
    if (this.own || bytes.length !== this.data.shape[0] * this.data.shape[1]) return;
    this.given = this.#encoded({ x: Float32Array.from(bytes, (level) => level / 255), name: "the image from Python" });
    this.grid?.mark(-1);
    if (!this.open) this.toggle("encode");
    this.update();
  };

  /** Move the point: its first coordinates, or all of them; the sliders' ends hold it. */
  moveTo(values, saved = true) {
    const { limit } = this.data;
    const rest = Array.from(this.model.get("start") ?? this.z);
    const moved = {};
    values.forEach((value, i) => {
      const held = Math.round(100 * Math.min(limit, Math.max(-limit, value))) / 100;
      if (i < this.traits.length) moved[`z${i}`] = held;
      rest[i] = held;
    });
    this.model.set(values.length > this.traits.length ? { ...moved, start: rest } : moved);
    if (saved) this.save();
    this.update();
  }

  save() {
    this.model.save_changes();
  }

  announce(text) {
    this.voice.say(text);
  }

  /** Half the side of a close-up of q. */
  get reach() {
    return 4 * Math.exp(Math.max(...this.given.logVar.subarray(0, 2)) / 2);
  }

  zoomTo(mu) {
    this.map?.closeUp(mu[0], mu[1], 2 * this.reach);
  }

  #paintLens(theme, over) {
    this.lens.parentElement.hidden = !this.given || this.open === "walk";
    if (this.lens.parentElement.hidden) return;
    const centre = this.open === "ledger" ? this.z : this.given.mu;
    paintCloseUp(this.lens, { centre, half: this.reach, z: this.z, theme, over, side: CLOSE_UP });
    this.lensText.textContent = this.open === "ledger"
      ? "Close-up. Orange: q at 1 and 2 σ; dashed: the encoder's. Blue: the true posterior, the same shares of it."
      : "Close-up of q(z|x): 1 and 2 σ, and the samples.";
    this.lens.setAttribute("aria-label", this.lensText.textContent);
  }

  /** Contours of a ledger's posterior, in data units, that hold as much of it as 1σ and 2σ hold of a Gaussian. */
  contoursOf({ posterior, grid: { x0, y0, step, n } }) {
    const density = posterior.map(Math.exp);
    const lines = SHARES.flatMap((share) => contours(posterior, n, Math.log(highestDensityLevel(density, step * step, share))));
    return lines.map((line) => line.map(([column, row]) => [x0 + column * step, y0 + row * step]));
  }

  #readPoint() {
    const start = this.model.get("start");
    const values = Array.from(this.z, (_, i) => (i < this.traits.length ? this.model.get(`z${i}`) : start?.[i]));
    const bad = values.findIndex((value) => !Number.isFinite(value));
    if (this.more) this.more.hidden = bad >= 0;
    demand(bad < 0, `a number as coordinate ${bad + 1} of z`, values[bad]);
    this.z.set(values);
  }

  paint(fresh) {
    this.#readPoint();
    if (fresh) this.measure();
    const key = this.z.join();
    if (key !== this.painted) this.#paintDigit();
    this.painted = key;
    const panel = this.panels[this.open];
    panel?.paint();
    if (fresh && this.pad) this.pad.paint();
    const [theme, over] = [this.theme, panel?.overlay() ?? {}];
    if (panel) this.#paintLens(theme, over);
    this.map?.paint({ z: this.z, theme, fresh, side: Math.min(WIDEST_MAP, this.width || 320), over });
  }

  #paintDigit() {
    const { data, z } = this;
    const shown = this.traits.length > 1 ? z.subarray(0, Math.max(2, this.traits.length)) : z.subarray(0, Math.min(2, data.latentDim));
    const place = tuple(shown);
    paintGrey(this.digit, data.decode(z), data.shape);
    this.digit.setAttribute("aria-label", `Decoded image at z = ${place}`);
    this.caption.textContent = `Decoded at z = ${place}`;
    if (!this.map) return;
    this.map.canvas.setAttribute("aria-label", `Map of the latent plane, now at ${place}. Arrow keys move, Shift moves further, plus and minus zoom, zero shows all.`);
    const { index, distance } = this.map.nearest(z[0], z[1]);
    const near = `Nearest test image: a ${data.codes.labels[index]}, ${show(distance)} away`;
    if (!this.open) this.announce(`z = ${place}. ${near}`);
    if (!this.neighbour) return;
    paintGrey(this.neighbour, data.thumb.levels(index), data.thumb.shape);
    this.neighbour.setAttribute("aria-label", near);
    this.neighbourText.textContent = near;
  }

  stop() {
    this.ending.abort();
    this.voice.stop();
    this.map?.stop();
    this.ledgers?.stop();
    this.model.off("change:given", this.onGiven);
    this.more?.remove();
  }
}

function render({ model, el }) {
  el.classList.add("vae-widget", "vae-explorer");
  const explorer = new Explorer(model, el);
  const { update, stop } = keepPainted(el, model, [...explorer.traits, "start"], (fresh) => explorer.paint(fresh));
  explorer.update = update;
  const arrival = new ResizeObserver(() => { // the widget comes into the page, and its place for panels, some time after this
    const box = el.closest(".vae-widget-box");
    if (box) arrival.observe(box);
    explorer.settle();
    explorer.measure();
    update();
  });
  arrival.observe(el);
  return () => {
    arrival.disconnect();
    explorer.stop();
    stop();
  };
}

export default widget(render);
