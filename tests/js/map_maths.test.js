import assert from "node:assert/strict";
import { test } from "node:test";

import { Random } from "../../vae_lib/widgets/browser_training_maths.js";
import { aggregateDensity, axisTicks, contours, ellipse, highestDensityLevel, tickText, View } from "../../vae_lib/widgets/map_maths.js";

const near = (a, b, tolerance) => assert.ok(Math.abs(a - b) <= tolerance, `${a} is not within ${tolerance} of ${b}`);

test("the ellipse's points lie k standard deviations away, and it is closed", () => {
  const [mu, logVar] = [[1, -2], [Math.log(4), Math.log(0.25)]];
  const line = ellipse(mu, logVar, 1.5, 40);
  for (const [x, y] of line) near(Math.hypot((x - 1) / 2, (y + 2) / 0.5), 1.5, 1e-12);
  assert.deepEqual(line[0], line.at(-1));
  near(Math.max(...line.map(([x]) => x)), 1 + 3, 1e-12);
});

const grid = { x0: -6, y0: -6, step: 0.1, n: 121 };

test("the aggregate posterior is the mean of the Gaussians, and integrates to one", () => {
  const density = aggregateDensity(Float32Array.of(0, 1, 2, -1), Float32Array.of(0, -1, -2, 0.5), grid);
  near(density.reduce((a, b) => a + b, 0) * grid.step ** 2, 1, 1e-3);
  const normal = (z, mu, logVar) => Math.exp(-0.5 * (z - mu) ** 2 * Math.exp(-logVar)) / Math.sqrt(2 * Math.PI * Math.exp(logVar));
  const at = (x, y) => (normal(x, 0, 0) * normal(y, 1, -1) + normal(x, 2, -2) * normal(y, -1, 0.5)) / 2;
  for (const [column, row] of [[60, 70], [80, 50], [75, 62]]) {
    near(density[row * grid.n + column], at(-6 + 0.1 * column, -6 + 0.1 * row), 1e-6);
  }
});

test("a share of a normal distribution lies above the level where theory has it", () => {
  const density = aggregateDensity(Float32Array.of(0, 0), Float32Array.of(0, 0), grid);
  for (const mass of [0.5, 0.95]) near(highestDensityLevel(density, grid.step ** 2, mass), (1 - mass) / (2 * Math.PI), 2e-3 * (1 / mass)); // 1 − exp(−r²/2) = mass
});

const sample = (n, f) => Float32Array.from({ length: n * n }, (_, k) => f(k % n, Math.floor(k / n)));

test("the contour of a cone is one closed circle", () => {
  const lines = contours(sample(41, (x, y) => -Math.hypot(x - 20.3, y - 18.6)), 41, -12.4);
  assert.equal(lines.length, 1);
  assert.deepEqual(lines[0][0], lines[0].at(-1));
  for (const [x, y] of lines[0]) near(Math.hypot(x - 20.3, y - 18.6), 12.4, 0.03);
  const area = lines[0].slice(1).reduce((sum, [x, y], i) => sum + (lines[0][i][0] * y - x * lines[0][i][1]) / 2, 0);
  near(Math.abs(area), Math.PI * 12.4 ** 2, 2);
});

test("contours that leave the square end at its border, and all parts are found", () => {
  const straight = contours(sample(11, (x, y) => x - y), 11, 0.5);
  assert.equal(straight.length, 1);
  for (const end of [straight[0][0], straight[0].at(-1)]) assert.ok(end.some((value) => value === 0 || value === 10));
  for (const [x, y] of straight[0]) near(x - y, 0.5, 1e-6);
  const hills = sample(40, (x, y) => Math.exp(-((x - 10) ** 2 + (y - 10) ** 2) / 20) + Math.exp(-((x - 30) ** 2 + (y - 28) ** 2) / 20));
  assert.equal(contours(hills, 40, 0.5).length, 2);
  assert.deepEqual(contours(hills, 40, 5), []);
  assert.deepEqual(contours(hills, 40, -1), []);
});

test("a saddle is cut in two lines that never meet, on either side of its middle", () => {
  for (const middle of [0.4, -0.4]) {
    const lines = contours(Float32Array.of(1, -1 + middle, -1 + middle, 1), 2, 0);
    assert.equal(lines.length, 2);
    for (const line of lines) assert.equal(line.length, 2);
  }
  const noise = sample(30, (x, y) => Math.sin(12.9898 * x + 78.233 * y) * Math.cos(4.1 * x * y)); // many saddles
  for (const line of contours(noise, 30, 0.1)) {
    const closed = line[0][0] === line.at(-1)[0] && line[0][1] === line.at(-1)[1];
    const atBorder = ([x, y]) => x === 0 || y === 0 || x === 29 || y === 29;
    assert.ok(closed || (atBorder(line[0]) && atBorder(line.at(-1))));
    for (let i = 1; i < line.length; i++) assert.ok(Math.hypot(line[i][0] - line[i - 1][0], line[i][1] - line[i - 1][1]) <= Math.SQRT2 + 1e-9);
  }
});

test("pixels and points turn into each other; upwards is upwards", () => {
  const view = new View({ limit: 4, half: 1, cx: 2, cy: -1 });
  assert.deepEqual(view.toPixels(2, -1, 320), [160, 160]);
  assert.deepEqual(view.toPixels(3, 0, 320), [320, 0]);
  const [x, y] = view.toLatent(...view.toPixels(1.3, -0.4, 320), 320);
  near(x, 1.3, 1e-12);
  near(y, -0.4, 1e-12);
});

test("zooming keeps the point under the pointer; panning moves it with the hand; borders hold", () => {
  const whole = new View({ limit: 4 });
  const near4 = whole.zoomAt(200, 90, 320, 4);
  assert.equal(near4.half, 1);
  const [before, after] = [whole.toLatent(200, 90, 320), near4.toLatent(200, 90, 320)];
  near(before[0], after[0], 1e-12);
  near(before[1], after[1], 1e-12);
  const moved = near4.pan(-32, 16, 320);
  near(moved.cx, near4.cx + 0.2, 1e-12);
  near(moved.cy, near4.cy + 0.1, 1e-12);
  near(whole.pan(50, 50, 320).cx, 0, 0);
  near(whole.pan(50, 50, 320).cy, 0, 0);
  const corner = near4.pan(-1e6, 1e6, 320);
  assert.deepEqual([corner.cx, corner.cy], [3, 3]);
  assert.equal(whole.zoomAt(0, 0, 320, 1e9).half, 4 / 32);
  assert.equal(near4.zoomAt(0, 0, 320, 1e-9).half, 4);
});

test("numbers of an axis: steps of 1, 2 or 5, all inside, neither crowded nor sparse, and told apart by their texts", () => {
  const random = new Random(1);
  for (let round = 0; round < 2000; round++) {
    const span = 10 ** (24 * random.uniform() - 12);
    const low = span * (20 * random.uniform() - 10);
    const { step, values, digits } = axisTicks(low, low + span);
    const factor = step / 10 ** Math.floor(Math.log10(step * 1.0000001));
    assert.ok([1, 2, 5].some((one) => Math.abs(factor - one) < 1e-6), `step ${step}`);
    assert.ok(values.length >= 2 && values.length <= 10, `${values.length} numbers`);
    values.forEach((value, i) => {
      assert.ok(value >= low && value <= low + span);
      assert.ok(Math.abs(value / step - Math.round(value / step)) < 1e-6);
      if (i) near(value - values[i - 1], step, 1e-6 * step);
    });
    assert.ok(values[0] - low < step * 1.000001 && low + span - values.at(-1) < step * 1.000001, "a number is missing at an end");
    const texts = values.map((value) => tickText(value, digits));
    if (span > 1e-9 && Math.abs(low) < 1e4) {
      assert.equal(new Set(texts).size, values.length);
      texts.forEach((text, i) => near(Number(text.replace("−", "-")), values[i], 1e-6 * step));
      if (digits) assert.ok(texts.some((text) => !text.endsWith("0")), `${texts}: digits to spare`);
    }
  }
});

test("numbers of an axis that is too far away, too long, or none", () => {
  assert.ok(axisTicks(1e17, 1e17 + 64).values.length <= 10); // neighbouring numbers lie 16 apart
  assert.equal(new Set(axisTicks(1e17, 1e17 + 64).values).size, axisTicks(1e17, 1e17 + 64).values.length);
  assert.ok(axisTicks(1e22, 1e22 + 1e7).values.length <= 10);
  assert.ok(axisTicks(-1e300, 1e300).values.length >= 2);
  for (const [low, high] of [[0, 0], [1, 0], [NaN, 1], [0, NaN], [-Infinity, Infinity], [0, Infinity], [-1.7e308, 1.7e308]]) {
    assert.deepEqual(axisTicks(low, high).values, []);
  }
  assert.deepEqual(axisTicks(-3.5, 3.5).values.map((value) => tickText(value, axisTicks(-3.5, 3.5).digits)), ["−3", "−2", "−1", "0", "1", "2", "3"]);
  assert.deepEqual([[-2.5e17, 0], [123456, 0], [99999, 0], [0.25, 2]].map(([value, digits]) => tickText(value, digits)), ["−2.50e17", "1.23e5", "99999", "0.25"]);
});

test("a view never shows less than a 32nd of the plane, nor beyond it", () => {
  const view = new View({ limit: 4, half: 0.001, cx: 9, cy: -9 });
  assert.equal(view.half, 4 / 32);
  assert.deepEqual([view.cx, view.cy], [4 - 4 / 32, -(4 - 4 / 32)]);
  assert.equal(new View({ limit: 4, half: 99 }).half, 4);
});

test("of a q far from most of the plane its faint tail counts as well, and many images as one mean", () => {
  const one = aggregateDensity(Float32Array.of(0, 0), Float32Array.of(0, 0), grid);
  near(one[60 * grid.n + 60 + 45] / one[60 * grid.n + 60], Math.exp(-0.5 * 4.5 ** 2), 1e-6);
  near(one[(60 + 45) * grid.n + 60] / one[60 * grid.n + 60], Math.exp(-0.5 * 4.5 ** 2), 1e-6);
  const many = aggregateDensity(new Float32Array(2 * 500), new Float32Array(2 * 500), grid);
  near(many[60 * grid.n + 60], 1 / (2 * Math.PI), 1e-5);
});

test("points of an ellipse go round counter-clockwise from the right", () => {
  const line = ellipse([0, 0], [0, 0], 2, 4);
  [[2, 0], [0, 2], [-2, 0], [0, -2], [2, 0]].forEach((point, i) => point.forEach((value, k) => near(line[i][k], value, 1e-12)));
});

test("a share is one of the whole, however much that is", () => {
  const density = aggregateDensity(Float32Array.of(0, 0), Float32Array.of(0, 0), grid);
  const level = highestDensityLevel(density, grid.step ** 2, 0.7);
  near(highestDensityLevel(density.map((value) => 8 * value), grid.step ** 2, 0.7), 8 * level, 1e-6);
  near(highestDensityLevel(density, 1, 0.7), level, 1e-9);
});

test("at a saddle the middle decides which corners are one region: the lines cut off the others", () => {
  for (const middle of [0.4, -0.4]) {
    const high = [[0, 0], [1, 1]];
    const low = [[1, 0], [0, 1]];
    const apart = middle > 0 ? low : high; // where the middle is high, the high corners hang together
    const near2 = (corners, [x, y]) => Math.min(...corners.map(([a, b]) => Math.hypot(x - a, y - b)));
    for (const line of contours(Float32Array.of(1, -1 + middle, -1 + middle, 1), 2, 0)) {
      const centre = [0, 1].map((k) => (line[0][k] + line[1][k]) / 2);
      const together = apart === low ? high : low;
      assert.ok(near2(apart, centre) < near2(together, centre), `${middle}`);
    }
  }
});
