import assert from "node:assert/strict";
import { test } from "node:test";

import {
  climbPath,
  climbStep,
  elboGradient,
  elboParts,
  klToPosterior,
  likelihoodSlope,
  logEvidence,
  logGaussian,
  logLikelihood,
  logPosterior,
  logSigmoid,
} from "../../vae_lib/widgets/elbo_balance_maths.js";

const world = { x: 1, weight: 8, bias: -4 };
const limits = { mu: [-3, 3], logVar: [-4, 2] };
const close = (one, other, by = 1e-9) => assert.ok(Math.abs(one - other) <= by, `${one} is not ${other} ± ${by}`);

test("logSigmoid: no overflow, and its two sides are those of one coin", () => {
  assert.equal(logSigmoid(-1e4), -1e4);
  assert.equal(logSigmoid(1e4), 0);
  for (const t of [-30, -1, 0, 0.3, 12]) close(Math.exp(logSigmoid(t)) + Math.exp(logSigmoid(-t)), 1, 1e-15);
});

test("a white and a black pixel share all probability", () => {
  for (const z of [-2, 0.5, 3]) {
    close(Math.exp(logLikelihood(world, z)) + Math.exp(logLikelihood({ ...world, x: 0 }, z)), 1, 1e-14);
  }
  close(Math.exp(logEvidence(world)) + Math.exp(logEvidence({ ...world, x: 0 })), 1, 1e-12);
});

test("a decoder that ignores z has the prior for its posterior", () => {
  const blind = { x: 1, weight: 0, bias: -1 };
  const logPx = logEvidence(blind);
  close(logPx, logSigmoid(-1), 1e-12);
  close(klToPosterior(blind, 0, 0, logPx), 0, 1e-12);
  elboGradient(blind, 0, 0).forEach((value) => close(value, 0, 1e-12));
});

test("the posterior integrates to one", () => {
  const logPx = logEvidence(world);
  let total = 0;
  for (let z = -8; z <= 8; z += 0.002) total += 0.002 * Math.exp(logPosterior(world, z, logPx));
  close(total, 1, 1e-9);
});

test("the KL to the prior is the closed form", () => {
  for (const [mu, logVar] of [[0, 0], [1.5, -3], [-2, 1]]) {
    close(elboParts(world, mu, logVar).klPrior, 0.5 * (Math.exp(logVar) + mu * mu - 1 - logVar), 1e-11);
  }
});

test("slope and gradient are those of finite differences", () => {
  const h = 1e-5;
  for (const x of [0, 1]) {
    const here = { ...world, x };
    close(likelihoodSlope(here, 0.4), (logLikelihood(here, 0.4 + h) - logLikelihood(here, 0.4 - h)) / (2 * h), 1e-7);
    for (const [mu, logVar] of [[0, -1], [1, 0.5], [-1, -3]]) {
      const gradient = elboGradient(here, mu, logVar);
      close(gradient[0], (elboParts(here, mu + h, logVar).elbo - elboParts(here, mu - h, logVar).elbo) / (2 * h), 1e-6);
      close(gradient[1], (elboParts(here, mu, logVar + h).elbo - elboParts(here, mu, logVar - h).elbo) / (2 * h), 1e-6);
    }
  }
});

test("the density is normalised", () => {
  let total = 0;
  for (let z = -20; z <= 20; z += 0.01) total += 0.01 * Math.exp(logGaussian(z, 0.7, 0.9));
  close(total, 1, 1e-12);
});

for (const start of [[0, -1], [-3, -4], [3, 2], [3, -4], [-3, 2]]) {
  test(`the climb from (${start}) never goes down, takes small steps, stays within its limits, and ends on level ground`, () => {
    const path = climbPath(world, start, limits);
    assert.deepEqual(path[0], start);
    assert.ok(path.length > 5 && path.length < 150, `${path.length} places`);
    for (let i = 1; i < path.length; i++) {
      assert.ok(elboParts(world, ...path[i]).elbo > elboParts(world, ...path[i - 1]).elbo);
      assert.ok(Math.hypot(path[i][0] - path[i - 1][0], path[i][1] - path[i - 1][1]) < 0.2501);
    }
    for (const [mu, logVar] of path) assert.ok(Math.abs(mu) <= 3 && logVar >= -4 && logVar <= 2);
    assert.ok(Math.hypot(...elboGradient(world, ...path.at(-1))) < 2e-4);
  });
}

test("a limit in the way is not crossed", () => {
  const path = climbPath(world, [-1, -1], { mu: [-3, 0.25], logVar: [-4, 2] });
  assert.equal(path.at(-1)[0], 0.25);
});

test("at the top one more step stays where it is, and a given number of steps is kept", () => {
  const top = climbPath(world, [1, -1.4], limits).at(-1);
  const [mu, logVar] = climbStep(world, top, limits);
  close(mu, top[0], 1e-6);
  close(logVar, top[1], 1e-6);
  assert.equal(climbPath(world, [0, -1], limits, 1).length, 2);
});

test("ELBO and the KL to the posterior add up to log p(x), whatever q is; and no q is too narrow or too far for the sum to end", () => {
  for (const x of [0, 1]) {
    const here = { ...world, x };
    const logPx = logEvidence(here);
    for (const [mu, logVar] of [[0, 0], [0.8, -1.5], [-1.5, -3], [2, 1], [0.5, 0.7]]) {
      close(elboParts(here, mu, logVar).elbo + klToPosterior(here, mu, logVar, logPx), logPx, 1e-8);
    }
  }
  for (const [mu, logVar] of [[1e17, 0], [1, -2000], [-1e17, -80]]) assert.equal(typeof klToPosterior(world, mu, logVar, -1), "number");
});
