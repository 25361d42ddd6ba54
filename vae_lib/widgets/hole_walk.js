// The walk through a hole: two ways from one code to another, straight and around, with what is decoded on each.
import { demand, finiteNumber, imageShape, wholeNumber } from "./checks.js";
import { Axes, legend, show, widget } from "./kit.js";
import { ORANGE, fittedContext, keepPanels } from "./panels.js";
import { arrange, pointOf, ratioInWords, shades } from "./hole_walk_maths.js";

const DASHED = [6, 4];
const DOTTED = [2, 3];
const FAINTEST = -9; // log-density that is drawn as nothing
const GREY = "#84918f";
const INSET = 6; // of an image in its frame, so that a dark frame does not lie on a dark image

function floats(view, expected, what) {
  if (!view || view.byteLength !== 4 * expected) {
    throw new Error(`expected ${expected} ${what} of four bytes, got ${view ? view.byteLength : 0} bytes`);
  }
  return Float32Array.from({ length: expected }, (_, i) => view.getFloat32(4 * i, true));
}

function readWalk(model) {
  const count = wholeNumber("points", model.get("points"), 2);
  const side = wholeNumber("side", model.get("side"), 2, 4096);
  const shape = imageShape(model.get("image_shape"));
  const size = shape[0] * shape[1];
  const decoded = model.get("decoded");
  demand(decoded?.byteLength === 2 * count * size, `${2 * count} images of ${size} bytes`, decoded?.byteLength);
  const paths = floats(model.get("paths"), 2 * count * 4, "numbers of the paths"); // z₁, z₂, log p, log q
  const pixels = new Uint8Array(decoded.buffer, decoded.byteOffset, decoded.byteLength);
  const read = (k) =>
    Array.from({ length: count }, (_, i) => {
      const at = 4 * (k * count + i);
      const [z1, z2, logPrior, logAggregate] = paths.subarray(at, at + 4);
      return { z1, z2, logPrior, logAggregate, image: pixels.subarray((k * count + i) * size, (k * count + i + 1) * size) };
    });
  const map = shades(floats(model.get("map"), side * side, "densities of the map"), side, FAINTEST, -1);
  return { count, side, shape, limit: finiteNumber("limit", model.get("limit"), 1e-6), map, ways: [read(0), read(1)] };
}

function looks(ink) {
  return [
    { name: "straight", color: ORANGE, dash: [] },
    { name: "around", color: ink, dash: DASHED },
  ];
}

function paintMap(context, { x, y, side }, walk, at, scratch, ink) {
  scratch.width = scratch.height = walk.side;
  const rgba = new Uint8ClampedArray(4 * walk.map.length);
  walk.map.forEach((shade, i) => rgba.set([63, 144, 218, shade], 4 * i));
  scratch.getContext("2d").putImageData(new ImageData(rgba, walk.side, walk.side), 0, 0);
  context.imageSmoothingEnabled = true;
  context.drawImage(scratch, x, y, side, side);
  const limits = [-walk.limit, walk.limit];
  const axes = new Axes(context, { x, y, width: side, height: side, xlim: limits, ylim: limits, ink });
  context.strokeStyle = ink;
  context.globalAlpha = 0.5;
  context.lineWidth = 1;
  for (const radius of [1, 2, 3]) {
    context.beginPath();
    context.arc(axes.px(0), axes.py(0), (radius / (2 * walk.limit)) * side, 0, 2 * Math.PI);
    context.stroke();
  }
  context.globalAlpha = 1;
  looks(ink).forEach(({ color, dash }, k) => {
    axes.curve(walk.ways[k].map(({ z1 }) => z1), walk.ways[k].map(({ z2 }) => z2), { color, dash, width: 2.5 });
    const { z1, z2 } = walk.ways[k][at];
    context.fillStyle = color;
    context.beginPath();
    context.arc(axes.px(z1), axes.py(z2), 6, 0, 2 * Math.PI);
    context.fill();
  });
  context.strokeRect(x + 0.5, y + 0.5, side - 1, side - 1);
  context.font = "12px sans-serif";
  context.fillStyle = ink;
  context.textAlign = "left";
  context.fillText("blue: where codes are; circles: 1, 2, 3 σ of the prior", x, y + side + 16);
}

function paintImages(context, { x, y, side }, walk, at, scratch, ink) {
  looks(ink).forEach(({ name, color, dash }, k) => {
    const { image } = walk.ways[k][at];
    const rgba = new Uint8ClampedArray(4 * image.length);
    image.forEach((level, i) => rgba.set([level, level, level, 255], 4 * i));
    [scratch.height, scratch.width] = walk.shape;
    scratch.getContext("2d").putImageData(new ImageData(rgba, walk.shape[1], walk.shape[0]), 0, 0);
    const left = x + k * (side + 12);
    context.drawImage(scratch, left + INSET, y + INSET, side - 2 * INSET, side - 2 * INSET);
    context.strokeStyle = color;
    context.lineWidth = 3;
    context.setLineDash(dash);
    context.strokeRect(left + 1.5, y + 1.5, side - 3, side - 3);
    context.setLineDash([]);
    context.fillStyle = ink;
    context.font = "12px sans-serif";
    context.textAlign = "left";
    context.fillText(name, left, y + side + 16);
  });
}

/** A little below the least density on either way. */
function deepest(walk) {
  return Math.min(...walk.ways.flat().map(({ logPrior, logAggregate }) => Math.min(logPrior, logAggregate))) - 0.5;
}

function paintDensities(context, box, walk, at, ink) {
  const steps = walk.ways[0].map((_, i) => i);
  const axes = new Axes(context, { ...box, xlim: [0, walk.count - 1], ylim: [Math.min(FAINTEST - 1, deepest(walk)), 0], ink });
  axes.curve(steps, walk.ways[0].map(({ logPrior }) => logPrior), { color: GREY, dash: DOTTED, width: 2.5 });
  looks(ink).forEach(({ color, dash }, k) => {
    axes.curve(steps, walk.ways[k].map(({ logAggregate }) => logAggregate), { color, dash, width: 2.5 });
  });
  context.lineWidth = 1;
  axes.mark(at, "", { color: ink, dash: [] });
  axes.frame({ title: "log-density along the way", label: "start → end" });
  context.font = "12px sans-serif";
  context.textAlign = "right";
  for (const level of [0, -5]) context.fillText(show(level, 0), box.x - 5, axes.py(level) + 4);
}

function sentences(walk, at) {
  const share = Math.round((100 * at) / (walk.count - 1));
  return ["Straight", "Around"].map((name, k) => {
    const { z1, z2, logPrior, logAggregate } = walk.ways[k][at];
    return `${name}, ${share} % of the way: z = (${show(z1)}, ${show(z2)}), ${ratioInWords(logPrior, logAggregate)}.`;
  });
}

function render({ model, el }) {
  el.classList.add("vae-widget", "vae-elbo");
  const walk = readWalk(model);
  const scratch = document.createElement("canvas");
  return keepPanels({ model, el }, ["place"], (canvas, width, { ink }) => {
    const at = pointOf(finiteNumber("place", model.get("place")), walk.count);
    const place = arrange(width);
    const context = fittedContext(canvas, width, place.height);
    legend(context, looks(ink), 0, 14, ink);
    legend(context, [{ name: "prior, straight", color: GREY, dash: DOTTED }], Math.min(190, width - 120), 14, ink);
    paintMap(context, place.map, walk, at, scratch, ink);
    paintImages(context, place.images, walk, at, scratch, ink);
    paintDensities(context, place.chart, walk, at, ink);
    return { label: "Map of the codes with two ways, the images decoded on them, densities.", lines: sentences(walk, at) };
  }).stop;
}

export default widget(render);
