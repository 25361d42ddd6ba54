import assert from "node:assert/strict";
import { test } from "node:test";
import vm from "node:vm";

import {
  bernoulliLogProb, crossFade, gaussHermite, gaussianKL, ledger, ledgerWorkerSource, ledgerSteps, makeLedgerWorker, prepareLedger, walk,
} from "../../vae_lib/widgets/explorer_maths.js";

const near = (a, b, tolerance) => assert.ok(Math.abs(a - b) <= tolerance, `${a} is not within ${tolerance} of ${b}`);

function layer(inputs, outputs, activation, kernel, bias) {
  return {
    inputs, outputs, activation, kernel: Float32Array.from(kernel), bias: Float32Array.from(bias), result: new Float32Array(outputs), used: new Int32Array(inputs),
  };
}

/** A decoder of a few pixels from random numbers that are the same each time; scale makes its posteriors narrow. */
function decoder(dims, pixels, scale) {
  let state = 7;
  const random = () => (state = (state * 48271) % 2147483647) / 2147483647 - 0.5;
  const numbers = (n, factor) => Array.from({ length: n }, () => factor * random());
  return [layer(dims, 24, "relu", numbers(24 * dims, 2), numbers(24, 2)), layer(24, pixels, "linear", numbers(24 * pixels, scale), numbers(pixels, 1))];
}

/** Two inputs, each of which goes straight to n pixels as its logit, times a slope: relu(z) − relu(−z) = z. */
function straight(slope, n) {
  const pixels = Array.from({ length: 2 * n }, (_, k) => k);
  const kernel = [1, -1, 2, -2].flatMap((unit) => pixels.map((k) => (k % 2 === Math.abs(unit) - 1 ? Math.sign(unit) * slope : 0)));
  return [layer(2, 4, "relu", [1, -1, 0, 0, 0, 0, 1, -1], [0, 0, 0, 0]), layer(4, 2 * n, "linear", kernel, pixels.map(() => 0))];
}

/** log of an integral over the line by brute force. */
function logIntegral(f, low, high, n) {
  const values = Array.from({ length: n }, (_, i) => f(low + ((i + 0.5) * (high - low)) / n));
  const most = values.reduce((a, b) => Math.max(a, b));
  return most + Math.log(values.reduce((sum, v) => sum + Math.exp(v - most), 0) * ((high - low) / n));
}

test("log p(x|z) is the sum over pixels, and does not overflow", () => {
  near(bernoulliLogProb([1, 0, 0.25], [0.5, -2, 3]), -Math.log1p(Math.exp(-0.5)) - Math.log1p(Math.exp(-2)) + 0.75 - Math.log1p(Math.exp(3)), 1e-12);
  near(bernoulliLogProb([1, 0], [1000, -1000]), 0, 1e-12);
  near(bernoulliLogProb([0, 1], [1000, -1000]), -2000, 1e-9);
  const many = new Float64Array(4096);
  near(bernoulliLogProb(many, many), -4096 * Math.LN2, 1e-8);
});

test("the KL is 0 for the prior, and known elsewhere", () => {
  assert.equal(gaussianKL([0, 0], [0, 0]), 0);
  near(gaussianKL([1, -2], [0, 0]), 2.5, 1e-12);
  near(gaussianKL([0], [-2]), (Math.exp(-2) - 1 + 2) / 2, 1e-12);
});

test("the Gauss–Hermite rule is exact for polynomials up to degree 2n − 1", () => {
  for (const n of [1, 2, 5, 8]) {
    const rule = gaussHermite(n);
    let moment = 1; // E z^2k = (2k − 1)!!
    for (let k = 0; 2 * k <= 2 * n - 1; k++) {
      near(rule.reduce((sum, { node, weight }) => sum + weight * node ** (2 * k), 0), moment, 1e-9 * moment);
      near(rule.reduce((sum, { node, weight }) => sum + weight * node ** (2 * k + 1), 0), 0, 1e-9 * moment);
      moment *= 2 * k + 1;
    }
  }
});

for (const [slope, n] of [[0.5, 3], [3, 50], [40, 50]]) {
  test(`log p(x) where the integral is a product of two, slope ${slope} in ${n} pixels a coordinate`, () => {
    const x = Float32Array.from({ length: 2 * n }, (_, k) => (k % 2 ? 1 : 0.5)); // z₁ wants to be 0, z₂ to be large
    const joint = (target) => (z) => n * (target * slope * z - Math.max(slope * z, 0) - Math.log1p(Math.exp(-Math.abs(slope * z)))) - 0.5 * (z * z + Math.log(2 * Math.PI));
    const expected = logIntegral(joint(0.5), -9, 9, 200_000) + logIntegral(joint(1), -9, 9, 200_000);
    near(ledger(straight(slope, n), x, [0, 1], [-1, -1]).logPx, expected, 0.005);
  });
}

test("a posterior far narrower than the coarsest lattice is found and resolved", () => {
  const n = 200;
  const x = Float32Array.from({ length: 2 * n }, (_, k) => (k % 2 ? 0.2 : 0.9)); // z = ln 9 / 20, −ln 4 / 20
  const { logPx, grid, posterior } = ledger(straight(20, n), x, [0.1, -0.07], [-8, -8]);
  const joint = (target) => (z) => n * (target * 20 * z - Math.max(20 * z, 0) - Math.log1p(Math.exp(-Math.abs(20 * z)))) - 0.5 * (z * z + Math.log(2 * Math.PI));
  near(logPx, logIntegral(joint(0.9), -1, 1, 400_000) + logIntegral(joint(0.2), -1, 1, 400_000), 0.005);
  const highest = posterior.indexOf(posterior.reduce((a, b) => Math.max(a, b)));
  near(grid.x0 + (highest % grid.n) * grid.step, Math.log(9) / 20, 0.01);
  near(grid.y0 + Math.floor(highest / grid.n) * grid.step, -Math.log(4) / 20, 0.01);
});

test("the posterior's grid integrates to one, and the books balance", () => {
  const network = decoder(2, 40, 3);
  const x = Float32Array.from({ length: 40 }, (_, k) => k % 3 === 0);
  const entries = ledger(network, x, [0.4, -0.3], [-2, -1.5]);
  const mass = entries.posterior.reduce((sum, value) => sum + Math.exp(value), 0) * entries.grid.step ** 2;
  near(mass, 1, 0.005);
  assert.equal(entries.posterior.length, entries.grid.n ** 2);
  assert.ok(entries.grid.n >= 50, "contours would have corners");
  near(entries.elbo, -entries.reconstruction - entries.kl, 1e-12);
  near(entries.gap, entries.logPx - entries.elbo, 1e-12);
  near(entries.kl, gaussianKL([0.4, -0.3], [-2, -1.5]), 1e-12);
  assert.ok(entries.gap > 0); // a KL
});

test("another image, and the first again: nothing is carried over; and no q moves log p(x)", () => {
  const network = decoder(2, 40, 3);
  const [a, b] = [0, 1].map((shift) => Float32Array.from({ length: 40 }, (_, k) => (k + shift) % 3 === 0));
  const first = ledger(network, a, [0, 0], [0, 0]);
  ledger(network, b, [1, 1], [-3, -3]);
  assert.deepEqual(ledger(network, a, [0, 0], [0, 0]), first);
  near(ledger(network, a, [30, 30], [-3, -3]).logPx, first.logPx, 0.005);
  for (const far of [1e6, -1e30]) near(ledger(network, a, [far, -far], [-3, -3]).logPx, first.logPx, 0.005); // no lattice reaches there
  for (const _ of prepareLedger(network));
  assert.deepEqual(ledger(network, a, [0, 0], [0, 0]), first);
});

test("one hidden layer, of which only what changes is decoded anew, gives what the same network gives as two", () => {
  const one = decoder(2, 40, 3);
  const identity = Array.from({ length: 24 * 24 }, (_, k) => (k % 25 === 0 ? 1 : 0));
  const two = [one[0], layer(24, 24, "relu", identity, new Array(24).fill(0)), one[1]];
  const x = Float32Array.from({ length: 40 }, (_, k) => k % 3 === 0);
  for (const mu of [[0.4, -0.3], [-5, 5], [0.4, -0.3]]) { // near, far, and back
    const [ours, anew] = [one, two].map((network) => ledger(network, x, mu, [-2, -1.5]));
    for (const name of ["reconstruction", "elbo", "logPx", "gap"]) near(ours[name], anew[name], 1e-4);
    assert.deepEqual(ours.grid, anew.grid);
    ours.posterior.forEach((value, k) => near(value, anew.posterior[k], 1e-4));
  }
});

test("one dimension: log p(x) but no plane; beyond two neither, but an ELBO", () => {
  const x = Float32Array.from({ length: 30 }, (_, k) => k % 2);
  const line = decoder(1, 30, 2);
  const one = ledger(line, x, [0.2], [-1]);
  assert.ok(one.gap > 0);
  assert.deepEqual([one.posterior, one.grid], [null, null]);
  const joint = (z) => {
    const hidden = line[0].kernel.map((w, i) => Math.max(0, w * z + line[0].bias[i]));
    const logits = x.map((_, j) => line[1].bias[j] + hidden.reduce((sum, h, i) => sum + h * line[1].kernel[i * 30 + j], 0));
    return bernoulliLogProb(x, logits) - 0.5 * (z * z + Math.log(2 * Math.PI));
  };
  near(one.logPx, logIntegral(joint, -8, 8, 4000), 0.005);
  const many = ledger(decoder(5, 30, 2), x, [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]);
  assert.deepEqual([many.logPx, many.gap, many.posterior, many.grid], [null, null, null, null]);
  assert.ok(many.elbo < 0 && many.kl === 0);
});

test("a decoder that has diverged gives NaN, not a page that hangs", () => {
  const broken = decoder(2, 10, 1);
  broken[1].bias.fill(NaN);
  const entries = ledger(broken, new Float32Array(10).fill(1), [0, 0], [0, 0]);
  assert.ok(Number.isNaN(entries.logPx));
  assert.equal(entries.posterior, null);
});

test("the worker's source runs alone and gives the same ledger", () => {
  const answers = [];
  const alone = vm.createContext({ postMessage: (value) => answers.push(value), performance, setTimeout: (run) => run() });
  vm.runInContext(ledgerWorkerSource(), alone);
  const network = decoder(2, 40, 3);
  const x = Float32Array.from({ length: 40 }, (_, k) => k % 3 === 0);
  alone.onmessage({ data: { decoder: network } });
  alone.onmessage({ data: { x, mu: [0.4, -0.3], logVar: [-2, -1.5] } });
  const expected = ledger(decoder(2, 40, 3), x, [0.4, -0.3], [-2, -1.5]);
  assert.deepEqual(JSON.parse(JSON.stringify(answers)), JSON.parse(JSON.stringify([expected])));
});

test("without workers the ledger comes in slices; of many requests the first and the last are answered", async () => {
  assert.equal(globalThis.Worker, undefined);
  const network = decoder(2, 40, 3);
  const { request, stop } = makeLedgerWorker(network);
  const x = Float32Array.from({ length: 40 }, (_, k) => k % 3 === 0);
  const answers = await Promise.all([0, 0.1, 0.2, 0.3].map((mu) => request(x, [mu, 0], [-1, -1])));
  assert.deepEqual(answers.map((answer) => answer !== null), [true, false, false, true]);
  near(answers[3].elbo, ledger(network, x, [0.3, 0], [-1, -1]).elbo, 1e-5);
  const late = request(x, [0, 0], [0, 0]);
  stop();
  assert.equal(await late, null);
  assert.equal(await request(x, [0, 0], [0, 0]), null);
});

// Workers that keep what they are sent; those that are made stand in the list that is returned.
function withWorkers() {
  const made = [];
  globalThis.Worker = class {
    constructor() {
      made.push(this);
      this.sent = [];
    }
    postMessage(message) {
      this.sent.push(message);
    }
    terminate() {
      this.ended = true;
    }
  };
  return made;
}

test("where a worker starts and then fails, the page goes on by itself", async () => {
  const made = withWorkers();
  try {
    const { request, stop } = makeLedgerWorker(decoder(2, 40, 3));
    const asked = request(new Float32Array(40), [0, 0], [0, 0]);
    assert.equal(made[0].sent.length, 2); // the decoder, and the request
    made[0].onerror({ preventDefault() {} });
    assert.ok((await asked).logPx < 0);
    assert.ok(made[0].ended);
    stop();
    assert.equal(made.length, 1);
  } finally {
    delete globalThis.Worker;
  }
});

test("a worker that answers is asked one thing at a time, and ends with stop()", async () => {
  const made = withWorkers();
  try {
    const { request, stop } = makeLedgerWorker(decoder(2, 4, 1));
    const [worker] = made;
    const x = new Float32Array(4);
    const [first, second, third] = [1, 2, 3].map((mu) => request(x, [mu, 0], [0, 0]));
    assert.equal(worker.sent.length, 2);
    assert.equal(await second, null);
    worker.onmessage({ data: "one" });
    assert.equal(await first, "one");
    assert.deepEqual([...worker.sent.at(-1).mu], [3, 0]);
    worker.onmessage({ data: "three" });
    assert.equal(await third, "three");
    stop();
    assert.ok(worker.ended);
  } finally {
    delete globalThis.Worker;
  }
});

test("a walk is a straight line, a cross-fade mixes pixels", () => {
  assert.deepEqual([...walk([0, 1], [4, -1], 0.25)], [1, 0.5]);
  assert.deepEqual([...walk([0, 1], [4, -1], 1)], [4, -1]);
  assert.deepEqual([...crossFade([0, 1], [1, 0], 0.5)], [0.5, 0.5]);
});

/** E_q f for q = N(mu, exp(logVar)) by brute force. */
function gaussianMean(f, mu, logVar) {
  const sigma = Math.exp(logVar / 2);
  const step = 0.001;
  let sum = 0;
  for (let e = -9; e <= 9; e += step) sum += step * Math.exp(-0.5 * e * e) * f(mu + sigma * e);
  return sum / Math.sqrt(2 * Math.PI);
}

/** A decoder of `dims` inputs, each of which goes straight to one pixel as its logit, times a slope, plus a bias. */
function onePixelEach(dims, slope, bias) {
  const first = new Array(dims * 2 * dims).fill(0);
  const last = new Array(2 * dims * dims).fill(0);
  for (let j = 0; j < dims; j++) {
    [first[j * 2 * dims + 2 * j], first[j * 2 * dims + 2 * j + 1]] = [1, -1];
    [last[2 * j * dims + j], last[(2 * j + 1) * dims + j]] = [slope, -slope];
  }
  return [layer(dims, 2 * dims, "relu", first, new Array(2 * dims).fill(0)), layer(2 * dims, dims, "linear", last, new Array(dims).fill(bias))];
}

const softplus = (t) => Math.max(t, 0) + Math.log1p(Math.exp(-Math.abs(t)));

test("the reconstruction in one and two dimensions is the mean over q", () => {
  for (const [dims, mu, logVar] of [[1, [0.7], [0.2]], [2, [0.7, -1.1], [0.2, -1]], [2, [2, 0], [-4, 0.5]]]) {
    const x = Float32Array.from({ length: dims }, (_, j) => 0.25 + 0.5 * j);
    const expected = mu.reduce((sum, m, j) => sum + gaussianMean((z) => softplus(2 * z + 0.5) - x[j] * (2 * z + 0.5), m, logVar[j]), 0);
    near(ledger(onePixelEach(dims, 2, 0.5), x, mu, logVar).reconstruction, expected, 0.002);
  }
});

test("beyond two dimensions opposite samples cancel: what is linear in z is exact", () => {
  for (const dims of [3, 7]) {
    const mu = Array.from({ length: dims }, (_, j) => 0.3 * j - 0.5);
    const logVar = mu.map((_, j) => -0.3 * j);
    // logits around 60: softplus is its argument to the last bit, and the cost of a pixel (1 − x) · logit
    const x = Float32Array.from({ length: dims }, (_, j) => (j % 3) / 4);
    const expected = mu.reduce((sum, m, j) => sum + (1 - x[j]) * (60 + 3 * m), 0);
    near(ledger(onePixelEach(dims, 3, 60), x, mu, logVar).reconstruction, expected, 1e-4);
  }
});

test("beyond two dimensions the reconstruction is the mean over q, within the error of so many samples", () => {
  const dims = 20;
  const half = new Float32Array(dims).fill(0.5);
  const cost = (z) => softplus(z) - 0.5 * z; // even in z: opposite samples count as one
  for (const logVar of [-1, 0.5, 2]) {
    const entries = ledger(onePixelEach(dims, 1, 0), half, new Array(dims).fill(0), new Array(dims).fill(logVar));
    const mean = gaussianMean(cost, 0, logVar);
    const variance = gaussianMean((z) => (cost(z) - mean) ** 2, 0, logVar);
    near(entries.reconstruction, dims * mean, 3 * Math.sqrt((dims * variance) / 64));
    near(entries.kl, (dims * (Math.exp(logVar) - 1 - logVar)) / 2, 1e-5);
    near(entries.elbo, -entries.reconstruction - entries.kl, 1e-9);
    const steps = ledgerSteps(onePixelEach(dims, 1, 0), half, new Array(dims).fill(0), new Array(dims).fill(logVar));
    let decodedPoints = 0;
    while (!steps.next().done) decodedPoints++;
    assert.ok(decodedPoints >= 100, "an average of few samples is noise");
  }
});

/** A decoder of one input whose only pixel that matters has logits through these corners [z, logit], straight between them. */
function throughCorners(corners, n) {
  const slopes = corners.slice(1).map(([z, value], i) => (value - corners[i][1]) / (z - corners[i][0]));
  const kernel = slopes.map((slope, i) => slope - (i ? slopes[i - 1] : 0));
  const bias = corners.slice(0, -1).map(([z]) => -z);
  const units = kernel.length;
  return [
    layer(1, units, "relu", new Array(units).fill(1), bias),
    layer(units, n, "linear", kernel.flatMap((weight) => new Array(n).fill(weight)), new Array(n).fill(corners[0][1])),
  ];
}

function logitAt(corners, z) {
  const i = Math.max(0, Math.min(corners.length - 2, corners.findIndex(([end]) => z < end) - 1));
  const [[a, from], [b, to]] = z >= corners.at(-1)[0] ? corners.slice(-2) : [corners[i], corners[i + 1]];
  return z < corners[0][0] ? corners[0][1] : from + ((z - a) / (b - a)) * (to - from);
}

test("a second mode far from the code, behind a valley, counts in log p(x)", () => {
  const corners = [[-30, 2], [1, 2], [2, -20], [4, -20], [4.8, 9], [40, 9]];
  const n = 100;
  const joint = (z) => -n * softplus(-logitAt(corners, z)) - 0.5 * (z * z + Math.log(2 * Math.PI));
  const [here, there] = [logIntegral(joint, -9, 3, 200_000), logIntegral(joint, 3, 9, 200_000)];
  assert.ok(Math.abs(here - there) < 3, `both modes weigh: ${here}, ${there}`);
  near(ledger(throughCorners(corners, n), new Float32Array(n).fill(1), [0], [0]).logPx, logIntegral(joint, -9, 9, 400_000), 0.005);
});

test("a mode narrower than the coarsest lattice, between two of its points, is not lost", () => {
  // 20 nats below the highest point where the coarsest lattice has its points, at 2.25 and 2.5
  const corners = [[-30, 2.3], [1.5, 2.3], [1.7, -2], [2.219, -2], [2.375, 12], [2.531, -2], [40, -2]];
  const n = 60;
  const joint = (z) => -n * softplus(-logitAt(corners, z)) - 0.5 * (z * z + Math.log(2 * Math.PI));
  const [here, there] = [logIntegral(joint, -9, 2, 200_000), logIntegral(joint, 2, 3, 400_000)];
  assert.ok(there - here > -2, `the narrow mode weighs: ${here}, ${there}`);
  near(ledger(throughCorners(corners, n), new Float32Array(n).fill(1), [0], [0]).logPx, logIntegral(joint, -9, 9, 1_000_000), 0.005);
});

/** The ledger's worker, with some of its limits replaced. */
function workerWith(limits) {
  const answers = [];
  const alone = vm.createContext({ postMessage: (value) => answers.push(value), performance, setTimeout: (run) => run() });
  const source = ledgerWorkerSource();
  const [whole, text] = source.match(/const LEDGER = (\{.*?\});/);
  const held = JSON.parse(text);
  for (const name of Object.keys(limits)) assert.ok(name in held, name);
  vm.runInContext(source.replace(whole, `const LEDGER = ${JSON.stringify({ ...held, ...limits })};`), alone);
  return { alone, answers, held };
}

test("decoded points that are remembered have a limit, and forgetting changes no number", () => {
  const x = Float32Array.from({ length: 40 }, (_, k) => k % 3 === 0);
  const { alone, answers, held } = workerWith({ kept: 500 });
  assert.ok(held.kept <= 200_000, "tens of megabytes");
  alone.onmessage({ data: { decoder: decoder(2, 40, 3) } });
  for (const mu of [[0.4, -0.3], [2, 2]]) {
    alone.onmessage({ data: { x, mu, logVar: [-2, -1.5] } });
    assert.ok(vm.runInContext("likelihoodOf(decoder).remembered.size", alone) <= 501);
    near(answers.at(-1).logPx, ledger(decoder(2, 40, 3), x, mu, [-2, -1.5]).logPx, 1e-6);
  }
});

test("a posterior that takes more points than are allowed is given up, not summed for ever", () => {
  const x = Float32Array.from({ length: 40 }, (_, k) => k % 3 === 0);
  const { alone, answers, held } = workerWith({ points: 2000 });
  assert.ok(held.points <= 100_000, "seconds, not minutes");
  alone.onmessage({ data: { decoder: decoder(2, 40, 3) } });
  alone.onmessage({ data: { x, mu: [0.4, -0.3], logVar: [-2, -1.5] } });
  assert.ok(Number.isNaN(answers[0].logPx) && Number.isNaN(answers[0].gap));
  assert.equal(answers[0].posterior, null);
  assert.ok(answers[0].elbo < 0);
});
