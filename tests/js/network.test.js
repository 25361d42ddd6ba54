import assert from "node:assert/strict";
import { test } from "node:test";

import { float16ToFloat32, forward, sigmoid, unpackLayers } from "../../vae_lib/widgets/network.js";

test("every half-precision number is read as the engine's own Float16Array reads it", () => {
  const bits = new Uint16Array(65536).map((_, i) => i);
  const ours = float16ToFloat32(new DataView(bits.buffer));
  const theirs = new Float16Array(bits.buffer);
  assert.equal(ours.length, 65536);
  assert.deepEqual(bits.filter((i) => !Object.is(ours[i], theirs[i])), new Uint16Array(0));
});

/** Pack numbers as float16 in a view that does not begin at its buffer's start, as in a page. */
function packed(numbers) {
  const buffer = new ArrayBuffer(2 * numbers.length + 6);
  new Uint16Array(buffer, 6).set(new Uint16Array(new Float16Array(numbers).buffer));
  return new DataView(buffer, 6);
}

// z (2) → relu (2) → linear (1); powers of two, so that every step is exact
const shapes = [
  { inputs: 2, outputs: 2, activation: "relu" },
  { inputs: 2, outputs: 1, activation: "linear" },
];
const numbers = [1, -2, 0.5, 4, 0.25, -1, 2, -8, 0.5]; // kernel rows (1 −2), (0.5 4); bias (0.25 −1); kernel (2), (−8); bias 0.5

test("forward computes kernel and bias, layer by layer, with relu only where it is asked for", () => {
  const layers = unpackLayers(shapes, packed(numbers));
  // hidden = relu(1·1 + 0.5·2 + 0.25, −2·1 + 4·2 − 1) = (2.25, 5); 2·2.25 − 8·5 + 0.5 = −35
  assert.deepEqual([...forward(layers, [1, 2])], [-35]);
  // hidden = relu(3 + 0.25, −6 − 1) = (3.25, 0); 6.5 + 0.5 = 7
  assert.deepEqual([...forward(layers, [3, 0])], [7]);
});

test("a second call does not remember the first", () => {
  const layers = unpackLayers(shapes, packed(numbers));
  forward(layers, [100, 100]);
  assert.deepEqual([...forward(layers, [3, 0])], [7]);
});

for (const [what, view] of [["too few bytes", packed(numbers.slice(1))], ["too many", packed([...numbers, 1])], ["none", null]]) {
  test(`${what}: an error says what was expected and what came`, () => {
    assert.throws(() => unpackLayers(shapes, view), /expected 9 weights of two bytes, got \d+ bytes/);
  });
}

test("no layers are an error", () => assert.throws(() => unpackLayers([], packed([])), /expected/));

test("sigmoid: symmetric, and exact in its limits", () => {
  assert.equal(sigmoid(0), 0.5);
  assert.equal(sigmoid(1e4), 1);
  assert.equal(sigmoid(-1e4), 0);
  for (const x of [0.1, 1, 7.5]) assert.ok(Math.abs(sigmoid(x) + sigmoid(-x) - 1) < 1e-15);
  assert.ok(Math.abs(Math.log(sigmoid(2) / (1 - sigmoid(2))) - 2) < 1e-12);
});
