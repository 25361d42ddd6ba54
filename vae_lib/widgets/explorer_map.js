// The explorer's map of the latent plane: layers painted once for each view, and over them, each frame, the point and q.
import { onPaper } from "./contrast.js";
import { element, sharpContext } from "./kit.js";
import { BLUE, ORANGE } from "./panels.js";
import { View, aggregateDensity, axisTicks, tickText } from "./map_maths.js";

const TILES = 16; // decoded images along a side
const DENSITY_CELLS = 128;
const FRAME_SHARE = 5; // milliseconds a frame may spend on tiles
const NEAR = 12; // pixels within which the pointer finds a code
const LAYERS = [
  ["codes", "Codes", (n) => `Codes of ${n} test images, by digit`],
  ["images", "Decoded", () => "What the decoder makes of each place"],
  ["density", "Density", (n) => `Aggregate posterior: the mean of q(z|x) over ${n} images; darker is denser`],
  ["certainty", "Certainty", (n) => `q(z|x) of ${n} images as 1σ ellipses: blue narrow, orange wide`],
];

/** The outline of a digit's symbol around (0, 0): ten shapes, so that nothing hangs on colour alone. */
function symbolPath(digit, r) {
  const path = new Path2D();
  const polygon = (corners, turn) => {
    for (let i = 0; i < corners; i++) {
      const angle = turn + (2 * Math.PI * i) / corners;
      path.lineTo(r * Math.cos(angle), r * Math.sin(angle));
    }
    path.closePath();
  };
  const line = (...points) => points.forEach(([x, y], i) => (i ? path.lineTo(x * r, y * r) : path.moveTo(x * r, y * r)));
  if (digit === 0 || digit === 8) path.arc(0, 0, digit ? r : 0.85 * r, 0, 2 * Math.PI);
  else if (digit === 1) line([0, -1.1], [0, 1.1]);
  else if (digit === 2) polygon(3, -Math.PI / 2);
  else if (digit === 3) polygon(3, Math.PI / 2);
  else if (digit === 4) polygon(4, Math.PI / 4);
  else if (digit === 5) polygon(4, 0);
  else if (digit === 6) { line([-1, 0], [1, 0]); line([0, -1], [0, 1]); }
  else if (digit === 7) { line([-0.8, -0.8], [0.8, 0.8]); line([-0.8, 0.8], [0.8, -0.8]); }
  else { line([-1, 0], [1, 0]); line([-0.5, -0.87], [0.5, 0.87]); line([-0.5, 0.87], [0.5, -0.87]); }
  return path;
}

/** A view on a map of so many pixels: transformations both ways, pixels per unit, magnification, and a key that tells views apart. */
function placed(view, side) {
  return {
    side,
    scale: side / (2 * view.half),
    zoom: view.limit / view.half,
    key: [view.cx, view.cy, view.half, side].join(),
    toPixels: (x, y) => view.toPixels(x, y, side),
    toData: (px, py) => view.toLatent(px, py, side),
  };
}

const FILLED = new Set([2, 3, 5, 8]);

function drawSymbol(context, digit, x, y, r, color) {
  context.save();
  context.translate(x, y);
  context.fillStyle = context.strokeStyle = color;
  context.lineWidth = r / 2.2;
  const path = symbolPath(digit, r);
  if (FILLED.has(digit)) context.fill(path);
  else context.stroke(path);
  context.restore();
}

/** Each digit's symbol as a small canvas: painting 2,000 of them is then copying. */
function symbolSprites(colors, size) {
  return colors.map((color, digit) => {
    const sprite = document.createElement("canvas");
    drawSymbol(sharpContext(sprite, size, size), digit, size / 2, size / 2, size / 2 - 1, color);
    return sprite;
  });
}

function drawCodes(context, { codes, colors }, view) {
  const size = Math.min(14, 6.5 * Math.sqrt(view.zoom));
  const sprites = symbolSprites(colors, size);
  context.globalAlpha = 0.7;
  for (let i = 0; i < codes.count; i++) {
    const [x, y] = view.toPixels(codes.points[2 * i], codes.points[2 * i + 1]);
    if (x > -size && y > -size && x < view.side + size && y < view.side + size) {
      context.drawImage(sprites[codes.labels[i] % colors.length], x - size / 2, y - size / 2, size, size);
    }
  }
  context.globalAlpha = 1;
}

function drawNames(context, names, view, { ink, paper }) {
  context.font = "bold 16px sans-serif";
  context.textAlign = "center";
  context.lineWidth = 4;
  context.lineJoin = "round";
  context.strokeStyle = paper;
  context.fillStyle = ink;
  for (const [digit, x, y] of names) {
    const [px, py] = view.toPixels(x, y);
    context.strokeText(String(digit), px, py + 5);
    context.fillText(String(digit), px, py + 5);
  }
}

function haloText(context, text, x, y) {
  context.strokeText(text, x, y);
  context.fillText(text, x, y);
}

/** The prior's circles at 1, 2, 3 σ, in true units, and numbers along the lower and the left edge. */
function drawScale(context, view, { ink, paper }) {
  context.strokeStyle = ink;
  context.lineWidth = 1;
  context.globalAlpha = 0.45;
  const [cx, cy] = view.toPixels(0, 0);
  for (const radius of [1, 2, 3]) {
    context.beginPath();
    context.arc(cx, cy, radius * view.scale, 0, 2 * Math.PI);
    context.stroke();
  }
  context.globalAlpha = 1;
  context.font = "12px sans-serif";
  context.fillStyle = ink;
  context.strokeStyle = paper;
  context.lineWidth = 3;
  context.textAlign = "center";
  for (const radius of [1, 2, 3]) haloText(context, `${radius}σ`, cx + radius * view.scale * 0.7071, cy - radius * view.scale * 0.7071);
  const [low, high] = [view.toData(0, view.side), view.toData(view.side, 0)];
  for (const axis of [0, 1]) { // numbers along the lower edge, then along the left one, away from the corners
    const { step, values, digits } = axisTicks(low[axis], high[axis]);
    const shown = values.filter((value) => value > low[axis] + (0.4 + 0.1 * axis) * step && value < high[axis] - 0.4 * step);
    context.textAlign = axis ? "left" : "center";
    for (const value of shown) {
      const text = tickText(value, digits);
      if (axis) haloText(context, text, 4, view.toPixels(0, value)[1] + 4);
      else haloText(context, text, view.toPixels(value, 0)[0], view.side - 5);
    }
  }
}

/** The aggregate posterior at the middles of the map's cells; what is narrower than a cell is widened to it. */
function densityOnMap({ codes, spreads }, view) {
  const step = view.side / view.scale / DENSITY_CELLS;
  const [x0, y0] = view.toData(0, view.side);
  const widened = spreads.map((logVar) => Math.log(Math.exp(logVar) + step ** 2 / 4));
  return aggregateDensity(codes.points, widened, { x0: x0 + step / 2, y0: y0 + step / 2, step, n: DENSITY_CELLS });
}

/** A square of numbers as shades of one blue, the lowest z₂ in the first row. */
function drawShades(context, values, n, view, dark) {
  const top = values.reduce((most, value) => Math.max(most, value), 0);
  const image = new ImageData(n, n);
  const [red, green, blue] = dark ? [120, 190, 255] : [16, 62, 140];
  for (let row = 0; row < n; row++) {
    for (let column = 0; column < n; column++) {
      const share = Math.sqrt(values[row * n + column] / top); // by the root, or only the highest peak would be seen
      image.data.set([red, green, blue, 255 * share], 4 * ((n - 1 - row) * n + column));
    }
  }
  const shades = document.createElement("canvas");
  shades.width = shades.height = n;
  shades.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(shades, 0, 0, view.side, view.side);
}

function drawCertainty(context, { codes, spreads }, view) {
  const area = Array.from({ length: codes.count }, (_, i) => spreads[2 * i] + spreads[2 * i + 1]);
  const order = area.map((_, i) => i).sort((a, b) => area[b] - area[a]); // the widest below
  context.lineWidth = 1.25;
  context.globalAlpha = 0.75;
  order.forEach((i, rank) => {
    const [x, y] = view.toPixels(codes.points[2 * i], codes.points[2 * i + 1]);
    context.strokeStyle = rank < order.length / 2 ? ORANGE : BLUE;
    context.globalAlpha = 0.25 + Math.abs(1 - (2 * rank) / order.length) * 0.65;
    context.beginPath();
    context.ellipse(x, y, Math.exp(spreads[2 * i] / 2) * view.scale, Math.exp(spreads[2 * i + 1] / 2) * view.scale, 0, 0, 2 * Math.PI);
    context.stroke();
  });
  context.globalAlpha = 1;
}

function drawPoint(context, [x, y], { ink, paper }, r = 8) {
  for (const [color, width] of [[paper, 6], [ink, 2.5]]) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.beginPath();
    context.arc(x, y, r, 0, 2 * Math.PI);
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + 0.4 * r * dx, y + 0.4 * r * dy);
      context.lineTo(x + 1.75 * r * dx, y + 1.75 * r * dy);
    }
    context.stroke();
  }
}

/** Stroke a path twice, so that it stands out from whatever lies below. */
function strokeHalo(context, color, paper, width, dash = []) {
  context.strokeStyle = paper;
  context.lineWidth = width + 3;
  context.stroke();
  context.setLineDash(dash);
  context.strokeStyle = color;
  context.lineWidth = width;
  context.stroke();
  context.setLineDash([]);
}

function drawEllipses(context, { mu, logVar, color, dash = [] }, view, { paper }) {
  const [x, y] = view.toPixels(mu[0], mu[1]);
  for (const k of [2, 1]) {
    context.beginPath();
    context.ellipse(x, y, k * Math.exp(logVar[0] / 2) * view.scale, k * Math.exp(logVar[1] / 2) * view.scale, 0, 0, 2 * Math.PI);
    strokeHalo(context, color, paper, 2, dash);
  }
}

/** Contour lines in data units: each a list of points. */
function drawContours(context, lines, view, color, paper) {
  context.beginPath();
  for (const line of lines) line.forEach(([x, y], i) => (i ? context.lineTo(...view.toPixels(x, y)) : context.moveTo(...view.toPixels(x, y))));
  context.fillStyle = color;
  context.globalAlpha = 0.25;
  context.fill();
  context.globalAlpha = 1;
  strokeHalo(context, color, paper, 2);
}

function drawSamples(context, samples, view, { ink, paper }) {
  for (const sample of samples) {
    const [x, y] = view.toPixels(sample[0], sample[1]);
    context.beginPath();
    context.arc(x, y, 3.5, 0, 2 * Math.PI);
    context.fillStyle = ORANGE;
    context.fill();
    strokeHalo(context, ink, paper, 1);
  }
}

function drawWalk(context, [from, to], view, { ink, paper }) {
  const [a, b] = [view.toPixels(from[0], from[1]), view.toPixels(to[0], to[1])];
  context.beginPath();
  context.moveTo(...a);
  context.lineTo(...b);
  strokeHalo(context, ink, paper, 2, [7, 5]);
  context.font = "bold 14px sans-serif";
  context.textAlign = "center";
  context.fillStyle = ink;
  context.strokeStyle = paper;
  context.lineWidth = 4;
  for (const [[x, y], name] of [[a, "A"], [b, "B"]]) haloText(context, name, x, y - 14);
}

/** Ellipses of Gaussians, contour lines, samples, the line of a walk: what a panel shows over the map. */
function drawOverlay(context, { ellipses = [], contours = [], samples = [], walk = null }, view, theme) {
  for (const { lines, color } of contours) drawContours(context, lines, view, color, theme.paper);
  for (const ellipse of ellipses) drawEllipses(context, ellipse, view, theme);
  if (walk) drawWalk(context, walk, view, theme);
  drawSamples(context, samples, view, theme);
}

/** A second, enlarged map around a place, in true units as well: half is the distance from its middle to its edge. */
export function paintCloseUp(canvas, { centre, half, z, theme, over, side }) {
  const view = placed({
    half,
    limit: half,
    toPixels: (x, y) => [((x - centre[0]) / half + 1) * (side / 2), (1 - (y - centre[1]) / half) * (side / 2)],
    toLatent: (px, py) => [centre[0] + ((2 * px) / side - 1) * half, centre[1] + (1 - (2 * py) / side) * half],
  }, side);
  const context = sharpContext(canvas, side, side);
  drawScale(context, view, theme);
  drawOverlay(context, over, view, theme);
  drawPoint(context, view.toPixels(z[0], z[1]), theme, 5);
}

/** Grey levels in [0, 1] onto a canvas of the image's own size. */
export function paintGrey(canvas, levels, [height, width]) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    image.data[4 * i] = image.data[4 * i + 1] = image.data[4 * i + 2] = Math.round(255 * levels[i]);
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/** The decoded plane, tile by tile over several frames. */
class Mosaic {
  constructor(decode, shape, latentDim) {
    Object.assign(this, { decode, shape, latentDim, key: "", done: 0 });
    this.canvas = document.createElement("canvas");
    this.tile = document.createElement("canvas");
  }

  /** Decode for a few milliseconds; true once all tiles are there. */
  work(view, z) {
    const [height, width] = this.shape;
    const key = [view.key, ...z.subarray(2)].join();
    if (key !== this.key) {
      Object.assign(this, { key, done: 0 });
      [this.canvas.width, this.canvas.height] = [TILES * width, TILES * height];
    }
    const end = performance.now() + FRAME_SHARE;
    const point = Float32Array.from(z);
    for (; this.done < TILES * TILES && performance.now() < end; this.done++) {
      const place = (this.done * 89) % (TILES * TILES); // scattered, so that the whole is seen early
      const [row, column] = [Math.floor(place / TILES), place % TILES];
      point.set(view.toData(((column + 0.5) * view.side) / TILES, ((row + 0.5) * view.side) / TILES));
      paintGrey(this.tile, this.decode(point), this.shape);
      this.canvas.getContext("2d").drawImage(this.tile, column * width, row * height);
    }
    return this.done === TILES * TILES;
  }
}

/** The map with its buttons and gestures. actions: move(x, y) sets the point, repaint() asks for a frame. */
export class LatentMap {
  constructor(parent, data, actions) {
    Object.assign(this, { data, actions, layer: "codes", seen: "", side: 320, held: new Map() });
    this.turnTo(new View({ limit: data.limit }));
    this.back = document.createElement("canvas");
    this.mosaic = new Mosaic(data.decode, data.shape, data.latentDim);
    this.listening = new AbortController();
    this.#build(parent);
    this.#listen();
  }

  stop() {
    this.listening.abort();
  }

  #build(parent) {
    const figure = element("figure", { class: "vae-explorer-plane" }, parent);
    const bar = element("div", { class: "vae-explorer-bar", role: "group", "aria-label": "What the map shows" }, figure);
    const layers = this.data.spreads ? LAYERS : LAYERS.slice(0, 2);
    this.buttons = layers.map(([layer, name]) => this.#button(bar, name, () => this.#choose(layer)));
    const frame = element("div", { class: "vae-explorer-frame" }, figure);
    this.canvas = element("canvas", { class: "vae-explorer-map", role: "application", tabindex: "0" }, frame);
    this.canvas.setAttribute("aria-roledescription", "latent map");
    const zoom = element("div", { class: "vae-explorer-zoom", role: "group", "aria-label": "Zoom of the map" }, frame);
    this.#button(zoom, "+", () => this.#zoom(1.5), "Zoom in");
    this.#button(zoom, "−", () => this.#zoom(1 / 1.5), "Zoom out");
    this.#button(zoom, "⟲", () => this.reset(), "Whole map");
    this.hover = element("div", { class: "vae-explorer-hover", "aria-hidden": "true", hidden: "" }, frame);
    this.hoverImage = element("canvas", {}, this.hover);
    this.hoverText = element("span", {}, this.hover);
    this.legend = element("canvas", { class: "vae-explorer-legend", role: "img" }, figure);
    this.legend.setAttribute("aria-label", `Symbols of the digits ${this.data.names.map(([digit]) => digit).join(", ")}`);
    this.caption = element("figcaption", {}, figure);
    this.#choose("codes");
  }

  #button(parent, text, action, name = "") {
    const button = element("button", { type: "button" }, parent);
    button.textContent = text;
    if (name) for (const attribute of ["aria-label", "title"]) button.setAttribute(attribute, name);
    button.addEventListener("click", action, { signal: this.listening.signal });
    return button;
  }

  #choose(layer) {
    this.layer = layer;
    this.buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(LAYERS[i][0] === layer)));
    const about = LAYERS.find(([name]) => name === layer)[2](this.data.codes.count.toLocaleString("en"));
    this.caption.textContent = `${about}. Circles: 1, 2, 3 σ of the prior.`;
    this.actions.repaint();
  }

  /** Show another part of the plane. */
  turnTo(view) {
    this.window = view;
    this.view = placed(view, this.side);
    this.actions.repaint();
  }

  #zoom(factor, at = this.point) {
    this.turnTo(this.window.zoomAt(at[0], at[1], this.side, factor));
  }

  reset() {
    this.turnTo(new View({ limit: this.data.limit }));
  }

  /** Show a place closely: half is the distance from the middle to the edge, in data units. */
  closeUp(cx, cy, half) {
    this.turnTo(new View({ limit: this.data.limit, half, cx, cy }));
  }

  /** Move the window so that it holds a point. */
  #follow(x, y) {
    const { limit, half, cx, cy } = this.window;
    if (Math.max(Math.abs(x - cx), Math.abs(y - cy)) > half) this.turnTo(new View({ limit, half, cx: x, cy: y }));
  }

  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * this.view.side, ((event.clientY - box.top) / box.height) * this.view.side];
  }

  #listen() {
    const on = (name, handler, options = {}) => this.canvas.addEventListener(name, handler, { signal: this.listening.signal, ...options });
    on("pointerdown", (event) => this.#down(event));
    on("pointermove", (event) => this.#drag(event));
    for (const end of ["pointerup", "pointercancel"]) on(end, (event) => this.held.delete(event.pointerId));
    on("pointerleave", () => (this.hover.hidden = true));
    on("keydown", (event) => this.#key(event));
    on("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // a plain wheel scrolls the page
      event.preventDefault();
      this.#zoom(Math.exp(-event.deltaY / (event.deltaMode ? 8 : 200)), this.#place(event));
    }, { passive: false });
  }

  #down(event) {
    if (event.button > 1) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.held.set(event.pointerId, this.#place(event));
    this.panning = event.shiftKey || event.button === 1 || this.held.size > 1;
    this.hover.hidden = true;
    if (!this.panning) this.actions.move(...this.view.toData(...this.#place(event)));
  }

  #drag(event) {
    const place = this.#place(event);
    const before = this.held.get(event.pointerId);
    if (!before) return this.#hoverAt(place, event);
    const others = [...this.held].filter(([id]) => id !== event.pointerId).map(([, other]) => other);
    this.held.set(event.pointerId, place);
    if (!this.panning) return this.actions.move(...this.view.toData(...place));
    if (others.length) {
      const [other] = others;
      const spread = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]) || 1;
      this.#zoom(spread(place) / spread(before), [(place[0] + other[0]) / 2, (place[1] + other[1]) / 2]);
    }
    const share = others.length ? 0.5 : 1;
    this.turnTo(this.window.pan(share * (place[0] - before[0]), share * (place[1] - before[1]), this.side));
  }

  #key(event) {
    const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    const zoom = { "+": 1.5, "=": 1.5, "-": 1 / 1.5, "−": 1 / 1.5 }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || !(direction || zoom || event.key === "0")) return;
    event.preventDefault();
    if (zoom) this.#zoom(zoom);
    else if (!direction) this.reset();
    else {
      const step = (event.shiftKey ? 0.5 : 0.05) / Math.max(1, Math.min(5, this.view.zoom / 2));
      this.actions.move(this.z[0] + step * direction[0], this.z[1] + step * direction[1]);
    }
  }

  /** The code nearest to a place: its number and its distance in data units. */
  nearest(x, y) {
    const { points, count } = this.data.codes;
    let [best, least] = [-1, Infinity];
    for (let i = 0; i < count; i++) {
      const distance = (points[2 * i] - x) ** 2 + (points[2 * i + 1] - y) ** 2;
      if (distance < least) [best, least] = [i, distance];
    }
    return { index: best, distance: Math.sqrt(least) };
  }

  #hoverAt(place, event) {
    const { index, distance } = this.nearest(...this.view.toData(...place));
    const thumb = this.data.thumb;
    this.hover.hidden = event.pointerType === "touch" || distance * this.view.scale > NEAR;
    if (this.hover.hidden) return;
    this.hoverImage.hidden = !thumb;
    if (thumb) paintGrey(this.hoverImage, thumb.levels(index), thumb.shape);
    this.hoverText.textContent = `test image ${index}: a ${this.data.codes.labels[index]}`;
    const [x, y] = place;
    this.hover.style.left = `${Math.min(Math.max(0, x + 14), this.view.side - 110)}px`;
    this.hover.style.top = `${y > this.view.side / 2 ? y - 124 : y + 14}px`;
  }

  #paintBack(theme, z) {
    const { view, data } = this;
    const context = sharpContext(this.back, view.side, view.side);
    const dark = theme.paper !== "white";
    if (this.layer === "images") {
      context.imageSmoothingEnabled = view.side < TILES * data.shape[1];
      context.drawImage(this.mosaic.canvas, 0, 0, view.side, view.side);
    }
    if (this.layer === "codes") drawCodes(context, { ...data, colors: onPaper(data.colors, theme.paper) }, view);
    if (this.layer === "certainty") drawCertainty(context, data, view);
    if (this.layer === "density") {
      drawShades(context, densityOnMap(data, view), DENSITY_CELLS, view, dark);
    }
    drawScale(context, view, this.layer === "images" ? { ink: "white", paper: "black" } : theme);
    if (this.layer === "codes" && view.zoom < 4) drawNames(context, data.names, view, theme);
  }

  #paintLegend(theme, width) {
    this.legend.hidden = this.layer !== "codes";
    if (this.legend.hidden) return;
    const context = sharpContext(this.legend, width, 18);
    const apart = width / this.data.names.length;
    context.font = "13px sans-serif";
    context.fillStyle = theme.ink;
    this.data.names.forEach(([digit], i) => {
      drawSymbol(context, digit, i * apart + 8, 9, 5, onPaper(this.data.colors, theme.paper)[digit]);
      context.fillText(String(digit), i * apart + 18, 14);
    });
  }

  /** Paint a frame; over: what lies over the map, see drawOverlay. */
  paint({ z, theme, fresh, side, over }) {
    if (side !== this.side) {
      this.side = side;
      this.view = placed(this.window, side);
    }
    if (this.z && (z[0] !== this.z[0] || z[1] !== this.z[1])) this.#follow(z[0], z[1]);
    this.z = z.slice();
    const { view } = this;
    const complete = this.layer !== "images" || this.mosaic.work(view, z);
    const seen = [this.layer, view.key, this.layer === "images" && this.mosaic.done].join();
    if (fresh || seen !== this.seen) {
      this.#paintBack(theme, z);
      this.#paintLegend(theme, side);
      this.seen = seen;
    }
    const context = sharpContext(this.canvas, side, side);
    context.drawImage(this.back, 0, 0, side, side);
    drawOverlay(context, over, view, theme);
    this.point = view.toPixels(z[0], z[1]);
    drawPoint(context, this.point, theme);
    if (!complete) this.actions.repaint();
  }
}
