import assert from "node:assert/strict";
import { test } from "node:test";

import { arrange, pointOf, ratioInWords, shades } from "../../vae_lib/widgets/hole_walk_maths.js";

test("the slider's value stands for the nearest point, and never for none", () => {
  assert.deepEqual([-3, 0, 29.6, 60, 99].map((value) => pointOf(value, 61)), [0, 0, 30, 60, 60]);
});

test("shades run from the low to the high end and are clipped there", () => {
  assert.deepEqual([...shades([-20, -9, -5, 0], 2, -9, -1)].sort((a, b) => a - b), [0, 0, 128, 255]);
});

test("the map is laid out from the top, as a picture is", () => {
  const log = new Float32Array(9).fill(-9);
  log[0 * 3 + 2] = -1; // leftmost column, uppermost row
  assert.equal(shades(log, 3, -9, -1).indexOf(255), 0);
});

test("rarer and denser are told apart, with as many digits as mean something", () => {
  assert.equal(ratioInWords(-3, -3 - Math.log(45)), "codes 45 times rarer than samples");
  assert.equal(ratioInWords(-3, -3 + Math.log(2.5)), "codes 2.5 times denser than samples");
  assert.equal(ratioInWords(-3, -90), "codes more than 1000 times rarer than samples");
});

test("nothing reaches beyond the canvas, and nothing overlaps, at any width", () => {
  for (const width of [280, 390, 519, 520, 640]) {
    const { map, images, chart, height } = arrange(width);
    assert.ok(map.x + map.side <= width && images.x + 2 * images.side + 12 <= width + 1 && chart.x + chart.width <= width);
    assert.ok(chart.y + chart.height + 36 <= height && map.y + map.side + 20 <= height);
    if (images.x < map.x + map.side) assert.ok(images.y > map.y + map.side + 16);
    assert.ok(chart.y > images.y + images.side + 20);
  }
});
