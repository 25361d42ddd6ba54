import assert from "node:assert/strict";
import { test } from "node:test";

import { contourLevels, gaussianAt, klToPosterior, refined, regions, unpackWindows, weights } from "../../vae_lib/widgets/posterior_gap_maths.js";

const close = (one, other, by = 1e-6) => assert.ok(Math.abs(one - other) <= by, `${one} is not ${other} ± ${by}`);

/** A Gaussian posterior without correlations, as the widget holds one. */
function gaussianWindow([m1, m2], [l1, l2], step = 0.02, count = 200) {
  const start = -(count / 2) * step;
  const logDensity = new Float32Array(count * count);
  const log = (z, m, l) => -0.5 * (Math.log(2 * Math.PI) + l + (z - m) ** 2 * Math.exp(-l));
  for (let a = 0; a < count; a++) {
    for (let b = 0; b < count; b++) logDensity[a * count + b] = log(start + a * step, m1, l1) + log(start + b * step, m2, l2);
  }
  return { left: start, bottom: start, columns: count, rows: count, step, logDensity };
}

test("the weights of a Gaussian add up to one", () => {
  close(weights(-3, 0.05, 121, 0.2, -3).reduce((a, b) => a + b), 1, 1e-9);
});

test("KL from a Gaussian posterior is the closed form, and zero from itself", () => {
  const window = gaussianWindow([0.1, -0.2], [-3, -2.5]);
  close(klToPosterior(window, { mu: [0.1, -0.2], logVar: [-3, -2.5] }), 0, 1e-5);
  const q = { mu: [0.3, 0], logVar: [-3.5, -3] };
  const one = (mu, l, m, k) => 0.5 * (Math.exp(l - k) + (mu - m) ** 2 * Math.exp(-k) - 1 + k - l);
  close(klToPosterior(window, q), one(0.3, -3.5, 0.1, -3) + one(0, -3, -0.2, -2.5), 1e-4);
});

test("the way leads from the first through the second and beyond", () => {
  const [from, to] = [{ mu: [0, 1], logVar: [-2, -3] }, { mu: [1, 1], logVar: [-4, -3] }];
  assert.deepEqual(gaussianAt(from, to, 0), from);
  assert.deepEqual(gaussianAt(from, to, 1), to);
  assert.deepEqual(gaussianAt(from, to, 1.5), { mu: [1.5, 1], logVar: [-5, -3] });
});

test("the regions of a Gaussian are ellipses of the radii of the χ² distribution", () => {
  const window = gaussianWindow([0, 0], [-2.5, -2.5]);
  const masses = [0.5, 0.9, 0.99];
  const peak = -Math.log(2 * Math.PI) + 2.5;
  contourLevels(window, masses).forEach((level, i) => close(level, peak + Math.log(1 - masses[i]), 0.05));
  const inside = regions(window, contourLevels(window, masses));
  const area = inside.filter((n) => n >= 3).length * window.step ** 2;
  close(area, Math.PI * 2 * Math.log(2) * Math.exp(-2.5), 0.01);
});

test("finer cells cover the same part of the plane, and hold the density that stands there", () => {
  const coarse = gaussianWindow([0.1, -0.2], [-3, -2.5], 0.2, 20); // a standard deviation is about one of its cells
  const narrow = { ...coarse, rows: 15, logDensity: coarse.logDensity.filter((_, k) => k % 20 < 15) };
  const fine = refined(narrow, 100);
  assert.deepEqual([fine.columns, fine.rows], [100, 75]);
  for (const [start, count] of [["left", "columns"], ["bottom", "rows"]]) {
    close(fine[start] - fine.step / 2, narrow[start] - narrow.step / 2, 1e-12);
    close(fine[start] + (fine[count] - 0.5) * fine.step, narrow[start] + (narrow[count] - 0.5) * narrow.step, 1e-12);
  }
  const log = (z, m, l) => -0.5 * (Math.log(2 * Math.PI) + l + (z - m) ** 2 * Math.exp(-l));
  for (const [a, b] of [[50, 40], [53, 37], [61, 30]]) {
    const [z1, z2] = [fine.left + a * fine.step, fine.bottom + b * fine.step];
    close(fine.logDensity[a * fine.rows + b], log(z1, 0.1, -3) + log(z2, -0.2, -2.5), 1e-4);
  }
  assert.deepEqual(refined(coarse, 20), coarse);
});

test("regions are laid out from the top, as a picture is", () => {
  const window = { left: 0, bottom: 0, columns: 2, rows: 3, step: 1, logDensity: Float32Array.from([0, 0, 5, 0, 0, 0]) };
  assert.deepEqual([...regions(window, [3])], [1, 0, 0, 0, 0, 0]); // a = 0, b = 2: left, top
});

test("windows are cut in order, and a wrong number of bytes is named", () => {
  const numbers = new Float32Array([1, 2, 3, 4, 5, 6, 7]);
  const shapes = [{ left: 0, bottom: 0, columns: 2, rows: 2 }, { left: 0, bottom: 0, columns: 1, rows: 3 }];
  const cut = unpackWindows(shapes, 0.5, new DataView(numbers.buffer));
  assert.deepEqual(cut.map(({ logDensity }) => [...logDensity]), [[1, 2, 3, 4], [5, 6, 7]]);
  assert.throws(() => unpackWindows(shapes, 0.5, new DataView(new ArrayBuffer(8))), /expected 7 densities of four bytes, got 8 bytes/);
});

test("a place as dense as the level belongs to its region", () => {
  const window = { left: 0, bottom: 0, columns: 1, rows: 3, step: 1, logDensity: Float32Array.from([1, 5, 3]) };
  assert.deepEqual([...regions(window, [5, 3])], [1, 2, 0]); // from the top
});

test("windows that are none are told", () => {
  const window = { left: 0, bottom: 0, columns: 2, rows: 2 };
  const view = new DataView(new ArrayBuffer(16));
  for (const [changes, text] of [[{ columns: 2.5 }, /cells, got 2.5/], [{ left: null }, /corner, got null/], [{ rows: 0 }, /cells, got 0/]]) {
    assert.throws(() => unpackWindows([{ ...window, ...changes }], 0.5, view), text);
  }
  for (const step of [0, -1, NaN]) assert.throws(() => unpackWindows([window], step, view), /as step, got/);
  assert.throws(() => unpackWindows([], 0.5, view), /one window at least/);
});
