// Two Gaussians, the integrands of both KL divergences between them, and what the divergences are made of.
import { finiteNumber } from "./checks.js";
import { Axes, legend, show, widget } from "./kit.js";
import { integrand, integrandAreas, klParts, linspace, logDensity, reversedIntegrand, reversedKlParts } from "./kl_gaussians_maths.js";
import { BLUE, ORANGE, drawBar, drawLevels, fittedContext, keepPanels } from "./panels.js";

const Z_LIMIT = 6;
const MOST_NATS = 8; // where the bars end; the forward KL stays below it everywhere on the sliders
const POINTS = 601;
const LEFT = 44;
const DASH = [7, 4];

function extent(values) {
  const high = Math.max(...values);
  const low = Math.min(0, ...values);
  return [low - 0.08 * (high - low), 1.12 * high];
}

function paintDensities(context, place, zs, { mu, logVar }, ink) {
  const q = zs.map((z) => Math.exp(logDensity(z, mu, logVar)));
  const p = zs.map((z) => Math.exp(logDensity(z, 0, 0)));
  const peak = 1.12 * Math.exp(Math.max(logDensity(mu, mu, logVar), logDensity(0, 0, 0)));
  const axes = new Axes(context, { ...place, xlim: [-Z_LIMIT, Z_LIMIT], ylim: [0, peak], ink });
  drawLevels(axes);
  axes.area(zs, q, { color: BLUE });
  axes.curve(zs, q, { color: BLUE, width: 2.5 });
  axes.curve(zs, p, { color: ORANGE, width: 2.5, dash: DASH });
  axes.frame({ ticks: [-6, -4, -2, 0, 2, 4, 6], title: "Densities" });
}

function paintIntegrand(context, place, zs, values, { color, dash, title, ink }) {
  // zero everywhere where q = p: some height is needed all the same
  const ylim = Math.max(...values.map(Math.abs)) < 1e-3 ? [-0.01, 0.11] : extent(values);
  const axes = new Axes(context, { ...place, xlim: [-Z_LIMIT, Z_LIMIT], ylim, ink });
  drawLevels(axes);
  axes.area(zs, values, { color });
  axes.curve(zs, values, { color, dash });
  axes.frame({ ticks: [-6, -3, 0, 3, 6], label: "z", title });
}

function paintBars(context, { x, y, width }, rows, ink) {
  const scale = width / MOST_NATS;
  context.fillStyle = ink;
  context.textAlign = "left";
  rows.forEach(([name, { mean, spread, total }], i) => {
    const top = y + 46 * i;
    context.font = "bold 13px sans-serif";
    context.fillStyle = ink;
    context.textAlign = "left";
    const beyond = total > MOST_NATS;
    context.fillText(`${name} = ${show(total)} nats${beyond ? "  ▸ beyond the scale" : ""}`, x, top - 5);
    const meanEnd = Math.min(mean, MOST_NATS) * scale;
    const spreadEnd = Math.min(total, MOST_NATS) * scale;
    drawBar(context, x, top, meanEnd, 18, { color: BLUE, ink });
    drawBar(context, x + meanEnd, top, spreadEnd - meanEnd, 18, { color: ORANGE, ink, hatched: true });
  });
  const axes = new Axes(context, { x, y, width, height: 70, xlim: [0, MOST_NATS], ylim: [0, 1], ink });
  axes.frame({ ticks: [0, 2, 4, 6, 8], label: "nats" });
}

function paint(canvas, width, state, ink) {
  const { mu, logVar } = state;
  const columns = width >= 480 ? 2 : 1;
  const inner = width - LEFT - 10;
  const cell = columns === 2 ? (inner - LEFT - 10) / 2 : inner;
  const integrands = columns === 2 ? 1 : 2;
  const height = 192 + 160 * integrands + 158;
  const context = fittedContext(canvas, width, height);
  const zs = linspace(-Z_LIMIT, Z_LIMIT, POINTS);
  legend(context, [{ name: "q = N(μ, σ²)", color: BLUE }, { name: "p = N(0, 1)", color: ORANGE, dash: DASH }], LEFT, 16, ink);
  paintDensities(context, { x: LEFT, y: 46, width: inner, height: 108 }, zs, state, ink);
  const second = columns === 2 ? { x: LEFT + cell + LEFT + 10, y: 208 } : { x: LEFT, y: 368 };
  paintIntegrand(context, { x: LEFT, y: 208, width: cell, height: 96 }, zs, zs.map((z) => integrand(z, mu, logVar)), {
    color: BLUE, dash: [], title: "q log(q/p): its area is KL[q‖p]", ink,
  });
  paintIntegrand(context, { ...second, width: cell, height: 96 }, zs, zs.map((z) => reversedIntegrand(z, mu, logVar)), {
    color: ORANGE, dash: DASH, title: "p log(p/q): its area is KL[p‖q]", ink,
  });
  const rows = [["KL[q‖p]", klParts(mu, logVar)], ["KL[p‖q], reversed", reversedKlParts(mu, logVar)]];
  paintBars(context, { x: LEFT, y: height - 108, width: inner }, rows, ink);
  const keys = height - 138;
  context.font = "12px sans-serif";
  drawBar(context, LEFT, keys - 11, 20, 12, { color: BLUE, ink });
  drawBar(context, LEFT + 120, keys - 11, 20, 12, { color: ORANGE, ink, hatched: true });
  context.fillStyle = ink;
  context.textAlign = "left";
  context.fillText("mean part", LEFT + 28, keys);
  context.fillText("spread part", LEFT + 148, keys);
}

function sentences({ mu, logVar }) {
  const forward = klParts(mu, logVar);
  const reversed = reversedKlParts(mu, logVar);
  const area = integrandAreas(mu, logVar);
  const sum = ({ above, below }) => `${show(above, 3)} above zero − ${show(below, 3)} below`;
  const parts = ({ mean, spread }) => `mean ${show(mean, 3)} + spread ${show(spread, 3)}`;
  return [
    `μ = ${show(mu)}, log σ² = ${show(logVar)}, so σ = ${show(Math.exp(0.5 * logVar))}.`,
    `KL[q‖p] = ${show(forward.total, 3)} nats = ${parts(forward)}; area ${sum(area.forward)}.`,
    `KL[p‖q] = ${show(reversed.total, 3)} nats = ${parts(reversed)}; area ${sum(area.reversed)}.`,
  ];
}

function render({ model, el }) {
  el.classList.add("vae-widget");
  return keepPanels({ model, el }, ["mu", "log_var"], (canvas, width, { ink }) => {
    const [mu, logVar] = ["mu", "log_var"].map((name) => finiteNumber(name, model.get(name)));
    const state = { mu, logVar };
    paint(canvas, width, state, ink);
    return { label: "Densities of q and p, and what their KL divergences integrate.", lines: sentences(state) };
  }).stop;
}

export default widget(render);
