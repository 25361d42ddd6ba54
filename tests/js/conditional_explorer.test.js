import assert from "node:assert/strict";
import test from "node:test";
import { columnsFor, everyLabel, pictureAt, withLabel } from "../../vae_lib/widgets/conditional_explorer_maths.js";

test("the label joins z as a one-hot vector", () => {
  assert.deepEqual([...withLabel([0.5, -2], 0, 3)], [0.5, -2, 1, 0, 0]);
  assert.deepEqual([...withLabel([0.5, -2], 2, 3)], [0.5, -2, 0, 0, 1]);
});

test("every label has its own answer, and none overwrites another", () => {
  // one linear layer of 2 + 3 inputs: the output is z0 − z1 plus ten times the label
  const layers = [{ inputs: 5, outputs: 1, activation: "linear", kernel: Float32Array.of(1, -1, 0, 10, 20), bias: Float32Array.of(0.5), result: new Float32Array(1), used: new Int32Array(5) }];
  assert.deepEqual(everyLabel(layers, [3, 1], 3).map((logits) => [...logits]), [[2.5], [12.5], [22.5]]);
});

test("a strip wraps until its pictures are wide enough", () => {
  assert.deepEqual([640, 480, 479, 240, 100, 47].map((width) => columnsFor(10, width, 48)), [10, 10, 5, 5, 2, 1]);
  assert.equal(columnsFor(3, 640, 48), 3);
});

test("a point lies on one picture or on none", () => {
  assert.equal(pictureAt(0, 0, 10, 5), 0);
  assert.equal(pictureAt(0.999, 0.999, 10, 5), 9);
  assert.equal(pictureAt(0.5, 0.25, 10, 5), 2);
  assert.equal(pictureAt(0.5, 0.75, 10, 5), 7);
  assert.equal(pictureAt(0.9, 0.9, 7, 4), -1);
  for (const [x, y] of [[-0.1, 0], [1, 0.5], [0.5, 1], [NaN, 0]]) assert.equal(pictureAt(x, y, 10, 5), -1);
});
