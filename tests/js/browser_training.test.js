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
  assert.match(say({}, { beta: 2 }), /\(−ELBO\); minimised, with β 2\.00: 47\.5\./);
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
