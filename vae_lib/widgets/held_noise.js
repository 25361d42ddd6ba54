// Held noise: eps stands still, z = mu + σ eps moves, and each sample's slope says where E f(z) goes.
import { demand, finiteNumber, finiteNumbers } from "./checks.js";
import { Axes, element, show, widget } from "./kit.js";
import { contributions, exactGradient, expectation, mean, normals, samples, slope, target } from "./held_noise_maths.js";
import { BLUE, ORANGE, drawLevels, fittedContext, keepPanels, labelRows } from "./panels.js";

const Z_LIMIT = 5;
const TICKS = [-4, -2, 0, 2, 4];
const LEFT = 44;
const F_RANGE = [-1.6, 7.6];
const MOST_SAMPLES = 1000;
const STRIP = 30; // height of one estimator's row

function disc(context, x, y, radius, color) {
  context.fillStyle = color;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

function square(context, x, y, radius, color) {
  context.fillStyle = color;
  context.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
}

function paintTarget(context, place, points, ink) {
  const axes = new Axes(context, { ...place, xlim: [-Z_LIMIT, Z_LIMIT], ylim: F_RANGE, ink });
  const zs = Array.from({ length: 481 }, (_, i) => Z_LIMIT * (i / 240 - 1));
  drawLevels(axes);
  axes.curve(zs, zs.map(target), { color: ink, width: 1.5 });
  for (const z of points) {
    const half = 0.45 / Math.hypot(1, slope(z) * 0.45); // about equally long on the screen, however steep
    const ends = [z - half, z + half];
    axes.curve(ends, ends.map((end) => target(z) + slope(z) * (end - z)), { color: BLUE, width: 3 });
    if (Math.abs(z) <= Z_LIMIT) disc(context, axes.px(z), axes.py(target(z)), 3.5, ink);
  }
  axes.frame({ title: "f(z) = z²/4 + sin 2z and its slopes" });
}

/** How far apart two numbers of one row have to be, lest 2 and 1 read as 21. */
function apartFor(positions) {
  return positions.length > 9 ? 20 : 13;
}

/** Names in rows, below a line or, with direction −1, above it. */
function paintNames(context, positions, y, direction, ink) {
  context.fillStyle = ink;
  context.font = "12px sans-serif";
  context.textAlign = "center";
  labelRows(positions, apartFor(positions), 3).forEach((row, i) => {
    if (row >= 0) context.fillText(String(i + 1), positions[i], y + direction * (12 + 12 * row) + (direction > 0 ? 3 : 6));
  });
}

function paintMap(context, { x, y, width, height }, eps, points, ink) {
  const px = (value) => x + ((value + Z_LIMIT) / (2 * Z_LIMIT)) * width;
  const [top, bottom] = [y, y + height];
  context.strokeStyle = context.fillStyle = ink;
  context.lineWidth = 1;
  for (const line of [top, bottom]) {
    context.fillRect(x, line, width, 1);
    for (const tick of TICKS) context.fillRect(px(tick) - 0.5, line, 1, 4);
  }
  context.save();
  context.beginPath();
  context.rect(x, y - 6, width, height + 12);
  context.clip();
  eps.forEach((noise, i) => {
    context.strokeStyle = BLUE;
    context.lineWidth = 1.5;
    context.globalAlpha = 0.7;
    context.beginPath();
    context.moveTo(px(noise), bottom);
    context.lineTo(px(points[i]), top);
    context.stroke();
    context.globalAlpha = 1;
    context.fillStyle = ink;
    context.fillRect(px(noise) - 1.5, bottom - 9, 3, 18);
    disc(context, px(points[i]), top, 4.5, BLUE);
  });
  context.restore();
  paintNames(context, eps.map(px), bottom + 8, 1, ink);
  const apart = apartFor(points);
  const shown = points.map(px).map((at, i, all) => { // a disc has its number only where it stands alone
    const alone = all.every((other, j) => j === i || Math.abs(other - at) >= apart);
    return alone && Math.abs(points[i]) <= Z_LIMIT ? at : Infinity;
  });
  paintNames(context, shown, top - 8, -1, ink);
  context.font = "bold 13px sans-serif";
  context.textAlign = "right";
  context.fillText("z", x - 10, top + 5);
  context.fillText("ε", x - 10, bottom + 5);
  context.font = "12px sans-serif";
  context.textAlign = "center";
  for (const tick of TICKS) context.fillText(show(tick, 0), px(tick), bottom + 62);
}

function paintStrips(context, { x, y, width }, rows, exact, name, ink) {
  const most = 1.08 * Math.max(1, Math.abs(exact), ...rows.flatMap(({ values }) => values.map(Math.abs)));
  const px = (value) => x + ((value + most) / (2 * most)) * width;
  context.fillStyle = ink;
  context.font = "bold 13px sans-serif";
  context.textAlign = "left";
  context.fillText(name, x, y - 8);
  rows.forEach(({ values, dot, color }, i) => {
    const middle = y + STRIP * (i + 0.5);
    context.globalAlpha = 0.4;
    context.fillStyle = ink;
    context.fillRect(x, middle - 0.5, width, 1);
    context.globalAlpha = 0.8;
    for (const value of values) dot(context, px(value), middle, 4, color);
    context.globalAlpha = 1;
    context.fillStyle = ink;
    context.fillRect(px(mean(values)) - 2, middle - 12, 4, 24);
  });
  context.save();
  context.strokeStyle = ink;
  context.lineWidth = 1.5;
  context.setLineDash([4, 3]);
  context.beginPath();
  context.moveTo(px(exact), y + 1);
  context.lineTo(px(exact), y + 2 * STRIP);
  context.stroke();
  context.restore();
  context.font = "12px sans-serif";
  context.textAlign = "center";
  for (const tick of [-1, 0, 1]) {
    const value = tick * 0.9 * most;
    context.fillText(tick ? show(value, most < 20 ? 1 : 0) : "0", px(value), y + 2 * STRIP + 15);
  }
}

function paintKey(context, x, y, width, ink) {
  context.font = "12px sans-serif";
  context.textAlign = "left";
  const entries = [
    [(at) => disc(context, at + 6, y - 4, 4, BLUE), "slope"],
    [(at) => square(context, at + 6, y - 4, 4, ORANGE), "score"],
    [(at) => { context.fillStyle = ink; context.fillRect(at + 4, y - 12, 4, 16); }, "mean"],
    [(at) => { for (const dy of [-12, -5, 2]) context.fillRect(at + 5, y + dy, 1.5, 4); }, "exact"],
  ];
  let at = x;
  for (const [mark, name] of entries) {
    const wide = 20 + context.measureText(name).width;
    if (at + wide > x + width) {
      at = x;
      y += 18;
    }
    context.fillStyle = ink;
    mark(at);
    context.fillStyle = ink;
    context.fillText(name, at + 16, y);
    at += wide + 14;
  }
}

function paint(canvas, width, { mu, logVar, eps }, ink) {
  const columns = width >= 480 ? 2 : 1;
  const inner = width - LEFT - 10;
  const cell = columns === 2 ? (inner - 30) / 2 : inner;
  const strips = 2 * STRIP + 50;
  const height = 430 + strips * (columns === 2 ? 1 : 2);
  const context = fittedContext(canvas, width, height);
  const points = samples(mu, logVar, eps);
  paintTarget(context, { x: LEFT, y: 24, width: inner, height: 160 }, points, ink);
  paintMap(context, { x: LEFT, y: 236, width: inner, height: 66 }, eps, points, ink);
  const by = contributions(mu, logVar, eps);
  const exact = exactGradient(mu, logVar);
  paintKey(context, LEFT, 392, inner, ink);
  ["mu", "logVar"].forEach((which, i) => {
    const rows = [
      { values: by.slope[which], dot: disc, color: BLUE },
      { values: by.score[which], dot: square, color: ORANGE },
    ];
    const place = columns === 2 ? { x: LEFT + i * (cell + 30), y: 442 } : { x: LEFT, y: 442 + i * strips };
    paintStrips(context, { ...place, width: cell }, rows, exact[which], which === "mu" ? "∂ E f / ∂μ" : "∂ E f / ∂ log σ²", ink);
  });
}

function sentences({ mu, logVar, eps }) {
  const by = contributions(mu, logVar, eps);
  const exact = exactGradient(mu, logVar);
  const line = (which, name) =>
    `∂E f/∂${name}: exact ${show(exact[which])}; from these ${eps.length} samples, ` +
    `by slope ${show(mean(by.slope[which]))}, by score function ${show(mean(by.score[which]))}.`;
  return [
    `μ = ${show(mu)}, σ = ${show(Math.exp(0.5 * logVar))}, E f(z) = ${show(expectation(mu, logVar))}.`,
    line("mu", "μ"),
    line("logVar", "log σ²"),
  ];
}

function render({ model, el }) {
  el.classList.add("vae-widget");
  const { canvas, update, stop } = keepPanels({ model, el }, ["mu", "log_var", "eps"], (canvas, width, { ink }) => {
    const [mu, logVar] = ["mu", "log_var"].map((name) => finiteNumber(name, model.get(name)));
    const state = { mu, logVar, eps: finiteNumbers("eps", model.get("eps")) };
    demand(state.eps.length > 0 && state.eps.length <= MOST_SAMPLES, `1 to ${MOST_SAMPLES} values of eps`, state.eps.length);
    paint(canvas, width, state, ink);
    const label = `${state.eps.length} held values of ε, the samples z that they become, and the slope of f at each.`;
    return { label, lines: sentences(state) };
  });
  const button = element("button", { type: "button", style: "margin: 0.5rem 0" }, canvas.parentElement);
  button.textContent = "Draw new ε";
  button.addEventListener("click", () => {
    const seed = model.get("seed") + 1;
    model.set({ seed, eps: normals(model.get("eps").length, seed) });
    model.save_changes();
    update();
  });
  return stop;
}

export default widget(render);
