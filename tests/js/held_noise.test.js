import assert from "node:assert/strict";
import { test } from "node:test";

import { contributions, exactGradient, expectation, mean, normals, samples, slope, target, uniforms } from "../../vae_lib/widgets/held_noise_maths.js";

const close = (one, other, tolerance) => assert.ok(Math.abs(one - other) <= tolerance, `${one} ≠ ${other}`);
const PLACES = [-3, -1.1, 0, 2.4].flatMap((mu) => [-4, -1.5, 0.5].map((logVar) => [mu, logVar]));
const H = 1e-5;

test("the slope is the target's derivative", () => {
  for (const z of [-4, -0.3, 0, 1, 5.5]) close((target(z + H) - target(z - H)) / (2 * H), slope(z), 1e-8);
});

test("the exact gradient is the expectation's derivative", () => {
  for (const [mu, logVar] of PLACES) {
    const exact = exactGradient(mu, logVar);
    close((expectation(mu + H, logVar) - expectation(mu - H, logVar)) / (2 * H), exact.mu, 1e-8);
    close((expectation(mu, logVar + H) - expectation(mu, logVar - H)) / (2 * H), exact.logVar, 1e-8);
  }
});

test("each sample's slope contribution is the derivative of f(mu + σ eps) with eps held", () => {
  const eps = [-1.4, 0, 0.3, 2];
  for (const [mu, logVar] of PLACES) {
    const by = contributions(mu, logVar, eps);
    const at = (m, l) => samples(m, l, eps).map(target);
    const difference = (plus, minus) => plus.map((value, i) => (value - minus[i]) / (2 * H));
    difference(at(mu + H, logVar), at(mu - H, logVar)).forEach((value, i) => close(value, by.slope.mu[i], 1e-8));
    difference(at(mu, logVar + H), at(mu, logVar - H)).forEach((value, i) => close(value, by.slope.logVar[i], 1e-8));
  }
});

test("both estimators find the exact gradient with many samples, within five standard errors", () => {
  const eps = normals(200_000, 1);
  const by = contributions(-1, -1, eps);
  const exact = exactGradient(-1, -1);
  for (const estimator of ["slope", "score"]) {
    for (const which of ["mu", "logVar"]) {
      const values = by[estimator][which];
      const variance = mean(values.map((value) => value ** 2)) - mean(values) ** 2;
      close(mean(values), exact[which], 5 * Math.sqrt(variance / values.length));
    }
  }
});

test("drawn noise is the same for one seed, another for another, and standard normal", () => {
  assert.deepEqual(normals(5, 3), normals(5, 3));
  assert.notDeepEqual(normals(5, 3), normals(5, 4));
  const many = normals(100_000, 0);
  close(mean(many), 0, 5 / Math.sqrt(1e5));
  close(mean(many.map((x) => x * x)), 1, 5 * Math.sqrt(2 / 1e5));
  close(mean(many.map((x) => x ** 4)), 3, 5 * Math.sqrt(96 / 1e5));
});

test("uniform numbers fill their interval evenly", () => {
  const counts = new Array(10).fill(0);
  for (const u of uniforms(100_000, 7)) counts[Math.floor(10 * u)]++;
  const chi2 = counts.reduce((sum, count) => sum + (count - 1e4) ** 2 / 1e4, 0);
  assert.ok(chi2 < 33.7, `chi² of ${chi2} with 9 degrees of freedom`); // exceeded once in 10,000
});

test("each normal number is Box and Muller's of two uniform ones of its own", () => {
  const u = uniforms(40, 12);
  normals(20, 12).forEach((value, i) => close(value, Math.sqrt(-2 * Math.log(1 - u[2 * i])) * Math.cos(2 * Math.PI * u[2 * i + 1]), 1e-12));
});
