import assert from "node:assert/strict";
import { test } from "node:test";
import { digitOfStrokes, normaliseDigit, rasterise } from "../../vae_lib/widgets/drawing_maths.js";

const near = (a, b, tolerance, what = "") => assert.ok(Math.abs(a - b) <= tolerance, `${what} ${a} is not within ${tolerance} of ${b}`);
const total = (values) => values.reduce((a, b) => a + b, 0);

/** Box around what has ink, its centre of mass counted as pixels are, from 0, and the ink. */
function measure(image, width = 28, height = 28) {
  const lit = Array.from(image, (value, k) => [k % width, Math.floor(k / width), value]).filter(([, , value]) => value > 0);
  const [xs, ys] = [0, 1].map((k) => lit.map((one) => one[k]));
  const ink = total(lit.map(([, , value]) => value));
  const centre = [0, 1].map((k) => total(lit.map((one) => one[k] * one[2])) / ink);
  return { width: Math.max(...xs) - Math.min(...xs) + 1, height: Math.max(...ys) - Math.min(...ys) + 1, centre, ink, lit: lit.length, size: [width, height] };
}

test("a round pen covers the area of a disc, and along a line that of a stadium", () => {
  const [size, width] = [200, 0.2];
  const r = (width * size) / 2;
  near(total(rasterise([[[0.5, 0.5]]], size, width)), Math.PI * r * r, 0.02 * Math.PI * r * r);
  const line = rasterise([[[0.3, 0.4], [0.6, 0.8]]], size, width); // half the side long
  near(total(line), 2 * r * 100 + Math.PI * r * r, 0.02 * 5000);
  assert.ok(line.every((value) => value >= 0 && value <= 1));
  const at = (x, y) => line[Math.floor(y * size) * size + Math.floor(x * size)];
  assert.equal(at(0.45, 0.6), 1); // the line's middle
  assert.equal(at(0.45 + 0.8 * 0.11, 0.6 - 0.6 * 0.11), 0); // a pen's radius and a bit beside it
  assert.equal(at(0.3 - 0.6 * 0.11, 0.4 - 0.8 * 0.11), 0); // and behind its end
});

test("half a pixel beside the pen's rim is covered by half; ink is not laid twice", () => {
  const size = 40;
  const across = [[0, 20 / 40], [1, 20 / 40]]; // along the border between two rows, 4.5 pixels wide on each side
  const once = rasterise([across], size, 9 / 40);
  const column = Array.from({ length: size }, (_, row) => once[row * size + 20]);
  near(total(column), 9, 1e-6);
  near(column[20 + 4], 0.5, 1e-6);
  assert.deepEqual(rasterise([across, across], size, 9 / 40), once);
  const both = rasterise([across, [[0.5, 0.1]]], size, 9 / 40); // a dot elsewhere takes nothing away
  assert.ok(both.every((value, k) => value >= once[k]));
  assert.ok(total(both) > total(once) + 30);
});

const seven = [[[0.2, 0.2], [0.8, 0.2], [0.4, 0.9]]];
const moved = (strokes, scale, dx, dy) => strokes.map((stroke) => stroke.map(([x, y]) => [scale * x + dx, scale * y + dy]));

test("a drawing is fitted into 20 by 20 pixels, and its centre of mass comes to the middle", () => {
  for (const strokes of [seven, [[[0.1, 0.5], [0.9, 0.5]]], [[[0.5, 0.1], [0.5, 0.6]], [[0.4, 0.3], [0.7, 0.35]]]]) {
    const image = digitOfStrokes(strokes);
    assert.equal(image.length, 784);
    assert.ok(image.every((value) => value >= 0 && value <= 1));
    const { width, height, centre } = measure(image);
    assert.equal(Math.max(width, height), 20);
    near(centre[0], 14, 0.51, "across:"); // it is moved by whole pixels
    near(centre[1], 14, 0.51, "down:");
  }
});

test("where it was drawn, and how large, makes no difference", () => {
  const image = digitOfStrokes(seven);
  for (const [scale, dx, dy] of [[0.3, 0.1, 0.6], [1, 0.15, -0.1], [0.5, 0.45, 0]]) {
    const other = digitOfStrokes(moved(seven, scale, dx, dy));
    assert.ok(total(image.map((value, k) => Math.abs(value - other[k]))) < 0.03 * total(image));
  }
});

test("proportions are kept, and the pen is as broad as in MNIST", () => {
  const upright = measure(digitOfStrokes([[[0.3, 0.1], [0.3, 0.9]]]));
  assert.equal(upright.height, 20);
  // the longer side is drawn 0.8 of the square long with a pen of 0.1, so 0.9 becomes 20 pixels: 20 · 0.1 / 0.9 is the pen's breadth
  near(upright.ink / 20, 20 / 9, 0.3);
  const lying = measure(digitOfStrokes([[[0.1, 0.3], [0.9, 0.3]]]));
  assert.deepEqual([lying.width, lying.height], [upright.height, upright.width]);
  const oblong = measure(digitOfStrokes([[[0, 0], [0.8, 0], [0.8, 0.4], [0, 0.4], [0, 0]]]));
  assert.equal(oblong.width, 20);
  near(oblong.height, (20 * 0.5) / 0.9, 1);
  const other = measure(digitOfStrokes(seven, { width: 56, height: 42 }), 56, 42);
  assert.ok(other.width <= 40 && other.height <= 30 && (other.width === 40 || other.height === 30));
});

test("a dot becomes a disc, and nothing becomes nothing", () => {
  const dot = measure(digitOfStrokes([[[0.5, 0.5]]]));
  assert.deepEqual([dot.width, dot.height], [20, 20]);
  near(dot.ink, Math.PI * 100, 15);
  const small = digitOfStrokes([[[0.5, 0.5], [0.501, 0.5]]]); // a pen that trembles draws a dot as well
  near(total(small), dot.ink, 0.2 * dot.ink);
  assert.ok(small.every(Number.isFinite));
  for (const nothing of [[], [[]]]) assert.equal(digitOfStrokes(nothing), null);
  assert.deepEqual(digitOfStrokes([[], ...seven]), digitOfStrokes(seven));
  assert.equal(normaliseDigit(new Float32Array(100), 10, 10), null);
});

test("shrinking takes the mean of areas: a checkerboard becomes grey, edges that fall between pixels are shared", () => {
  const board = Float32Array.from({ length: 40 * 40 }, (_, k) => ((k % 40) + Math.floor(k / 40)) % 2);
  const grey = normaliseDigit(board, 40, 40);
  assert.ok(grey.filter((value) => value > 0).every((value) => Math.abs(value - 0.5) < 1e-6));
  near(total(grey), 200, 1e-3);
  const bar = Float32Array.from({ length: 30 * 30 }, (_, k) => (k % 30 < 10 || k % 30 >= 20 ? 1 : 0)); // 30 → 20: 6⅔ dark, 6⅔ light, 6⅔ dark
  const shrunk = normaliseDigit(bar, 30, 30);
  const middle = shrunk.subarray(14 * 28, 15 * 28);
  const row = [...middle].slice(middle.findIndex((value) => value > 0)).slice(0, 20);
  near(row[6], 2 / 3, 1e-6);
  near(row[13], 2 / 3, 1e-6);
  near(total(row), 40 / 3, 1e-5);
});

test("what is faint does not count as ink when the box is drawn", () => {
  const pixels = new Float32Array(28 * 28);
  for (let row = 9; row < 19; row++) for (let column = 9; column < 19; column++) pixels[row * 28 + column] = 0.5;
  const alone = normaliseDigit(pixels, 28, 28);
  pixels[0] = 0.2;
  assert.deepEqual(normaliseDigit(pixels, 28, 28), alone);
  const { width, height } = measure(alone);
  assert.deepEqual([width, height], [20, 20]);
});

test("a digit whose mass lies at its edge stays inside the image, on all sides", () => {
  for (const edge of [0, 27]) {
    const pixels = Float32Array.from({ length: 28 * 28 }, (_, k) => (k % 28 === edge ? 1 : Math.floor(k / 28) === edge ? 0.3 : 0));
    const image = normaliseDigit(pixels, 28, 28);
    const { width, height } = measure(image);
    assert.deepEqual([width, height], [20, 20]);
    assert.equal(image.length, 784);
    assert.ok(image.every(Number.isFinite));
    near(total(image), (total(pixels) * 400) / 784, 0.5); // none of it is lost
  }
});

test("a drawing and its mirror image about the diagonal give images that are each other's", () => {
  const tall = [[[0.4, 0.1], [0.4, 0.9], [0.5, 0.9]]];
  const [image, mirrored] = [tall, tall.map((stroke) => stroke.map(([x, y]) => [y, x]))].map((strokes) => digitOfStrokes(strokes));
  image.forEach((value, k) => near(mirrored[(k % 28) * 28 + Math.floor(k / 28)], value, 1e-6));
  const { width, height } = measure(image);
  assert.equal(height, 20);
  assert.ok(width >= 4 && width <= 6, `${width}`); // (0.1 + 0.1) / 0.9 of 20, and the pen's half-dark rim
});
