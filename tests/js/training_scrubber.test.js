import assert from "node:assert/strict";
import { test } from "node:test";

import {
  arrange, between, blend, blendInto, describe, epochText, isRecorded, mosaic, played, unpackCodes, valueAt,
} from "../../vae_lib/widgets/training_scrubber_maths.js";

test("a moment lies between two snapshots that exist, also at the ends and beyond them", () => {
  for (const count of [2, 3, 14]) {
    for (let moment = -1; moment <= count; moment += 0.05) {
      const { from, to, share } = between(moment, count);
      assert.ok(from >= 0 && to === from + 1 && to < count && share >= 0 && share <= 1);
      assert.ok(Math.abs(from + share - Math.min(Math.max(moment, 0), count - 1)) < 1e-12);
    }
  }
  assert.deepEqual(between(0, 1), { from: 0, to: 0, share: 0 });
});

test("at a snapshot everything is where it was recorded, exactly", () => {
  const all = Float32Array.from({ length: 9 }, (_, i) => Math.sin(i));
  for (const snapshot of [0, 1, 2]) {
    const out = blendInto(new Float32Array(3), all, between(snapshot, 3));
    assert.deepEqual([...out], [...all.subarray(3 * snapshot, 3 * snapshot + 3)]);
  }
});

test("between two snapshots the way is straight, and walked at one speed", () => {
  const all = [0, 10, 4, 30];
  const at = (moment) => [...blendInto(new Float32Array(2), all, between(moment, 2))];
  assert.deepEqual(at(0.5), [2, 20]);
  assert.deepEqual(at(0.25), [1, 15]);
  assert.equal(blend(-3, 5, 0.5), 1);
});

test("a value that was not measured is not made up", () => {
  const values = [null, 4, 2];
  assert.equal(valueAt(values, between(0, 3)), null);
  assert.equal(valueAt(values, between(0.5, 3)), null);
  assert.equal(valueAt(values, between(1, 3)), 4);
  assert.equal(valueAt(values, between(1.5, 3)), 3);
  assert.equal(valueAt(values, between(2, 3)), 2);
});

test("the read-out tells what was recorded from what lies between", () => {
  const say = (moment) => describe([0, 0.01, 1, 2], [null, 449.37, 182.04, 164.84], [543.59, 325.28, 164.5, 159.9], between(moment, 4));
  assert.equal(say(0), "Before training: no training loss yet, test loss 543.6 nats per image");
  assert.equal(say(1), "After 0.01 epochs: training loss 449.4, test loss 325.3 nats per image");
  assert.equal(say(2), "After 1 epoch: training loss 182.0, test loss 164.5 nats per image");
  assert.equal(say(2.5), "≈ 1.5 epochs: training loss ≈ 173.4, test loss ≈ 162.2 nats per image");
  assert.equal(say(3), "After 2 epochs: training loss 164.8, test loss 159.9 nats per image");
  assert.ok(isRecorded(between(2, 4)) && !isRecorded(between(2.5, 4)));
  assert.deepEqual([0, 0.00333, 0.05, 1, 10, 3.456].map(epochText), ["0", "0.003", "0.05", "1", "10", "3.46"]);
});

test("codes come back from 16 bits, from a view that does not begin at its buffer's start", () => {
  const buffer = new ArrayBuffer(10);
  new Int16Array(buffer, 2).set([32767, -32767, 0, 16384]);
  const codes = unpackCodes(new DataView(buffer, 2), 4, 4);
  assert.deepEqual([...codes].slice(0, 3), [4, -4, 0]);
  assert.ok(Math.abs(codes[3] - 2) < 4 / 32767);
  assert.throws(() => unpackCodes(new DataView(buffer), 4, 4), /expected 4 coordinates of two bytes, got 10 bytes/);
  assert.throws(() => unpackCodes(null, 4, 4), /got 0 bytes/);
});

test("playing goes forward at its speed and stops at the last snapshot", () => {
  assert.equal(played(0, 0, 0.8, 13), 0);
  assert.equal(played(2, 0.8, 0.8, 13), 3);
  assert.equal(played(2, 1000, 0.8, 13), 13);
});

test("a mosaic sets images row by row; what is left of the last row stays clear", () => {
  const levels = [1, 2, 3, 4, 5, 6]; // three images of 1×2
  const { rgba, width, height } = mosaic(levels, [1, 2], 2);
  assert.deepEqual([width, height], [4, 2]);
  assert.deepEqual([...rgba].filter((_, i) => i % 4 === 0), [1, 2, 3, 4, 5, 6, 0, 0]);
  assert.deepEqual([...rgba].filter((_, i) => i % 4 === 3), [255, 255, 255, 255, 255, 255, 0, 0]);
});

test("nothing leaves the canvas and nothing overlaps, at any width", () => {
  for (let width = 280; width <= 640; width += 10) {
    const { plane, images, chart, height } = arrange(width, 1);
    for (const { x, y, width: w, height: h } of [plane, images, chart]) {
      assert.ok(x >= 0 && y >= 20 && w >= 70 && h >= 60 && x + w <= width && y + h + 30 <= height + 31, `${width}`);
    }
    assert.equal(plane.width, plane.height);
    assert.ok(Math.abs(images.width - images.height) <= 1);
    const apart = (a, b) => a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y;
    assert.ok(apart(plane, images) && apart(plane, chart) && apart(images, chart), `${width}`);
    assert.ok(chart.y + chart.height + 31 <= height, `${width}`); // its ticks and label
  }
});

test("at the last snapshot its own value counts, even where the one before has none", () => {
  const last = between(2, 3);
  assert.deepEqual(last, { from: 1, to: 2, share: 1 });
  assert.equal(valueAt([5, null, 7], last), 7);
  assert.equal(valueAt([5, null, 7], between(1.5, 3)), null);
});
