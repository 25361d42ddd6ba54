// The explorer's ledger: ELBO, log p(x) and the true posterior of one image, in nats, by quadrature in the browser; walks between images.
import { cubicWeights, interpolate } from "./cubic.js";
import { addRows, forward } from "./network.js";

/** What the quadrature is held to; one object, so that it can travel to a worker. */
const LEDGER = {
  step: 0.25, // of the coarsest lattice, which covers the prior's plane
  limit: 6, // half its side: the prior's mass beyond it is 4e-9
  nodes: 8, // of the Gauss–Hermite rule along each axis
  often: 4, // half the side of what is decoded beforehand on the next lattice
  negligible: 10, // nats below the highest point: what lies lower is left out
  wary: 30, // the same on the coarsest lattice, between whose points a posterior may be much higher
  tolerance: 0.01, // nats by which log p(x) may differ between the last two lattices
  between: 4, // points at which the density is read between two points of a lattice
  most: 12, // halvings: beyond it float32 cannot tell neighbouring points apart
  points: 60000, // of one lattice: a posterior that needs more is not summed
  kept: 100000, // decoded points that are remembered
  samples: 64, // pairs of opposite samples for the reconstruction where there are more than two dimensions
  smooth: 64, // points along a side of the posterior that is returned, at least
};

/** log p(x|z) of Bernoulli pixels, summed over pixels; x in [0, 1]. Nats. */
export function bernoulliLogProb(x, logits) {
  let fit = 0;
  for (let i = 0; i < logits.length; i++) fit += x[i] * logits[i];
  return fit - logPartition(logits);
}

/** Σ log(1 + exp(logit)): one logarithm for many pixels, of a product of terms from 1 to 2 that cannot overflow. */
function logPartition(logits) {
  let sum = 0;
  let product = 1;
  for (let i = 0; i < logits.length; i++) {
    const logit = logits[i];
    if (logit > 0) sum += logit;
    product *= 1 + Math.exp(logit > 0 ? -logit : logit);
    if (i % 512 === 511) {
      sum += Math.log(product);
      product = 1;
    }
  }
  return sum + Math.log(product);
}

/** KL(q‖p) of a diagonal Gaussian from the standard normal, summed over latent dimensions. Nats. */
export function gaussianKL(mu, logVar) {
  let sum = 0;
  for (let i = 0; i < mu.length; i++) sum += mu[i] * mu[i] + Math.exp(logVar[i]) - 1 - logVar[i];
  return sum / 2;
}

/** Nodes and weights of the Gauss–Hermite rule for a standard normal: all roots at once, by Aberth's iteration. */
export function gaussHermite(n) {
  const he = (x, k) => { // probabilists' Hermite polynomials, normalised, k and k − 1
    let [before, now] = [0, 1];
    for (let m = 0; m < k; m++) [before, now] = [now, (x * now - Math.sqrt(m) * before) / Math.sqrt(m + 1)];
    return [now, before];
  };
  const x = Array.from({ length: n }, (_, i) => 1.9 * Math.sqrt(n) * ((i + 0.5) / n - 0.5) + 1e-3);
  for (let round = 0; round < 100; round++) {
    for (let i = 0; i < n; i++) {
      const [value, before] = he(x[i], n);
      const ratio = value / (Math.sqrt(n) * before); // He_n' = √n He_(n−1)
      const pushed = x.reduce((sum, other, j) => (j === i ? sum : sum + 1 / (x[i] - other)), 0);
      x[i] -= ratio / (1 - ratio * pushed);
    }
  }
  return x.sort((a, b) => a - b).map((node) => ({ node, weight: 1 / (n * he(node, n)[1] ** 2) }));
}

/** Points and weights under q(z|x), standardised: a tensor rule in one and two dimensions, else samples in opposite pairs. */
function standardPoints(dims) {
  const rule = gaussHermite(LEDGER.nodes);
  if (dims === 1) return rule.map(({ node, weight }) => ({ at: [node], weight }));
  if (dims === 2) return rule.flatMap((a) => rule.map((b) => ({ at: [a.node, b.node], weight: a.weight * b.weight })));
  let state = 1;
  const uniform = () => (state = (state * 48271) % 2147483647) / 2147483647; // Park and Miller: the same points each time
  const normal = () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform());
  return Array.from({ length: LEDGER.samples }, () => Array.from({ length: dims }, normal))
    .flatMap((at) => [at, at.map((value) => -value)])
    .map((at) => ({ at, weight: 1 / (2 * LEDGER.samples) }));
}

/**
 * The logits of a decoder of the plane with one hidden layer: where the same hidden units are active, they are a plane over z,
 * base + z₁ · first + z₂ · second. From one point to the next only the units that begin or cease to be active change it: a few
 * for a neighbour, where to decode anew takes all that are active.
 */
class Facet {
  constructor([{ inputs, outputs, kernel, bias }, last]) {
    this.last = last;
    this.active = new Uint8Array(outputs);
    this.units = Array.from({ length: outputs }, (_, i) => [bias[i], kernel[i], kernel[(inputs - 1) * outputs + i]]);
    this.base = Float64Array.from(last.bias);
    [this.first, this.second, this.logits] = [0, 1, 2].map(() => new Float64Array(last.outputs));
  }

  /** Logits at z, where the hidden units have these values; the array that is returned is reused. */
  at([x, y], values) {
    const { base, first, second, logits } = this;
    for (let i = 0; i < values.length; i++) if (values[i] > 0 !== this.active[i] > 0) this.turn(i);
    for (let j = 0; j < logits.length; j++) logits[j] = base[j] + x * first[j] + y * second[j];
    return logits;
  }

  /** Add a hidden unit that begins to be active, or take away one that ceases to be. */
  turn(i) {
    const { base, first, second, last: { outputs, kernel } } = this;
    const sign = this.active[i] ? -1 : 1;
    const [b, x, y] = this.units[i].map((weight) => sign * weight);
    this.active[i] ^= 1;
    for (let j = 0, k = i * outputs; j < outputs; j++, k++) {
      base[j] += b * kernel[k];
      first[j] += x * kernel[k];
      second[j] += y * kernel[k];
    }
  }
}

/**
 * A decoder prepared for many log p(x|z): x·logits = hidden · (kernel x) + bias · x needs no logits, and what needs them, the
 * sum of softplus, depends on z alone and is remembered for points of the lattice.
 */
class Likelihood {
  constructor(layers) {
    this.layers = layers;
    this.before = layers.slice(0, -1);
    this.last = layers[layers.length - 1];
    this.dims = layers[0].inputs;
    this.points = standardPoints(this.dims);
    this.remembered = new Map();
    this.facet = this.dims === 2 && layers.length === 2 && layers[0].activation === "relu" ? new Facet(layers) : null;
  }

  /** Set the image. */
  of(x) {
    const { inputs, outputs, kernel, bias } = this.last;
    this.fit = new Float64Array(inputs);
    this.offset = 0;
    for (let j = 0; j < outputs; j++) {
      if (x[j] === 0) continue;
      this.offset += x[j] * bias[j];
      for (let i = 0; i < inputs; i++) this.fit[i] += x[j] * kernel[i * outputs + j];
    }
    return this;
  }

  /** log p(x|z), nats; key: where the point stands in the lattice, or null. */
  at(z, key = null) {
    const hidden = forward(this.before, z);
    let value = this.offset;
    for (let i = 0; i < hidden.length; i++) value += hidden[i] * this.fit[i];
    let partition = key === null ? undefined : this.remembered.get(key);
    if (partition === undefined) {
      partition = logPartition(this.facet ? this.facet.at(z, hidden) : forward([this.last], hidden));
      partition = Math.round(partition * 2 ** 20) / 2 ** 20; // so that the way by which a facet has come here does not show
      if (this.remembered.size > LEDGER.kept) this.remembered.clear();
      if (key !== null) this.remembered.set(key, partition);
    }
    return value - partition;
  }
}

/** One lattice of points step · (i, j): log p(x, z) where it has been evaluated. Halving the step keeps every point's place. */
class Lattice {
  constructor(likelihood, level) {
    this.likelihood = likelihood;
    this.level = level;
    this.step = LEDGER.step / 2 ** level;
    this.values = new Map(); // "i · 2²⁰ + j" → log p(x, z)
    this.highest = -Infinity;
  }

  /** Whether it holds as many points as are allowed. */
  get full() {
    return this.values.size >= LEDGER.points;
  }

  /** Evaluate a point, if it has not been. */
  add(i, j) {
    const key = (i + 2 ** 19) * 2 ** 20 + j + 2 ** 19;
    if (this.values.has(key)) return false;
    const z = this.likelihood.dims === 1 ? [i * this.step] : [i * this.step, j * this.step];
    const square = z.reduce((sum, value) => sum + value * value, 0);
    let [a, b, level] = [i, j, this.level];
    while (level > 0 && a % 2 === 0 && b % 2 === 0) [a, b, level] = [a / 2, b / 2, level - 1]; // the same z on a coarser lattice
    const name = (level * 2 ** 20 + a + 2 ** 19) * 2 ** 20 + b + 2 ** 19;
    const value = this.likelihood.at(z, name) - 0.5 * (square + z.length * Math.log(2 * Math.PI));
    this.values.set(key, value);
    if (value > this.highest) this.highest = value;
    return true;
  }

  /** Points that lie at most some nats below the highest. */
  high(nats) {
    const out = [];
    for (const [key, value] of this.values) {
      if (value > this.highest - nats) out.push([Math.floor(key / 2 ** 20) - 2 ** 19, (key % 2 ** 20) - 2 ** 19, value]);
    }
    return out;
  }

  /** The neighbours of a point, itself among them. */
  around([i, j]) {
    const moves = [-1, 0, 1];
    return this.likelihood.dims === 1 ? moves.map((a) => [i + a, j]) : moves.flatMap((a) => moves.map((b) => [i + a, j + b]));
  }

  /** The cells in which the posterior lies, by their lowest corners. */
  cells() {
    const cells = new Map();
    for (const [i, j] of this.high(LEDGER.negligible)) {
      for (const [a, b] of this.likelihood.dims === 1 ? [[i, j], [i - 1, j]] : [[i, j], [i - 1, j], [i, j - 1], [i - 1, j - 1]]) {
        cells.set((a + 2 ** 19) * 2 ** 20 + b + 2 ** 19, [a, b]);
      }
    }
    return cells.values();
  }

  /** log ∫ p(x, z) dz of the cubic interpolation of log p(x, z), by the midpoint rule, and what share the highest point stands for. */
  sum() {
    const times = LEDGER.between;
    const weights = Array.from({ length: times }, (_, s) => cubicWeights((s + 0.5) / times));
    const floor = this.highest - 2 * LEDGER.negligible;
    const flat = this.likelihood.dims === 1;
    const read = (i, j) => this.values.get((i + 2 ** 19) * 2 ** 20 + j + 2 ** 19) ?? floor;
    let total = 0;
    for (const [i, j] of this.cells()) {
      for (const across of weights) {
        const rows = (flat ? [0] : [-1, 0, 1, 2]).map((b) => across.reduce((sum, w, a) => sum + w * read(i + a - 1, j + b), 0));
        for (const upwards of flat ? [[1]] : weights) {
          total += Math.exp(rows.reduce((sum, row, b) => sum + upwards[b] * row, -this.highest));
        }
      }
    }
    const points = total / times ** this.likelihood.dims;
    return { logPx: this.highest + Math.log(points) + this.likelihood.dims * Math.log(this.step), peak: 1 / points };
  }
}

/**
 * Evaluate points one by one, and then their neighbours, until the posterior is negligible along the border, or there are too many
 * of them. Yields after each.
 */
function* fill(lattice, points) {
  for (const [i, j] of points) {
    if (lattice.full) return;
    lattice.add(i, j);
    yield;
  }
  for (let grown = true; grown; ) {
    grown = false;
    for (const point of lattice.high(LEDGER.negligible)) {
      for (const [i, j] of lattice.around(point)) {
        if (lattice.full) return;
        if (!lattice.add(i, j)) continue;
        grown = true;
        yield;
      }
    }
  }
}

/** The points of a lattice on the prior's plane. */
function planePoints(lattice) {
  const reach = Math.round((lattice.level ? LEDGER.often : LEDGER.limit) / lattice.step);
  const axis = Array.from({ length: 2 * reach + 1 }, (_, i) => i - reach);
  return lattice.likelihood.dims === 1 ? axis.map((i) => [i, 0]) : axis.flatMap((i) => axis.map((j) => [i, i % 2 ? -j : j]));
}

/** The points of a lattice around the code, wherever it lies. */
function nearCode(lattice, mu) {
  const clip = (value) => Math.max(-(2 ** 18), Math.min(2 ** 18, Math.round(value / lattice.step)));
  return lattice.around([clip(mu[0]), mu.length > 1 ? clip(mu[1]) : 0]);
}

/**
 * log p(x) = log ∫ p(x|z) p(z) dz. log p(x, z) is evaluated on a lattice and interpolated by cubics, which are nearly exact where it
 * is nearly a parabola, as it is around a code; the step is halved near the posterior's mass until log p(x) stays. NaN where it does
 * not within the points and the halvings allowed.
 */
function* integrate(likelihood, mu) {
  let lattice = new Lattice(likelihood, 0);
  yield* fill(lattice, [...planePoints(lattice), ...nearCode(lattice, mu)]);
  if (lattice.full) return { lattice, logPx: NaN };
  let { logPx, peak } = lattice.sum();
  for (let level = 1, change = Infinity; change > LEDGER.tolerance || peak > 0.5; level++) {
    if (level > LEDGER.most) return { lattice, logPx: NaN };
    const finer = new Lattice(likelihood, level);
    const kept = lattice.high(level === 1 || peak > 0.5 ? LEDGER.wary : LEDGER.negligible);
    yield* fill(finer, [...kept.flatMap(([i, j]) => finer.around([2 * i, 2 * j])), ...nearCode(finer, mu)]);
    if (finer.full) return { lattice: finer, logPx: NaN };
    const next = finer.sum();
    change = Math.abs(next.logPx - logPx);
    ({ logPx, peak } = next);
    lattice = finer;
  }
  return { lattice, logPx };
}

/** log p(z|x) on the square around the posterior's mass; what was too low to be evaluated gets the lowest value. */
function posteriorGrid({ lattice, logPx }) {
  const kept = lattice.high(LEDGER.negligible);
  const ends = [0, 1].map((k) => [Math.min(...kept.map((p) => p[k])) - 1, Math.max(...kept.map((p) => p[k])) + 1]);
  const n = Math.max(ends[0][1] - ends[0][0], ends[1][1] - ends[1][0]) + 1;
  const start = ends.map(([low, high]) => Math.floor((low + high - n + 1) / 2));
  const floor = lattice.highest - 2 * LEDGER.negligible;
  const values = new Float64Array(n * n).fill(floor - logPx);
  for (const [i, j, value] of lattice.high(2 * LEDGER.negligible)) {
    const [column, row] = [i - start[0], j - start[1]];
    if (column >= 0 && row >= 0 && column < n && row < n) values[row * n + column] = value - logPx;
  }
  const times = Math.ceil(LEDGER.smooth / n);
  const grid = { x0: start[0] * lattice.step, y0: start[1] * lattice.step, step: lattice.step / times, n: (n - 1) * times + 1 };
  const places = Array.from({ length: grid.n }, (_, k) => k / times);
  return { posterior: interpolate(values, [n, n], places, places), grid };
}

const likelihoods = new WeakMap();

function likelihoodOf(decoder) {
  if (!likelihoods.has(decoder)) likelihoods.set(decoder, new Likelihood(decoder));
  return likelihoods.get(decoder);
}

/** Decode the two coarsest lattices on the prior's plane, which every image needs: a generator that yields after each point. */
export function* prepareLedger(decoder) {
  const likelihood = likelihoodOf(decoder);
  if (likelihood.dims > 2) return;
  likelihood.of(new Float32Array(decoder[decoder.length - 1].outputs));
  for (const level of [0, 1]) {
    const lattice = new Lattice(likelihood, level);
    for (const [i, j] of planePoints(lattice)) {
      lattice.add(i, j);
      yield;
    }
  }
}

/** The ledger, step by step: a generator that yields after each decoded point, so that a page without workers can breathe. */
export function* ledgerSteps(decoder, x, mu, logVar) {
  const likelihood = likelihoodOf(decoder).of(x);
  let reconstruction = 0;
  for (const { at, weight } of likelihood.points) {
    reconstruction -= weight * likelihood.at(at.map((value, k) => mu[k] + Math.exp(0.5 * logVar[k]) * value));
    yield;
  }
  const kl = gaussianKL(mu, logVar);
  const entries = { reconstruction, kl, elbo: -reconstruction - kl, logPx: null, gap: null, posterior: null, grid: null };
  if (likelihood.dims > 2) return entries;
  const integral = yield* integrate(likelihood, mu);
  Object.assign(entries, { logPx: integral.logPx, gap: integral.logPx - entries.elbo });
  return likelihood.dims === 2 && Number.isFinite(integral.logPx) ? { ...entries, ...posteriorGrid(integral) } : entries;
}

/**
 * The ledger of one image for a Gaussian q(z|x), in nats.
 * decoder: layers from unpackLayers, to logits; x: pixels in [0, 1]; mu, logVar: of q, (latent_dim).
 * Returns {reconstruction, kl, elbo, logPx, gap, posterior, grid}: reconstruction is −E_q log p(x|z), by Gauss–Hermite in one and
 * two dimensions; elbo = −reconstruction − kl; gap = logPx − elbo = KL(q‖p(z|x)). logPx and gap are null beyond two dimensions;
 * posterior, log p(z|x) on a grid {x0, y0, step, n}, is given in two: [row · n + column] at (x0 + column · step, y0 + row · step).
 */
export function ledger(decoder, x, mu, logVar) {
  const steps = ledgerSteps(decoder, x, mu, logVar);
  for (;;) {
    const { done, value } = steps.next();
    if (done) return value;
  }
}

/** What a worker has to know, as text: these functions and what they hold to, and a listener. */
export function ledgerWorkerSource() {
  const parts = [
    addRows, forward, logPartition, gaussianKL, gaussHermite, standardPoints, Facet, Likelihood, Lattice, fill, planePoints, nearCode,
    integrate, cubicWeights, interpolate, posteriorGrid, likelihoodOf, prepareLedger, ledgerSteps, ledger,
  ];
  return `
    const LEDGER = ${JSON.stringify(LEDGER)};
    const likelihoods = new WeakMap();
    ${parts.map(String).join("\n").replace(/^export /gm, "")}
    let decoder = null;
    const prepare = (steps, end) => {
      while (performance.now() < end) if (steps.next().done) return;
      setTimeout(() => prepare(steps, performance.now() + 20));
    };
    onmessage = ({ data }) => {
      if (data.decoder) prepare(prepareLedger((decoder = data.decoder)), 0);
      else postMessage(ledger(decoder, data.x, data.mu, data.logVar));
    };`;
}

/** A worker in a Blob, or null where the page does not allow one; onTrouble is called if it fails later. */
function startLedgerWorker(decoder, answer, onTrouble) {
  try {
    const url = URL.createObjectURL(new Blob([ledgerWorkerSource()], { type: "text/javascript" }));
    const worker = new Worker(url);
    URL.revokeObjectURL(url);
    worker.onmessage = ({ data }) => answer(data);
    worker.onerror = (event) => {
      event.preventDefault();
      onTrouble();
    };
    worker.postMessage({ decoder });
    return worker;
  } catch {
    return null;
  }
}

/** The ledger on the page's own thread, a few milliseconds at a time; null once wanted() says no. */
async function ledgerInSlices(decoder, { x, mu, logVar }, wanted) {
  const steps = ledgerSteps(decoder, x, mu, logVar);
  for (let end = performance.now() + 6; wanted(); ) {
    const { done, value } = steps.next();
    if (done) return value;
    if (performance.now() < end) continue;
    await new Promise((resolve) => setTimeout(resolve, 8));
    end = performance.now() + 6;
  }
  return null;
}

/**
 * Compute ledgers beside the page: in a worker, or where there can be none, in slices on the page's own thread.
 * decoder: layers from unpackLayers. Returns {request, stop}. request(x, mu, logVar) gives a promise of the ledger, or of null
 * if a later request came before it was begun or stop() was called; one is computed at a time, and the latest waits.
 */
export function makeLedgerWorker(decoder) {
  let [worker, running, waiting, stopped] = [null, null, null, false];
  const answer = (result) => {
    const { resolve } = running ?? { resolve() {} };
    running = null;
    resolve(result);
    const next = waiting;
    waiting = null;
    if (next) begin(next);
  };
  const begin = (task) => {
    running = task;
    if (worker) worker.postMessage(task.asked);
    else ledgerInSlices(decoder, task.asked, () => !stopped && running === task).then((result) => running === task && answer(result));
  };
  const withoutWorker = () => {
    worker?.terminate();
    worker = null;
    if (running) begin(running);
  };
  worker = startLedgerWorker(decoder.map(({ inputs, outputs, activation, kernel, bias, result, used }) => ({ inputs, outputs, activation, kernel, bias, result, used })), answer, withoutWorker);
  const request = (x, mu, logVar) => new Promise((resolve) => {
    waiting?.resolve(null);
    waiting = null;
    const task = { asked: { x, mu: Float32Array.from(mu), logVar: Float32Array.from(logVar) }, resolve };
    if (stopped) resolve(null);
    else if (running) waiting = task;
    else begin(task);
  });
  const stop = () => {
    stopped = true;
    worker?.terminate();
    worker = null;
    for (const task of [running, waiting]) task?.resolve(null);
    [running, waiting] = [null, null];
  };
  return { request, stop };
}

/** A point on the straight line between two codes, t from 0 to 1. */
export function walk(a, b, t) {
  return Float32Array.from(a, (value, i) => (1 - t) * value + t * b[i]);
}

/** The pixels of one image fading into another's: what a walk in z is compared with. */
export function crossFade(x, y, t) {
  return walk(x, y, t);
}
