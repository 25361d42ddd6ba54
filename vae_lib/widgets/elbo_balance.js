// The ELBO balance: a Gaussian q against a skewed posterior, and log p(x) divided into the ELBO and what q still misses.
import { demand, finiteNumber, finiteNumbers } from "./checks.js";
import { Axes, element, legend, show, widget } from "./kit.js";
import { climbPath, elboGradient, elboParts, klToPosterior, logEvidence, logGaussian, logPosterior } from "./elbo_balance_maths.js";
import { BLUE, ORANGE, drawBar, fittedContext, keepPanels } from "./panels.js";

const GREY = "#84918f";
const DASHED = [8, 5];
const DOTTED = [2, 4];
const HEIGHT = 428;
const MARGIN = 12;
const CURVE_POINTS = 481;
const NARROW = 340; // below, names are shorter and the legend has two rows
const SHOWN_NATS = 5; // how far below log p(x) the bars reach
const MOST_UNITS = 100; // along the axis of z: each has a number
const FRAME_MS = 70; // for each step of the climb

function readWorld(model) {
  const [weight, bias] = ["weight", "bias"].map((name) => finiteNumber(name, model.get(name)));
  const world = { x: model.get("x"), weight, bias };
  const [mu, logVar] = ["mu_limits", "log_var_limits"].map((name) => finiteNumbers(name, model.get(name), 2));
  demand(mu[0] < mu[1] && mu[1] - mu[0] <= MOST_UNITS, `mu_limits that grow, ${MOST_UNITS} apart at most`, mu);
  demand(logVar[0] < logVar[1], "log_var_limits that grow", logVar);
  const limits = { mu, logVar };
  return { ...world, limits, logPx: logEvidence(world) };
}

function measure(world, mu, logVar) {
  const gradient = elboGradient(world, mu, logVar);
  return { mu, logVar, gradient, gap: klToPosterior(world, mu, logVar, world.logPx), ...elboParts(world, mu, logVar) };
}

function paintCurves(context, width, world, { mu, logVar }, ink) {
  const [low, high] = [world.limits.mu[0] - 0.5, world.limits.mu[1] + 0.5];
  const zs = Array.from({ length: CURVE_POINTS }, (_, i) => low + ((high - low) * i) / (CURVE_POINTS - 1));
  const prior = zs.map((z) => Math.exp(logGaussian(z, 0, 0)));
  const posterior = zs.map((z) => Math.exp(logPosterior(world, z, world.logPx)));
  const q = zs.map((z) => Math.exp(logGaussian(z, mu, logVar)));
  const top = 1.25 * Math.max(...posterior, ...prior); // a narrow q may run out at the top: the others keep their size
  const axes = new Axes(context, { x: MARGIN, y: 52, width: width - 2 * MARGIN, height: 150, xlim: [low, high], ylim: [0, top], ink });
  axes.area(zs, posterior, { color: ORANGE });
  axes.curve(zs, posterior, { color: ORANGE, width: 2.5 });
  axes.curve(zs, prior, { color: GREY, width: 2.5, dash: DOTTED });
  axes.curve(zs, q, { color: BLUE, width: 3, dash: DASHED });
  const ticks = Array.from({ length: Math.floor(high) - Math.ceil(low) + 1 }, (_, i) => Math.ceil(low) + i);
  axes.frame({ ticks, label: "z" });
  const names = [{ name: "posterior p(z|x)", color: ORANGE }, { name: "q(z)", color: BLUE, dash: DASHED }];
  const last = [{ name: "prior p(z)", color: GREY, dash: DOTTED }];
  if (width < NARROW) legend(context, last, MARGIN, 36, ink);
  legend(context, width < NARROW ? names : [...names, ...last], MARGIN, 18, ink);
}

function write(context, text, x, y, { align = "left", bold = false, ink }) {
  context.font = `${bold ? "bold " : ""}12.5px sans-serif`;
  context.textAlign = align;
  context.fillStyle = ink;
  context.fillText(text, x, y);
}

function upright(context, x, from, to, { ink, dash = [] }) {
  context.save();
  context.strokeStyle = ink;
  context.lineWidth = 2;
  context.setLineDash(dash);
  context.beginPath();
  context.moveTo(x, from);
  context.lineTo(x, to);
  context.stroke();
  context.restore();
}

function paintBars(context, width, world, { elbo, gap, fit, klPrior }, ink) {
  const least = world.logPx - SHOWN_NATS;
  const right = width - MARGIN;
  const axes = new Axes(context, { x: MARGIN, y: 266, width: right - MARGIN, height: 122, xlim: [least, 0], ylim: [0, 1], ink });
  const at = (value) => axes.px(Math.min(0, Math.max(least, value)));
  const beyond = elbo < least ? "◂ " : "";
  const [upper, lower, thick] = [290, 334, 26];
  write(context, `log p(x) = ${show(world.logPx, 3)}`, right, 260, { align: "right", bold: true, ink });
  write(context, `${beyond}ELBO ${show(elbo, 3)}`, MARGIN, upper - 7, { ink });
  const missed = width < NARROW ? "+ KL" : "+ KL(q‖posterior)";
  write(context, `${missed} ${show(gap, 3)}`, at(world.logPx) - 4, upper - 7, { align: "right", ink });
  drawBar(context, MARGIN, upper, at(elbo) - MARGIN, thick, { color: BLUE, ink });
  drawBar(context, at(elbo), upper, at(world.logPx) - at(elbo), thick, { color: ORANGE, ink, hatched: true });
  drawBar(context, at(elbo), lower, at(fit) - at(elbo), thick, { color: GREY, ink, hatched: true });
  drawBar(context, at(fit), lower, right - at(fit), thick, { color: GREY, ink });
  const fitText = `E[log p(x|z)] ${show(fit, 3)}`;
  const priorText = `${beyond}− KL(q‖prior) ${show(klPrior, 3)}`;
  write(context, fitText, right, lower + thick + 16, { align: "right", ink });
  const room = right - context.measureText(fitText).width - 10; // under its bar, as far as the other text leaves room
  const end = Math.max(MARGIN + context.measureText(priorText).width, Math.min(at(fit), room));
  write(context, priorText, end, lower + thick + 16, { align: "right", ink });
  if (!beyond) upright(context, at(elbo), upper + thick, lower, { ink, dash: [3, 3] });
  upright(context, at(world.logPx), upper - 24, upper + thick + 6, { ink });
  const ticks = Array.from({ length: Math.floor(-least) + 1 }, (_, i) => i - Math.floor(-least));
  axes.frame({ ticks, label: "nats" });
}

function sentences(world, { mu, logVar, gradient, gap, elbo, fit, klPrior }) {
  // + 0: there is no minus zero at the top
  const steep = gradient.map((value) => show(Math.round(1000 * value) / 1000 + 0, 3));
  return [
    `q: μ = ${show(mu)}, log σ² = ${show(logVar)}. Slope of the ELBO: ${steep[0]} in μ, ${steep[1]} in log σ².`,
    `ELBO (${show(elbo, 3)}) + KL(q‖posterior) (${show(gap, 3)}) = log p(x) = ${show(world.logPx, 3)} nats.`,
    `ELBO = E[log p(x|z)] (${show(fit, 3)}) − KL(q‖prior) (${show(klPrior, 3)}).`,
  ];
}

/** Walk along a path step by step; done() is called at its end, or when somebody else moves the sliders. */
function walk(path, { place, move, done }) {
  let i = 0;
  let timer = 0;
  const step = () => {
    const [mu, logVar] = place();
    // a slider may round to its own step; more than that is the reader's hand
    if (i && Math.hypot(mu - path[i][0], logVar - path[i][1]) > 0.02) return done();
    i += 1;
    if (i >= path.length) return done();
    move(path[i]);
    timer = setTimeout(step, FRAME_MS);
  };
  step();
  return () => clearTimeout(timer);
}

function addButtons(el, world, { place, move, quiet }) {
  const row = element("div", { class: "vae-elbo-buttons", role: "group", "aria-label": "Gradient ascent on the ELBO" }, el);
  const one = element("button", { type: "button" }, row);
  const all = element("button", { type: "button", "aria-pressed": "false" }, row);
  one.textContent = "One step uphill";
  all.textContent = "Find the best q";
  let halt = null;
  const end = () => {
    halt?.();
    halt = null;
    all.textContent = "Find the best q";
    all.setAttribute("aria-pressed", "false");
    quiet(false);
  };
  one.addEventListener("click", () => {
    end();
    move(climbPath(world, place(), world.limits, 1).at(-1));
  });
  all.addEventListener("click", () => {
    if (halt) return end();
    const path = climbPath(world, place(), world.limits);
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) return move(path.at(-1));
    all.textContent = "Stop";
    all.setAttribute("aria-pressed", "true");
    quiet(true);
    halt = () => {};
    const stop = walk(path, { place, move, done: end });
    if (halt) halt = stop;
  });
  return end;
}

function render({ model, el }) {
  el.classList.add("vae-widget", "vae-elbo");
  const world = readWorld(model);
  const place = () => ["mu", "log_var"].map((name) => finiteNumber(name, model.get(name)));
  const { readout, stop } = keepPanels({ model, el }, ["mu", "log_var"], (canvas, width, { ink }) => {
    const state = measure(world, ...place());
    const context = fittedContext(canvas, width, HEIGHT);
    paintCurves(context, width, world, state, ink);
    paintBars(context, width, world, state, ink);
    return { label: "Prior, skewed posterior and q over z; below, bars of nats.", lines: sentences(world, state) };
  });
  const end = addButtons(el, world, {
    place,
    move: ([mu, logVar]) => {
      model.set({ mu, log_var: logVar });
      model.save_changes();
    },
    quiet: (on) => readout.setAttribute("aria-live", on ? "off" : "polite"),
  });
  return () => {
    end();
    stop();
  };
}

export default widget(render);
