import assert from "node:assert/strict";
import { test } from "node:test";

import { betaInWords, betaText, chosen, equalLoss, span } from "../../vae_lib/widgets/beta_scrubber_maths.js";

test("a beta is written as it is, not as a computer stores it", () => {
  assert.deepEqual([0.25, 1, 4, 784, 0.1 + 0.2].map(betaText), ["0.25", "1", "4", "784", "0.3"]);
});

test("the slider's value stands for the nearest model, and never for none", () => {
  assert.deepEqual([-1, 0, 1.4, 1.6, 9].map((value) => chosen(value, 4)), [0, 0, 1, 2, 3]);
});

test("along the line distortion + beta · rate does not change, and the point lies on it", () => {
  const here = { rate: 5.75, distortion: 147.7 };
  assert.equal(equalLoss(4, here, 5.75), 147.7);
  for (const rate of [0, 3, 8]) assert.ok(Math.abs(equalLoss(4, here, rate) + 4 * rate - (147.7 + 4 * 5.75)) < 1e-9);
});

test("an axis holds all values with room at both ends, also where all are one", () => {
  const [low, high] = span([3, 1, 2], 0.1);
  assert.ok(low < 1 && high > 3 && Math.abs(high - low - 2.4) < 1e-12);
  const [least, most] = span([2, 2]);
  assert.ok(least < 2 && most > 2);
});

test("the numbers in words add up", () => {
  const [first, second] = betaInWords(0.5, { rate: 6, distortion: 147 });
  assert.match(first, /β = 0.5: rate 6.0 nats .* distortion 147.0 nats/);
  assert.match(second, /147.0 \+ 0.5 · 6.0 = 150.0.* −ELBO: 147.0 \+ 6.0 = 153.0 nats/);
});
