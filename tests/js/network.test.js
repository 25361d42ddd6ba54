import assert from "node:assert/strict";
import { test } from "node:test";

import { encode, float16ToFloat32, forward, sigmoid, unpackEncoder, unpackLayers } from "../../vae_lib/widgets/network.js";

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
    assert.throws(() => unpackLayers(shapes, view), /expected the weights of 2 layers in (18|some) bytes, got \d+ bytes/);
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

/** A layer of rounded weights: widths, steps and biases of its units, then whole numbers, lowest bit first. */
function rounded(widths, steps, biases, columns) {
  const bits = columns.flatMap((column, j) => column.flatMap((whole) => Array.from({ length: widths[j] }, (_, k) => (whole >> k) & 1)));
  const bytes = new Uint8Array(9 * widths.length + Math.ceil(bits.length / 8));
  const view = new DataView(bytes.buffer);
  widths.forEach((width, j) => view.setUint8(j, width));
  steps.forEach((step, j) => view.setFloat32(widths.length + 4 * j, step, true));
  biases.forEach((bias, j) => view.setFloat32(5 * widths.length + 4 * j, bias, true));
  bits.forEach((bit, k) => (bytes[9 * widths.length + (k >> 3)] |= bit << (k & 7)));
  return view;
}

test("rounded weights of every width are read, negative ones as well", () => {
  for (let width = 2; width <= 16; width++) {
    const most = 2 ** (width - 1) - 1;
    const view = rounded([width, 16], [0.5, 2], [1, -1], [[most, -most, -1, 0, 1], [32767, -32767, 5, -5, 0]]);
    const [layer] = unpackLayers([{ inputs: 5, outputs: 2, activation: "linear", rounded: true }], view);
    assert.deepEqual([...layer.kernel], [most / 2, 65534, -most / 2, -65534, -0.5, 10, 0, -10, 0.5, 0]);
    assert.deepEqual([...layer.bias], [1, -1]);
  }
});

test("rounded and other layers follow each other; a byte too few or too many is an error", () => {
  const first = new Uint8Array(packed([1, 2, 0.5, -1]).buffer.slice(6)); // one input, two outputs
  const second = new Uint8Array(rounded([3], [1], [0.25], [[3, -3]]).buffer);
  const both = [
    { inputs: 1, outputs: 2, activation: "linear", rounded: false },
    { inputs: 2, outputs: 1, activation: "linear", rounded: true },
  ];
  const bytes = Uint8Array.from([...first, ...second]);
  assert.deepEqual([...forward(unpackLayers(both, new DataView(bytes.buffer)), [2])], [3 * 2.5 - 3 * 3 + 0.25]);
  for (const length of [0, 3, bytes.length - 1]) {
    assert.throws(() => unpackLayers(both, new DataView(bytes.buffer, 0, length)), /expected the weights of 2 layers/);
  }
  assert.throws(() => unpackLayers(both, new DataView(Uint8Array.from([...bytes, 0]).buffer)), /got 19 bytes/);
});

test("forward agrees with the sum of products, whatever number of inputs is zero", () => {
  const [inputs, outputs] = [11, 3];
  const kernel = Array.from({ length: inputs * outputs }, (_, k) => ((k * 7) % 13) - 6);
  const layers = unpackLayers([{ inputs, outputs, activation: "linear" }], packed([...kernel, 1, 2, 3]));
  for (let used = 0; used <= inputs; used++) {
    const x = Array.from({ length: inputs }, (_, i) => (i < used ? i - 4.5 : 0));
    const expected = [1, 2, 3].map((bias, j) => x.reduce((sum, value, i) => sum + value * kernel[i * outputs + j], bias));
    assert.deepEqual([...forward(layers, x)], expected);
  }
});

test("an encoder's two heads share what comes before them, and each call gives fresh arrays", () => {
  const heads = [{ inputs: 2, outputs: 1, activation: "linear" }, { inputs: 2, outputs: 1, activation: "linear" }];
  const network = unpackEncoder([shapes[0], ...heads], packed([1, -2, 0.5, 4, 0.25, -1, 2, -8, 0.5, 1, 1, -1]));
  const first = encode(network, Float32Array.of(1, 2)); // hidden = (2.25, 5), as above
  assert.deepEqual([[...first.mu], [...first.logVar]], [[-35], [6.25]]);
  assert.deepEqual([...encode(network, Float32Array.of(3, 0)).mu], [7]);
  assert.deepEqual([...first.mu], [-35]);
  assert.throws(() => encode(network, [1, 2, 3]), /expected an image of 2 pixels, got 3/);
  assert.throws(() => unpackEncoder(shapes, packed(numbers)), /expected an encoder that ends in two layers of one shape/);
});

test("sizes and activations that no layer has are named", () => {
  const bad = (changes, n = 0) => () => unpackLayers(shapes.map((shape, i) => (i === n ? { ...shape, ...changes } : shape)), packed(numbers));
  for (const changes of [{ inputs: 2.5 }, { outputs: 0 }, { inputs: -2 }, { outputs: null }]) {
    assert.throws(bad(changes), /expected a whole number from 1 to 1000000 as size of layer 1, got/);
  }
  assert.throws(bad({ activation: "tanh" }, 1), /expected relu or linear as activation of layer 2, got tanh/);
  assert.throws(() => unpackLayers({ length: 1 }, packed(numbers)), /expected a list of layers/);
});

test("a relu that is the last layer is one, and a linear layer in the middle lets negative numbers through", () => {
  const swapped = [{ ...shapes[0], activation: "linear" }, { ...shapes[1], activation: "relu" }];
  // hidden = (3.25, −7); 6.5 + 56 + 0.5 = 63, and for (1, 2): −35 → 0
  const layers = unpackLayers(swapped, packed(numbers));
  assert.deepEqual([...forward(layers, [3, 0])], [63]);
  assert.deepEqual([...forward(layers, [1, 2])], [0]);
});

test("an encoder's heads need one number of inputs and one of outputs", () => {
  const heads = (a, b) => [shapes[0], { inputs: 2, outputs: a, activation: "linear" }, { inputs: 2, outputs: b, activation: "linear" }];
  const sized = (list) => packed(new Array(list.reduce((sum, { inputs, outputs }) => sum + (inputs + 1) * outputs, 0)).fill(0));
  assert.equal(unpackEncoder(heads(2, 2), sized(heads(2, 2))).latentDim, 2);
  assert.throws(() => unpackEncoder(heads(1, 2), sized(heads(1, 2))), /two layers of one shape/);
});
