import assert from "node:assert/strict";
import { test } from "node:test";

import {
  Network, Random, Training, adamStep, decode, encode, landmarksOf, limitOf, lossAndGradients, stepsBetween, unpackNibbles,
} from "../../vae_lib/widgets/browser_training_maths.js";
import { LossRecord, arrangePanels, describePicture, gridOf, shortNumber } from "../../vae_lib/widgets/browser_training_record.js";

const close = (a, b, tolerance, what = "") => assert.ok(Math.abs(a - b) <= tolerance * (1 + Math.abs(b)), `${what} ${a} is not ${b}`);

/** A small network in double precision, with images that have zeros, ones and greys, and noise. Sizes leave rests of each block. */
function smallCase({ pixels = 11, hidden = 7, batch = 6, seed = 3 } = {}) {
  const random = new Random(seed);
  const net = new Network({ pixels, hidden, batch, Real: Float64Array });
  net.initialise(random);
  for (let i = 0; i < net.size; i++) net.weights[i] += 0.3 * random.normal(); // biases too
  for (let i = 0; i < net.x.length; i++) net.x[i] = [0, 0, 1, random.uniform()][i % 4];
  return { net, eps: Float64Array.from({ length: batch * 2 }, () => random.normal()) };
}

/** The objective written down once more, image by image, from the textbook. */
function slowLoss({ layers, x, batch, pixels, hidden }, eps, { beta, noise }) {
  const dense = ({ inputs, outputs, kernel, bias }, input) =>
    Array.from({ length: outputs }, (_, j) => input.reduce((sum, v, i) => sum + v * kernel[i * outputs + j], bias[j]));
  let total = 0;
  for (let b = 0; b < batch; b++) {
    const image = [...x.subarray(b * pixels, (b + 1) * pixels)];
    const first = dense(layers.encoder, image).map((v) => Math.max(v, 0));
    const [mu, logVar] = [dense(layers.mu, first), dense(layers.logVar, first)];
    const z = mu.map((m, k) => m + noise * Math.sqrt(Math.exp(logVar[k])) * eps[2 * b + k]);
    const p = dense(layers.logits, dense(layers.decoder, z).map((v) => Math.max(v, 0))).map((l) => 1 / (1 + Math.exp(-l)));
    const cost = p.reduce((sum, q, i) => sum - image[i] * Math.log(q) - (1 - image[i]) * Math.log(1 - q), 0);
    const kl = mu.reduce((sum, m, k) => sum + (m * m + Math.exp(logVar[k]) - logVar[k] - 1) / 2, 0);
    total += cost + beta * kl;
  }
  return hidden ? total / batch : NaN;
}

for (const settings of [{ beta: 1, noise: 1 }, { beta: 0, noise: 1 }, { beta: 4, noise: 1 }, { beta: 1, noise: 0 }, { beta: 0, noise: 0 }]) {
  test(`loss and every gradient agree with finite differences: beta ${settings.beta}, noise ${settings.noise}`, () => {
    const { net, eps } = smallCase();
    lossAndGradients(net, eps, settings);
    close(net.reconstruction + settings.beta * net.kl, slowLoss(net, eps, settings), 1e-12, "loss");
    const gradients = net.gradients.slice();
    assert.ok(gradients.filter((g) => g !== 0).length > 80); // the others belong to units that no image opens
    const h = 1e-6;
    for (let i = 0; i < net.size; i++) {
      const kept = net.weights[i];
      net.weights[i] = kept + h;
      const above = slowLoss(net, eps, settings);
      net.weights[i] = kept - h;
      const below = slowLoss(net, eps, settings);
      net.weights[i] = kept;
      close(gradients[i], (above - below) / (2 * h), 1e-7, `weight ${i}:`);
    }
  });
}

test("the loss is summed over pixels and latent dimensions and averaged over the batch alone", () => {
  const [one, two] = [smallCase({ batch: 3 }), smallCase({ batch: 6 })];
  two.net.weights.set(one.net.weights);
  for (const half of [0, 1]) {
    two.net.x.set(one.net.x, half * one.net.x.length);
    two.eps.set(one.eps, half * one.eps.length);
  }
  for (const { net, eps } of [one, two]) lossAndGradients(net, eps, { beta: 1, noise: 1 });
  close(two.net.reconstruction, one.net.reconstruction, 1e-12);
  close(two.net.kl, one.net.kl, 1e-12);
  one.net.gradients.forEach((gradient, i) => close(two.net.gradients[i], gradient, 1e-12));
  one.net.weights.fill(0);
  lossAndGradients(one.net, one.eps, { beta: 1, noise: 1 });
  close(one.net.reconstruction, one.net.pixels * Math.log(2), 1e-12); // a fair coin for each pixel
  assert.equal(one.net.kl, 0);
});

test("extreme logits cost what they cost, and no more", () => {
  const { net, eps } = smallCase();
  net.weights.fill(0);
  net.layers.logits.bias.forEach((_, i, bias) => (bias[i] = i % 2 ? 1000 : -1000));
  net.x.forEach((_, i, x) => (x[i] = (i % net.pixels) % 2));
  lossAndGradients(net, eps, { beta: 1, noise: 1 });
  assert.equal(net.reconstruction, 0);
  net.x[0] = 1;
  lossAndGradients(net, eps, { beta: 1, noise: 1 });
  close(net.reconstruction, 1000 / net.batch, 1e-12);
  assert.ok(net.gradients.every(Number.isFinite));
});

test("Adam's first step goes by the learning rate against the sign of the gradient; without a gradient nothing moves", () => {
  const { net } = smallCase();
  const before = net.weights.slice();
  net.gradients.forEach((_, i, g) => (g[i] = [0, 1e-3, -50][i % 3]));
  adamStep(net, 0.01);
  before.forEach((weight, i) => close(net.weights[i], weight - 0.01 * [0, 1, -1][i % 3], 1e-4));
});

test("one seed gives one sequence, and another seed another", () => {
  const draw = (seed) => Array.from({ length: 5 }, function next() { return this.word(); }, new Random(seed));
  assert.deepEqual(draw(7), draw(7));
  assert.notDeepEqual(draw(7), draw(8));
  const random = new Random(0);
  for (let i = 0; i < 1e5; i++) {
    const u = random.uniform();
    assert.ok(u > 0 && u < 1);
  }
});

function randomImages(count, pixels, seed = 1) {
  const random = new Random(seed);
  return Float32Array.from({ length: count * pixels }, () => Math.max(0, random.uniform() - 0.5));
}

test("each image is drawn once before any is drawn again; the order changes; what fills no batch waits for the next shuffle", () => {
  const training = new Training({ images: randomImages(23, 4), pixels: 4, hidden: 3, batch: 5, seed: 0 });
  const epochs = [0, 1, 2].map(() => Array.from({ length: 4 }, () => (training.draw(), [...training.rows])).flat());
  for (const epoch of epochs) assert.equal(new Set(epoch).size, 20);
  assert.notDeepEqual(epochs[0], epochs[1]);
  const [row, at] = [training.rows[2], 2 * 4];
  assert.deepEqual([...training.net.x.subarray(at, at + 4)], [...training.images.subarray(4 * row, 4 * row + 4)]);
});

test("training lowers the loss, and the same seed takes the same steps to the last bit, after a reset too", () => {
  const options = { images: randomImages(40, 30), pixels: 30, hidden: 8, batch: 10, seed: 5 };
  const settings = { learningRate: 0.01, beta: 1, noise: 1 };
  const run = (training) => {
    const losses = [];
    for (let i = 0; i < 60; i++) {
      training.forgetMeans();
      training.step(settings);
      losses.push(training.reconstructionSum + training.klSum);
    }
    return losses;
  };
  const training = new Training(options);
  const losses = run(training);
  const weights = training.net.weights.slice();
  const mean = (values) => values.reduce((a, b) => a + b) / values.length;
  assert.ok(mean(losses.slice(-10)) < 0.9 * mean(losses.slice(0, 10)));
  training.reset(5);
  assert.equal(training.net.steps, 0);
  assert.deepEqual(run(training), losses);
  assert.deepEqual(training.net.weights, weights);
  training.reset(6);
  assert.notDeepEqual(run(training), losses);
  assert.throws(() => new Training({ ...options, batch: 50 }), /expected at least 50 images of 30 pixels/);
});

test("looking at all images changes nothing in the training, and sees each of them", () => {
  const options = { images: randomImages(23, 9), pixels: 9, hidden: 5, batch: 10, seed: 2 };
  const settings = { learningRate: 0.01, beta: 1, noise: 1 };
  const [watched, alone] = [new Training(options), new Training(options)];
  const [codes, levels, points] = [new Float32Array(46), new Uint8ClampedArray(13 * 9), Float32Array.from({ length: 26 }, (_, i) => i / 9 - 1)];
  for (let i = 0; i < 5; i++) {
    for (const training of [watched, alone]) training.step(settings);
    watched.encodeAll(codes);
    watched.decodeAll(points, levels);
  }
  assert.deepEqual(watched.net.weights, alone.net.weights);
  const { net } = watched;
  for (const image of [0, 9, 10, 22]) {
    net.x.set(watched.images.subarray(9 * image, 9 * image + 9));
    encode(net, 1);
    assert.deepEqual([...codes.subarray(2 * image, 2 * image + 2)], [...net.mu.subarray(0, 2)]);
  }
  net.z.set(points.subarray(24));
  decode(net, 1);
  for (let i = 0; i < 9; i++) assert.equal(levels[12 * 9 + i], Math.round(255 / (1 + Math.exp(-net.logits[i]))));
  net.layers.logVar.kernel.fill(0);
  net.layers.logVar.bias.fill(2 * Math.log(0.3));
  close(watched.encodeAll(codes), 0.3, 1e-6);
});

test("landmarks: the entropy of the pixels, and the mean image", () => {
  const { floor, collapsed } = landmarksOf(Float32Array.of(0, 1, 0.5, 1, 1, 0.5), 3); // two images of three pixels
  close(floor, Math.log(2), 1e-12);
  close(collapsed, 2 * Math.log(2), 1e-12);
});

test("four-bit levels come back, from any number of them", () => {
  assert.deepEqual([...unpackNibbles(Uint8Array.of(0xf0, 0x03), 3)], [0, 1, Math.fround(3 / 15)]);
  assert.throws(() => unpackNibbles(Uint8Array.of(1), 3), /expected 3 grey levels of half a byte, got 1 bytes/);
  assert.throws(() => unpackNibbles(null, 3), /got 0 bytes/);
});

test("pictures come one step apart at first, then further; the frame holds nearly all codes", () => {
  assert.deepEqual([0, 1, 39, 80, 4000].map((taken) => stepsBetween(taken)), [1, 1, 1, 2, 100]);
  const codes = Float32Array.from({ length: 1000 }, (_, i) => (i % 2 ? -1 : 1) * i / 100);
  close(limitOf(codes, new Float32Array(1000), 3), 1.15 * 9.94, 1e-6);
  assert.equal(limitOf(codes, new Float32Array(1000), 30), 30);
});

test("a long record keeps few points, their mean, and its last step", () => {
  const record = new LossRecord();
  let [sum, steps] = [0, 0];
  record.add({ steps: 0, reconstruction: null, kl: null });
  for (let i = 1; i <= 5000; i++) {
    const more = 1 + (i % 3);
    steps += more;
    sum += more * (100 / i);
    record.add({ steps, reconstruction: 100 / i, kl: 2 });
  }
  assert.ok(record.steps.length > 100 && record.steps.length <= 400);
  assert.equal(record.steps.at(-1), steps);
  assert.equal(record.weights.reduce((a, b) => a + b), steps);
  close(record.reconstructions.reduce((total, value, i) => total + value * record.weights[i], 0), sum, 1e-9);
  assert.ok(record.sums().every((value, i) => Math.abs(value - record.reconstructions[i] - 2) < 1e-9));
  assert.ok(record.steps.every((step, i) => i === 0 || step > record.steps[i - 1]));
  assert.equal(record.span(), 20000); // for 10,001 steps
  record.add({ steps: steps + 1, reconstruction: NaN, kl: 1 });
  assert.equal(record.steps.at(-1), steps);
  record.change(0);
  record.change(7);
  record.change(7);
  assert.deepEqual(record.changes, [7]);
  record.clear();
  assert.deepEqual([record.span(), record.steps, record.changes], [100, [], []]);
});

test("the state in words", () => {
  const picture = { steps: 1234, reconstruction: 41.26, kl: 3.11, sigma: 0.2345, diverged: false };
  const say = (changed = {}, settings = {}) => describePicture({ ...picture, ...changed }, { beta: 1, noise: 1, ...settings });
  assert.equal(say(), "1,234 gradient steps: reconstruction 41.3 + KL 3.1 = 44.4 nats per image (−ELBO). The encoder's σ is 0.23 on average.");
  assert.match(say({}, { beta: 2 }), / = 44\.4 nats per image \(−ELBO\); minimised, with β 2\.00: 47\.5\./); // the bound has no β
  assert.match(say({}, { noise: 0 }), /44\.4 nats per image \(without noise no bound\)\. /);
  assert.match(say({ steps: 1, sigma: 1 }), /^1 gradient step: .* σ is 1\.00 on average\.$/);
  assert.match(say({ reconstruction: null }), /^Before training\. /);
  assert.match(say({ diverged: true, sigma: NaN }), /^After 1234 steps .* diverged\. Lower the rate, then reset\.$/);
  assert.deepEqual([0.005, 0.3, 0.000123].map(shortNumber), ["0.005", "0.3", "0.00012"]);
});

test("the decoded square is laid out as a map: to the right z₁ grows, downwards z₂ falls", () => {
  assert.deepEqual([...gridOf([-1, 0, 2])], [-1, 2, 0, 2, 2, 2, -1, 0, 0, 0, 2, 0, -1, -1, 0, -1, 2, -1]);
});

test("nothing leaves the canvas and nothing overlaps, at any width", () => {
  for (let width = 280; width <= 640; width += 10) {
    const { map, decoded, loss, height } = arrangePanels(width);
    for (const { x, y, width: w, height: h } of [map, decoded, loss]) assert.ok(x >= 0 && y >= 20 && w >= 200 && h >= 100 && x + w <= width, `${width}`);
    for (const { width: w, height: h } of [map, decoded]) assert.equal(w, h);
    const apart = (a, b) => a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height + 30 <= b.y || b.y + b.height + 30 <= a.y;
    assert.ok(apart(map, decoded) && apart(map, loss) && apart(decoded, loss), `${width}`);
    assert.ok(loss.y + loss.height + 31 <= height, `${width}`);
  }
});

test("the worker answers what it is told, and waits when its pictures do not come back", async () => {
  const sent = [];
  globalThis.self = {};
  globalThis.postMessage = (message) => sent.push(message);
  await import("../../vae_lib/widgets/browser_training_worker.js");
  const tell = (data) => self.onmessage({ data });
  const pictures = () => sent.filter(({ kind }) => kind === "picture");
  const later = (condition) => new Promise((resolve) => {
    const look = () => (condition() ? resolve() : setTimeout(look, 5));
    look();
  });
  const giveBack = () => {
    const { codes, levels } = pictures().at(-1);
    tell({ kind: "painted", codes, levels });
  };
  const images = Uint8Array.from({ length: 20 * 16 / 2 }, (_, i) => (i * 37) % 256);
  const settings = { learningRate: 0.01, beta: 1, noise: 1 };
  tell({ kind: "setup", images, count: 20, pixels: 16, hidden: 4, batch: 5, seed: 0, z: gridOf([-1, 1]), settings });
  assert.deepEqual(sent.map(({ kind }) => kind), ["ready", "picture"]);
  assert.ok(sent[0].floor > 0 && sent[0].floor < sent[0].collapsed);
  assert.deepEqual([pictures()[0].steps, pictures()[0].reconstruction], [0, null]);
  tell({ kind: "step" });
  assert.equal(pictures().at(-1).steps, 1);
  assert.ok(pictures().at(-1).reconstruction > 0);
  tell({ kind: "run" }); // both sets of arrays are away
  await new Promise((resolve) => setTimeout(resolve, 80));
  assert.equal(pictures().length, 2);
  giveBack();
  await later(() => pictures().length === 3);
  assert.equal(pictures().at(-1).steps, 2);
  tell({ kind: "reset", seed: 0, generation: 1 }); // owes a picture
  assert.equal(pictures().length, 3);
  giveBack();
  assert.deepEqual([pictures().length, pictures().at(-1).steps, pictures().at(-1).generation], [4, 0, 1]);
  giveBack();
  tell({ kind: "settings", settings: { ...settings, learningRate: 1e30 } });
  tell({ kind: "run" });
  await later(() => (giveBack(), pictures().at(-1).diverged));
  const count = pictures().length;
  giveBack();
  await new Promise((resolve) => setTimeout(resolve, 80));
  assert.equal(pictures().length, count, "it goes on although there is nothing left to learn");
});

/** xoshiro128** once more, in whole numbers without limit, from its authors' definition. */
function* reference(state) {
  const most = 2n ** 32n;
  const turned = (x, k) => ((x << k) | (x >> (32n - k))) % most;
  let s = [...state].map(BigInt);
  for (;;) {
    yield Number((turned((s[1] * 5n) % most, 7n) * 9n) % most);
    const t = (s[1] << 9n) % most;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = turned(s[3], 11n);
  }
}

test("random words are those of xoshiro128**, and no two seeds share a part of their state", () => {
  const random = new Random(0);
  random.state.set([1, 2, 3, 4]);
  assert.deepEqual([random.word(), random.word(), random.word()], [11520, 0, 5927040]); // as published for this state
  for (const seed of [0, 1, 4294967295]) {
    const ours = new Random(seed);
    const theirs = reference([...ours.state]);
    for (let i = 0; i < 200; i++) assert.equal(ours.word(), theirs.next().value);
  }
  const words = Array.from({ length: 100 }, (_, seed) => [...new Random(seed).state]).flat();
  assert.equal(new Set(words).size, words.length);
});

test("uniform numbers fill (0, 1) evenly; not even the least word gives 0, whose logarithm no normal number survives", () => {
  const random = new Random(11);
  const bins = new Array(20).fill(0);
  for (let i = 0; i < 1e5; i++) bins[Math.floor(20 * random.uniform())] += 1;
  const chi2 = bins.reduce((sum, count) => sum + (count - 5000) ** 2 / 5000, 0);
  assert.ok(chi2 < 50, `χ² of 19 degrees of freedom: ${chi2}`); // beyond it 1e-4
  random.state.set([1, 0, 0, 0]);
  assert.equal(random.word(), 0);
  random.state.set([1, 0, 0, 0]);
  assert.ok(random.uniform() > 0);
});

test("normal numbers have the moments of the standard normal, and a pair's two are independent", () => {
  const random = new Random(5);
  const n = 1e5;
  const z = Float64Array.from({ length: n }, () => random.normal());
  const mean = (f) => z.reduce((sum, value, i) => sum + f(value, i), 0) / n;
  for (const [power, moment, spread] of [[1, 0, 1], [2, 1, Math.SQRT2], [3, 0, Math.sqrt(15)], [4, 3, Math.sqrt(96)]]) {
    assert.ok(Math.abs(mean((value) => value ** power) - moment) < (4.5 * spread) / Math.sqrt(n), `moment ${power}`);
  }
  const lag = (k) => z.slice(k).reduce((sum, value, i) => sum + value * z[i], 0) / n;
  for (const k of [1, 2]) assert.ok(Math.abs(lag(k)) < 4.5 / Math.sqrt(n), `lag ${k}`);
  assert.equal(new Set(z).size, n);
});

test("a shuffle gives every order equally often", () => {
  const random = new Random(3);
  const counts = new Map();
  const rounds = 24_000;
  for (let i = 0; i < rounds; i++) {
    const array = [0, 1, 2, 3];
    random.shuffle(array);
    counts.set(array.join(), (counts.get(array.join()) ?? 0) + 1);
  }
  assert.equal(counts.size, 24);
  const chi2 = [...counts.values()].reduce((sum, count) => sum + (count - rounds / 24) ** 2 / (rounds / 24), 0);
  assert.ok(chi2 < 57, `χ² of 23 degrees of freedom: ${chi2}`); // beyond it 1e-4
});

test("kernels begin uniform as Glorot and Bengio have them, biases at zero", () => {
  const net = new Network({ pixels: 60, hidden: 50, batch: 2 });
  net.weights.fill(7);
  net.initialise(new Random(1));
  for (const [name, { inputs, outputs, kernel, bias }] of Object.entries(net.layers)) {
    const limit = Math.sqrt(6 / (inputs + outputs));
    const n = kernel.length;
    assert.ok(bias.every((value) => value === 0), name);
    assert.ok(kernel.every((value) => Math.abs(value) <= limit), name);
    assert.ok(Math.max(...kernel) > 0.9 * limit && Math.min(...kernel) < -0.9 * limit, name);
    const square = kernel.reduce((sum, value) => sum + value * value, 0) / n; // limit²/3, its spread limit² · √(4/45)
    assert.ok(Math.abs(square - limit ** 2 / 3) < (4.5 * limit ** 2 * Math.sqrt(4 / 45)) / Math.sqrt(n), name);
  }
});

test("many steps of Adam are those of its paper with Keras's constants, for gradients of any size", () => {
  const { net } = smallCase();
  const weights = Float64Array.from(net.weights);
  const [m, v] = [new Float64Array(net.size), new Float64Array(net.size)];
  const random = new Random(9);
  for (let t = 1; t <= 60; t++) {
    const g = weights.map((_, i) => random.normal() * [1, 1e-3, 1e-6, 100][i % 4]);
    net.gradients.set(g);
    adamStep(net, 0.003);
    for (let i = 0; i < weights.length; i++) {
      m[i] = 0.9 * m[i] + 0.1 * g[i];
      v[i] = 0.999 * v[i] + 0.001 * g[i] ** 2;
      weights[i] -= ((0.003 * Math.sqrt(1 - 0.999 ** t)) / (1 - 0.9 ** t)) * (m[i] / (Math.sqrt(v[i]) + 1e-7));
    }
  }
  assert.equal(net.steps, 60);
  weights.forEach((weight, i) => close(net.weights[i], weight, 1e-9, `weight ${i}`));
});

test("moments that have faded to nothing become zero, and Adam's step stays a number", () => {
  const net = new Network({ pixels: 2, hidden: 1, batch: 1 });
  net.initialise(new Random(0));
  net.gradients.fill(1e-18);
  adamStep(net, 0.1);
  assert.ok(net.squares.every((square) => square === 0)); // float32 has no digits left for 1e-39
  assert.ok(net.weights.every(Number.isFinite));
});

test("an epoch has every image where the batches fill it, the first one shuffled as well, and each step new standard normal noise", () => {
  const options = { images: randomImages(20, 3), pixels: 3, hidden: 2, batch: 5 };
  const training = new Training({ ...options, seed: 4 });
  const epochs = [0, 1, 2].map(() => Array.from({ length: 4 }, () => (training.draw(), [...training.rows])).flat());
  for (const epoch of epochs) assert.deepEqual([...epoch].sort((a, b) => a - b), Array.from({ length: 20 }, (_, i) => i));
  assert.notDeepEqual(epochs[0], Array.from({ length: 20 }, (_, i) => i));
  const other = new Training({ ...options, seed: 5 });
  other.draw();
  assert.notDeepEqual([...other.rows], epochs[0].slice(0, 5));
  const noise = [];
  for (let i = 0; i < 2000; i++) {
    training.draw();
    noise.push(...training.eps);
  }
  const n = noise.length;
  assert.equal(n, 2000 * 5 * 2);
  assert.ok(new Set(noise).size > 0.99 * n);
  const moment = (power) => noise.reduce((sum, value) => sum + value ** power, 0) / n;
  assert.ok(Math.abs(moment(1)) < 4.5 / Math.sqrt(n) && Math.abs(moment(2) - 1) < (4.5 * Math.SQRT2) / Math.sqrt(n));
  for (let k = 0; k < 10; k++) {
    const own = noise.filter((_, i) => i % 10 === k);
    assert.ok(Math.abs(own.reduce((a, b) => a + b) / own.length) < 4.5 / Math.sqrt(own.length), `place ${k}`);
  }
});

test("sums are those of the steps since they were forgotten, and a reset forgets them", () => {
  const training = new Training({ images: randomImages(20, 6), pixels: 6, hidden: 4, batch: 5, seed: 4 });
  const settings = { learningRate: 0.01, beta: 2, noise: 1 };
  let [reconstruction, kl] = [0, 0];
  for (let i = 1; i <= 5; i++) {
    training.step(settings);
    reconstruction += training.net.reconstruction;
    kl += training.net.kl;
    assert.equal(training.measured, i);
    close(training.reconstructionSum, reconstruction, 1e-12);
    close(training.klSum, kl, 1e-12);
  }
  assert.ok(kl > 0);
  training.forgetMeans();
  assert.deepEqual([training.measured, training.reconstructionSum, training.klSum], [0, 0, 0]);
  training.step(settings);
  training.reset(4);
  assert.deepEqual([training.measured, training.reconstructionSum, training.klSum], [0, 0, 0]);
  assert.ok(training.net.means.every((value) => value === 0) && training.net.squares.every((value) => value === 0));
});

test("a training needs sizes in whole numbers, and exactly one batch of images is enough", () => {
  const options = { images: randomImages(5, 6), pixels: 6, hidden: 4, batch: 5, seed: 4 };
  assert.equal(new Training(options).count, 5);
  for (const changed of [{ batch: 0 }, { batch: 2.5 }, { hidden: -1 }, { pixels: 0 }, { batch: NaN }]) {
    assert.throws(() => new Training({ ...options, ...changed }), /expected a whole number above 0 as (batch|hidden|pixels), got/);
  }
});

test("the axis of a record has an end, whatever the steps are", () => {
  const record = new LossRecord();
  for (const [steps, span] of [[1, 100], [100, 100], [101, 200], [500, 500], [501, 1000], [1e9 + 1, 2e9], [NaN, 100], [Infinity, 100]]) {
    record.clear();
    record.add({ steps, reconstruction: 1, kl: 1 });
    assert.equal(record.span(), span, `${steps}`);
  }
  record.clear();
  record.add({ steps: 1, reconstruction: 1, kl: NaN });
  assert.deepEqual(record.steps, []);
});

test("joined points stand at the last of their steps, for as many as they stand for; a cleared record keeps none of them", () => {
  const record = new LossRecord();
  for (const factor of [1, 3]) {
    record.clear();
    for (let i = 1; i <= 1001; i++) {
      record.add({ steps: 2 * i, reconstruction: factor * i, kl: 1 });
      record.weights.reduce((sum, weight, k) => {
        assert.equal(sum + weight, record.steps[k]);
        return sum + weight;
      }, 0);
      assert.equal(record.reconstructions.length, record.steps.length);
    }
    record.sums().forEach((sum, k) => { // the mean of whole numbers in a row
      const [from, to] = [(record.steps[k] - record.weights[k]) / 2 + 1, record.steps[k] / 2];
      close(sum, factor * ((from + to) / 2) + 1, 1e-9);
    });
  }
});

/** A worker of its own, told to train on 20 images; what it has sent, and the same training without a worker beside it. */
async function startedWorker(name, seed = 3) {
  const sent = [];
  globalThis.self = {};
  globalThis.postMessage = (message) => sent.push(message);
  await import(`../../vae_lib/widgets/browser_training_worker.js?${name}`);
  const { onmessage } = self;
  const tell = (data) => onmessage({ data });
  const images = Uint8Array.from({ length: (20 * 16) / 2 }, (_, i) => (i * 37) % 256);
  const settings = { learningRate: 0.02, beta: 1.5, noise: 1 };
  tell({ kind: "setup", images, count: 20, pixels: 16, hidden: 4, batch: 5, seed, z: gridOf([-1, 1]), settings });
  const pictures = () => sent.filter(({ kind }) => kind === "picture");
  let given = 0; // how many pictures were given back
  const giveBack = () => {
    for (; given < pictures().length; given++) {
      const { codes, levels } = pictures()[given];
      tell({ kind: "painted", codes, levels });
    }
  };
  const twin = (of = seed) => new Training({ images: unpackNibbles(images, 320), pixels: 16, hidden: 4, batch: 5, seed: of });
  return { tell, pictures, giveBack, twin, settings };
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

test("a picture's losses are the means over the steps since the last picture", async () => {
  const { tell, pictures, giveBack, twin, settings } = await startedWorker("means");
  const alone = twin();
  const losses = Array.from({ length: 5 }, () => (alone.step(settings), [alone.net.reconstruction, alone.net.kl]));
  const mean = (from, to, part) => losses.slice(from, to).reduce((sum, loss) => sum + loss[part], 0) / (to - from);
  tell({ kind: "step" });
  giveBack();
  tell({ kind: "step" });
  for (const [i, picture] of pictures().slice(1).entries()) {
    assert.equal(picture.steps, i + 1);
    close(picture.reconstruction, losses[i][0], 1e-6);
    close(picture.kl, losses[i][1], 1e-6);
  }
  for (let i = 0; i < 3; i++) tell({ kind: "step" }); // arrays for one picture are free, for the others none
  giveBack();
  const [third, owed] = pictures().slice(3);
  close(third.reconstruction, losses[2][0], 1e-6);
  assert.equal(owed.steps, 5);
  close(owed.reconstruction, mean(3, 5, 0), 1e-6);
  close(owed.kl, mean(3, 5, 1), 1e-6);
  const codes = new Float32Array(40);
  close(owed.sigma, alone.encodeAll(codes), 1e-6);
});

test("a pause, a single step and a reset each end a run", async () => {
  const ends = {
    pause: (tell) => tell({ kind: "pause" }),
    step: (tell) => tell({ kind: "step" }),
    reset: (tell) => tell({ kind: "reset", seed: 8, generation: 1 }),
  };
  for (const [name, end] of Object.entries(ends)) {
    const { tell, pictures, giveBack, twin } = await startedWorker(`ends-${name}`);
    tell({ kind: "run" });
    while (pictures().length < 4) {
      giveBack();
      await pause(5);
    }
    end(tell);
    giveBack();
    const { length } = pictures();
    await pause(120); // several pictures' time
    giveBack();
    await pause(120);
    assert.equal(pictures().length, length, name);
    if (name !== "reset") continue;
    const last = pictures().at(-1);
    assert.deepEqual([last.steps, last.reconstruction, last.generation], [0, null, 1]);
    const codes = new Float32Array(40);
    close(last.sigma, twin(8).encodeAll(codes), 1e-6); // the seed that was asked for
    assert.ok(Math.abs(last.sigma - twin(3).encodeAll(codes)) > 1e-4);
  }
});
