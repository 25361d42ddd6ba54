// The posterior gap: a real image's posterior, the Gaussian that stands in for it, and the nats that this costs.
import { demand, finiteNumber, finiteNumbers, imageShape } from "./checks.js";
import { Axes, legend, show, widget } from "./kit.js";
import { BLUE, ORANGE, drawBar, drawLevels, fittedContext, keepPanels } from "./panels.js";
import { contourLevels, gaussianAt, klToPosterior, refined, regions, unpackWindows } from "./posterior_gap_maths.js";

const MASSES = [0.5, 0.9, 0.99];
const WIDE = 520;
const FINE = 240; // cells along a side of the drawn posterior, at least
const BEYOND = 1.5; // 0 is the encoder’s q, 1 the best
const SHARES = Array.from({ length: 46 }, (_, i) => (i * BEYOND) / 45);
const DASHED = [6, 4];

/** A Gaussian in the plane for each image, from pairs of means and of log-variances. */
function readGaussians(name, pairs, count) {
  demand(Array.isArray(pairs) && pairs.length === count, `${count} Gaussians as ${name}`, pairs);
  return pairs.map((pair) => {
    const [mu, logVar] = [0, 1].map((part) => finiteNumbers(name, pair?.[part], 2));
    return { mu, logVar };
  });
}

/** Everything that stays as it is while the sliders move. */
function readImages(model) {
  const windows = unpackWindows(model.get("windows"), model.get("step"), model.get("log_density"));
  const pictures = model.get("pictures");
  const shape = imageShape(model.get("image_shape"));
  const size = shape[0] * shape[1];
  demand(pictures?.byteLength === 3 * size * windows.length, `3 pictures for each of ${windows.length} images`, pictures?.byteLength);
  const logPx = finiteNumbers("log_px", model.get("log_px"), windows.length);
  const [encoders, bests] = ["encoders", "bests"].map((name) => readGaussians(name, model.get(name), windows.length));
  const bytes = new Uint8Array(pictures.buffer, pictures.byteOffset, pictures.byteLength);
  return windows.map((window, i) => {
    const [from, to] = [encoders[i], bests[i]];
    return {
      window,
      from,
      to,
      logPx: logPx[i],
      best: klToPosterior(window, to),
      curve: SHARES.map((share) => klToPosterior(window, gaussianAt(from, to, share))),
      pictures: [0, 1, 2].map((k) => bytes.subarray((3 * i + k) * size, (3 * i + k + 1) * size)),
      shape,
    };
  });
}

function measure(image, share) {
  const q = gaussianAt(image.from, image.to, share);
  const gap = klToPosterior(image.window, q);
  return { q, gap, left: image.best, toBest: Math.max(0, gap - image.best), elbo: image.logPx - gap };
}

/** What the bar shows, in numbers that add up as they are printed: the parts rounded, finer where little is missing, and their sum. */
function inNumbers({ gap, toBest, left }) {
  const digits = gap < 1 ? 3 : 2;
  const [won, lost] = [toBest, left].map((nats) => Number(nats.toFixed(digits)));
  return { missing: show(won + lost, digits), won: show(won, digits), lost: show(lost, digits) };
}

function title(context, text, x, y, ink) {
  context.fillStyle = ink;
  context.font = "bold 13px sans-serif";
  context.textAlign = "left";
  context.fillText(text, x, y);
}

/** The posterior's regions in finer cells than those that are integrated over; made when the image is first shown. */
function inFineCells({ window }) {
  const fine = refined(window, FINE);
  const inside = regions(fine, contourLevels(fine, MASSES));
  const rgba = new Uint8ClampedArray(4 * inside.length);
  for (let i = 0; i < inside.length; i++) rgba.set([231, 99, 0, inside[i] ? 40 + 60 * inside[i] : 0], 4 * i);
  return new ImageData(rgba, fine.columns, fine.rows);
}

function paintRegions(context, box, image, scratch) {
  image.regions ??= inFineCells(image);
  scratch.width = image.regions.width;
  scratch.height = image.regions.height;
  scratch.getContext("2d").putImageData(image.regions, 0, 0);
  context.imageSmoothingEnabled = true;
  context.drawImage(scratch, box.x, box.y, box.width, box.height);
}

function ellipse(context, axes, { mu, logVar }, { color, dash = [], center }) {
  context.save();
  context.beginPath();
  context.rect(axes.x, axes.y, axes.width, axes.height);
  context.clip();
  context.strokeStyle = context.fillStyle = color;
  context.setLineDash(dash);
  for (const sigmas of [1, 2]) {
    const [rx, ry] = [0, 1].map((d) => sigmas * Math.exp(0.5 * logVar[d]));
    context.lineWidth = sigmas === 1 ? 3 : 1.5;
    context.beginPath();
    const [x, y] = [axes.px(mu[0]), axes.py(mu[1])];
    context.ellipse(x, y, axes.px(mu[0] + rx) - x, y - axes.py(mu[1] + ry), 0, 0, 2 * Math.PI);
    context.stroke();
  }
  if (center) context.fillRect(axes.px(mu[0]) - 3, axes.py(mu[1]) - 3, 6, 6);
  context.restore();
}

/** The latent plane around one image, cut to a square: the posterior's regions, the best q, and q as it stands. */
function paintMap(context, box, image, { q }, scratch, ink) {
  const { left, bottom, columns, rows, step } = image.window;
  const [wide, high] = [columns * step, rows * step];
  const scale = box.width / Math.max(wide, high);
  const inner = { width: wide * scale, height: high * scale };
  inner.x = box.x + (box.width - inner.width) / 2;
  inner.y = box.y + (box.width - inner.height) / 2;
  paintRegions(context, inner, image, scratch);
  const [x0, y0] = [left - step / 2, bottom - step / 2];
  const axes = new Axes(context, { ...inner, xlim: [x0, x0 + wide], ylim: [y0, y0 + high], ink });
  ellipse(context, axes, image.to, { color: ink, dash: DASHED });
  ellipse(context, axes, q, { color: BLUE, center: true });
  context.strokeStyle = ink;
  context.lineWidth = 1;
  context.strokeRect(inner.x + 0.5, inner.y + 0.5, inner.width - 1, inner.height - 1);
  title(context, "Codes of this image", box.x, inner.y - 7, ink);
  context.font = "12px sans-serif";
  context.fillText(`z₁ ${show(x0)} to ${show(x0 + wide)}, z₂ ${show(y0)} to ${show(y0 + high)}`, box.x, inner.y + inner.height + 16);
}

function paintPictures(context, box, { pictures, shape }, scratch, ink) {
  const names = ["image", "at q’s μ, encoder", "best q’s μ"];
  const side = (box.width - 16) / 3;
  const short = side < 105 ? ["image", "encoder", "best q"] : names;
  pictures.forEach((levels, i) => {
    const rgba = new Uint8ClampedArray(4 * levels.length);
    levels.forEach((level, k) => rgba.set([level, level, level, 255], 4 * k));
    scratch.width = shape[1];
    scratch.height = shape[0];
    scratch.getContext("2d").putImageData(new ImageData(rgba, shape[1], shape[0]), 0, 0);
    context.drawImage(scratch, box.x + i * (side + 8), box.y, side, side);
    context.font = "12px sans-serif";
    context.fillStyle = ink;
    context.textAlign = "center";
    context.fillText(short[i], box.x + i * (side + 8) + side / 2, box.y + side + 14);
  });
  return side;
}

/** The gap along the way from the encoder's q through the best and beyond. */
function paintCurve(context, box, image, share, { gap }, ink) {
  const top = 1.1 * Math.max(...image.curve);
  const axes = new Axes(context, { ...box, xlim: [0, BEYOND], ylim: [0, top], ink });
  drawLevels(axes);
  axes.curve(SHARES, image.curve, { color: BLUE, width: 2.5 });
  axes.curve([0, BEYOND], [image.best, image.best], { color: ORANGE, dash: DASHED });
  context.fillStyle = BLUE;
  context.beginPath();
  context.arc(axes.px(share), axes.py(gap), 5, 0, 2 * Math.PI);
  context.fill();
  axes.frame({ title: "log p(x) − ELBO, nats" });
  context.font = "12px sans-serif";
  [["left", 0, "encoder"], ["center", 1, "best"], ["right", BEYOND, "beyond"]].forEach(([align, at, name]) => {
    context.textAlign = align;
    context.fillText(name, axes.px(at), box.y + box.height + 16);
  });
}

/** From the ELBO on the left to log p(x) on the right: what the better Gaussian would win, and what no Gaussian can. */
function paintBar(context, box, image, state, ink) {
  const scale = box.width / Math.max(...image.curve);
  const [amortised, approximate] = [state.toBest * scale, state.left * scale];
  const { won, lost } = inNumbers(state);
  const start = box.x + box.width - amortised - approximate;
  title(context, "What is missing from the ELBO to log p(x)", box.x, box.y - 8, ink);
  drawBar(context, start, box.y, amortised, 22, { color: BLUE, ink });
  drawBar(context, start + amortised, box.y, approximate, 22, { color: ORANGE, ink, hatched: true });
  context.font = "12.5px sans-serif";
  context.fillStyle = ink;
  context.textAlign = "left";
  context.fillText(`to the best Gaussian ${won}`, box.x, box.y + 38);
  context.textAlign = "right";
  context.fillText(`no Gaussian can ${lost}`, box.x + box.width, box.y + 38);
}

function arrange(width) {
  const wide = width >= WIDE;
  const side = wide ? Math.round(0.5 * width) : width;
  const map = { x: 0, y: 44, width: side };
  const x = wide ? side + 22 : 0;
  const rest = wide ? width - x : width;
  const pictures = { x, y: wide ? 44 : side + 76, width: rest };
  const below = pictures.y + (rest - 16) / 3 + 52;
  const curve = { x: x + 38, y: below, width: rest - 42, height: wide ? Math.max(70, 44 + side - below - 2) : 110 };
  const bar = { x: 0, y: Math.max(map.y + side, curve.y + curve.height) + 54, width };
  return { map, pictures, curve, bar, height: bar.y + 46 };
}

function sentences(number, count, image, state, share) {
  const { missing, won, lost } = inNumbers(state);
  const where = share < 0.01 ? "the encoder’s q" : Math.abs(share - 1) < 0.01 ? "the best Gaussian q" : `q at ${Math.round(100 * share)} % of the way`;
  return [
    `Image ${number + 1} of ${count}, ${where}: ELBO ${show(state.elbo)}, log p(x) ${show(image.logPx)} nats.`,
    `Missing ${missing} = ${won} that the best Gaussian would win + ${lost} that no Gaussian can.`,
  ];
}

function render({ model, el }) {
  el.classList.add("vae-widget", "vae-elbo");
  const images = readImages(model);
  const scratch = document.createElement("canvas");
  return keepPanels({ model, el }, ["image", "share"], (canvas, width, { ink }) => {
    const number = Math.min(images.length, Math.max(1, Math.round(finiteNumber("image", model.get("image"))))) - 1;
    const image = images[number];
    const share = finiteNumber("share", model.get("share"));
    const state = measure(image, share);
    const place = arrange(width);
    const context = fittedContext(canvas, width, place.height);
    legend(context, [{ name: "posterior", color: ORANGE }, { name: "q", color: BLUE }, { name: "best q", color: ink, dash: DASHED }], 0, 14, ink);
    paintMap(context, place.map, image, state, scratch, ink);
    paintPictures(context, place.pictures, image, scratch, ink);
    paintCurve(context, place.curve, image, share, state, ink);
    paintBar(context, place.bar, image, state, ink);
    const label = "Posterior of an image over the latent plane, with q; the gap along the way; a bar of nats.";
    return { label, lines: sentences(number, images.length, image, state, share) };
  }).stop;
}

export default widget(render);
