import assert from "node:assert/strict";
import { test } from "node:test";

import { areas, integrand, integrandAreas, klParts, linspace, logDensity, reversedKlParts } from "../../vae_lib/widgets/kl_gaussians_maths.js";
import { labelRows, roundBelow } from "../../vae_lib/widgets/panels.js";

const close = (one, other, tolerance = 1e-12) => assert.ok(Math.abs(one - other) <= tolerance * Math.max(1, Math.abs(other)), `${one} ≠ ${other}`);
const PLACES = [-3, -1.3, 0, 0.4, 3].flatMap((mu) => [-4, -1, 0, 0.7, 2].map((logVar) => [mu, logVar]));

test("both divergences are zero at p itself, and nowhere else on the sliders", () => {
  for (const parts of [klParts, reversedKlParts]) {
    assert.equal(parts(0, 0).total, 0);
    for (const [mu, logVar] of PLACES) if (mu || logVar) assert.ok(parts(mu, logVar).total > 0);
  }
});

test("the parts are not negative and add up", () => {
  for (const [mu, logVar] of PLACES) {
    for (const { mean, spread, total } of [klParts(mu, logVar), reversedKlParts(mu, logVar)]) {
      assert.ok(mean >= 0 && spread >= 0);
      assert.equal(mean + spread, total);
    }
  }
});

test("no digits are lost close to p", () => close(klParts(0, 1e-6).total / 2.5e-13, 1 + 1e-6 / 3, 1e-3));

test("with the means equal, reversing is the same as inverting the variance", () => {
  for (const [, logVar] of PLACES) close(reversedKlParts(0, logVar).total, klParts(0, -logVar).total);
});

test("a change of units turns one divergence into the other", () => {
  for (const [mu, logVar] of PLACES) close(reversedKlParts(mu, logVar).total, klParts(-mu * Math.exp(-0.5 * logVar), -logVar).total);
});

test("the area of each integrand is its divergence", () => {
  for (const [mu, logVar] of PLACES) {
    const { forward, reversed } = integrandAreas(mu, logVar);
    close(forward.above - forward.below, klParts(mu, logVar).total, 1e-9);
    close(reversed.above - reversed.below, reversedKlParts(mu, logVar).total, 1e-9);
  }
});

test("where q is p, the integrand is nothing", () => linspace(-6, 6, 13).forEach((z) => assert.equal(Math.abs(integrand(z, 0, 0)), 0)));

test("a density has an area of one, and above and below are told apart", () => {
  close(areas((z) => Math.exp(logDensity(z, 1, -2)), -5, 7).above, 1);
  const wave = areas(Math.sin, 0, 2 * Math.PI);
  close(wave.above, 2, 1e-5);
  close(wave.below, 2, 1e-5);
});

test("round numbers below", () => {
  assert.deepEqual([1, 1.9, 2, 4.9, 5, 99, 0.07].map(roundBelow).map((x) => Number(x.toPrecision(3))), [1, 1, 2, 2, 5, 50, 0.05]);
});

test("labels in one row keep apart, and what has no room gets no row", () => {
  assert.deepEqual(labelRows([0, 100, 50], 12, 3), [0, 0, 0]);
  assert.deepEqual(labelRows([0, 1, 2, 3], 12, 3), [0, 1, 2, -1]);
  assert.deepEqual(labelRows([20, 0, 10], 12, 2), [0, 0, 1]);
});

test("the trapezoid rule is exact for straight lines, ends included", () => {
  const flat = areas(() => 3, 1, 2, 11);
  close(flat.above, 3, 1e-12);
  assert.equal(flat.below, 0);
  const through = areas((z) => z, -1, 2, 31); // from −1 to 2, through a point of the rule at 0
  close(through.above, 2, 1e-12);
  close(through.below, 0.5, 1e-12);
});
