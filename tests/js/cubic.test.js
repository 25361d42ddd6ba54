import assert from "node:assert/strict";
import { test } from "node:test";
import { cubicWeights, interpolate } from "../../vae_lib/widgets/cubic.js";

const near = (a, b, tolerance) => assert.ok(Math.abs(a - b) <= tolerance, `${a} is not within ${tolerance} of ${b}`);

test("the weights give back parabolas exactly, and the values at the ends", () => {
  for (const t of [0, 0.125, 0.5, 0.8, 1]) {
    const weights = cubicWeights(t);
    for (const f of [() => 1, (x) => x, (x) => 3 * x * x - x + 2]) near([-1, 0, 1, 2].reduce((sum, x, k) => sum + weights[k] * f(x), 0), f(t), 1e-12);
  }
  assert.deepEqual(cubicWeights(0).map((weight) => weight + 0), [0, 1, 0, 0]);
  assert.deepEqual(cubicWeights(1).map((weight) => weight + 0), [0, 0, 1, 0]);
});

test("on a grid with other numbers of rows and columns a parabola of both is exact between its inner points", () => {
  const f = (row, column) => 0.5 * row * row - row * column + 2 * column * column - 3;
  const [rows, columns] = [5, 7];
  const values = Float64Array.from({ length: rows * columns }, (_, k) => f(Math.floor(k / columns), k % columns));
  const [down, across] = [[1, 1.25, 2.5, 3], [1, 2.5, 3.75, 4.5, 5]];
  const out = interpolate(values, [rows, columns], down, across);
  assert.equal(out.length, down.length * across.length);
  down.forEach((row, r) => across.forEach((column, c) => near(out[r * across.length + c], f(row, column), 1e-5)));
});

test("at the points of the grid its values come back, and beyond its border those of the border go on", () => {
  const values = Float64Array.of(1, 5, -2, 4, 8, 0, 3, 3, 7, -6, 2, 9);
  const places = (n) => Array.from({ length: n }, (_, i) => i);
  interpolate(values, [3, 4], places(3), places(4)).forEach((value, k) => near(value, values[k], 1e-6));
  const outside = interpolate(values, [3, 4], [-0.5, 2.5], [-0.5, 3.5]); // half a cell beyond, as pictures need
  [1, 4, 7, 9].forEach((corner, k) => near(outside[k], corner, 0.15 * 15)); // the border goes on: far from what lies across the grid
  const flat = interpolate(new Float64Array(12).fill(2), [3, 4], [-0.5, 0, 1.7, 2.5], [-0.5, 3.5]);
  flat.forEach((value) => near(value, 2, 1e-6));
});

test("beyond the border a slope flattens out", () => {
  const slope = interpolate(Float64Array.from({ length: 12 }, (_, k) => k % 4), [3, 4], [1], [-5, -0.5, 0, 3, 3.5, 9]);
  [0, 0, 0, 3, 3, 3].forEach((value, k) => near(slope[k], value, 0.07));
});
