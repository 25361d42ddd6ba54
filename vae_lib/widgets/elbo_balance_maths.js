// One pixel and one latent number: z ~ N(0, 1), and x is 1 with probability sigmoid(weight z + bias). Against a Gaussian
// q = N(mu, exp(logVar)): log p(x), the ELBO, the KL to the true posterior and the gradient, in nats, all by quadrature.
//
// The trapezoidal rule on an even grid is exact to rounding for smooth functions that vanish at both ends, so it is used throughout.
// A world is {x, weight, bias}.

const HALF_LOG_2PI = 0.5 * Math.log(2 * Math.PI);
const REACH = 10; // standard deviations on either side; beyond lie less than 1e-22 of a Gaussian
const STEP = 0.01; // of a standard deviation

/** log sigmoid(t), without overflow for any t. */
export function logSigmoid(t) {
  return Math.min(t, 0) - Math.log1p(Math.exp(-Math.abs(t)));
}

export function logGaussian(z, mu, logVar) {
  return -HALF_LOG_2PI - 0.5 * logVar - 0.5 * (z - mu) ** 2 * Math.exp(-logVar);
}

/** log p(x|z), and its slope in z. */
export function logLikelihood({ x, weight, bias }, z) {
  const sign = x ? 1 : -1;
  return logSigmoid(sign * (weight * z + bias));
}

export function likelihoodSlope({ x, weight, bias }, z) {
  const sign = x ? 1 : -1;
  return sign * weight * Math.exp(logSigmoid(-sign * (weight * z + bias)));
}

/** The mean of each of several functions under N(mu, exp(logVar)); f returns an array. */
function gaussianMeans(mu, logVar, f) {
  const sigma = Math.exp(0.5 * logVar);
  const count = Math.round(REACH / STEP);
  let totals = null;
  for (let i = -count; i <= count; i++) {
    const eps = i * STEP;
    const share = STEP * Math.exp(-HALF_LOG_2PI - 0.5 * eps * eps);
    const values = f(mu + sigma * eps, eps);
    totals = values.map((value, k) => (totals ? totals[k] : 0) + share * value);
  }
  return totals;
}

/** log p(x): the integral of the likelihood under the prior. It knows nothing of q. */
export function logEvidence(world) {
  return Math.log(gaussianMeans(0, 0, (z) => [Math.exp(logLikelihood(world, z))])[0]);
}

export function logPosterior(world, z, logPx) {
  return logGaussian(z, 0, 0) + logLikelihood(world, z) - logPx;
}

/** KL[q ‖ posterior] by its definition, as an integral over z of q (log q − log posterior). */
export function klToPosterior(world, mu, logVar, logPx) {
  const sigma = Math.exp(0.5 * logVar);
  const count = Math.round(REACH / STEP);
  let total = 0;
  for (let i = -count; i <= count; i++) { // counted: z may be too large, or sigma too small, for z to grow by a step
    const z = mu + i * STEP * sigma;
    const logQ = logGaussian(z, mu, logVar);
    total += STEP * sigma * Math.exp(logQ) * (logQ - logPosterior(world, z, logPx));
  }
  return total;
}

/** The ELBO with its two parts, E_q[log p(x|z)] − KL[q ‖ prior]; log p(x) is not needed for any of them. */
export function elboParts(world, mu, logVar) {
  const [fit, klPrior] = gaussianMeans(mu, logVar, (z) => [
    logLikelihood(world, z),
    logGaussian(z, mu, logVar) - logGaussian(z, 0, 0),
  ]);
  return { fit, klPrior, elbo: fit - klPrior };
}

/** The gradient of the ELBO in (mu, logVar): by z = mu + sigma eps it goes through z; the entropy of q adds one half. */
export function elboGradient(world, mu, logVar) {
  const sigma = Math.exp(0.5 * logVar);
  const [byMu, byLogVar] = gaussianMeans(mu, logVar, (z, eps) => {
    const slope = likelihoodSlope(world, z) - z; // of log p(x, z)
    return [slope, 0.5 * slope * sigma * eps];
  });
  return [byMu, byLogVar + 0.5];
}

const LONGEST_MOVE = 0.25; // one step of the climb stays visible as a step
const FLAT = 1e-5; // a gradient as short as this counts as zero

/**
 * One step of gradient ascent from [mu, logVar] within limits {mu: [low, high], logVar: [low, high]}: as long as it may be, then
 * halved until the ELBO rises in proportion. Returns the new place, or the old one if there is nothing to gain.
 */
export function climbStep(world, [mu, logVar], limits) {
  const gradient = elboGradient(world, mu, logVar);
  const within = (value, [low, high]) => Math.min(high, Math.max(low, value));
  if (Math.hypot(...gradient) < FLAT) return [mu, logVar];
  const here = elboParts(world, mu, logVar).elbo;
  for (let rate = Math.min(1, LONGEST_MOVE / Math.hypot(...gradient)); rate > 1e-9; rate /= 2) {
    const there = [within(mu + rate * gradient[0], limits.mu), within(logVar + rate * gradient[1], limits.logVar)];
    const promised = gradient[0] * (there[0] - mu) + gradient[1] * (there[1] - logVar);
    if (promised > 0 && elboParts(world, ...there).elbo > here + 0.3 * promised) return there;
  }
  return [mu, logVar];
}

/** All places of the climb from the start to where nothing more is gained, or after so many steps. */
export function climbPath(world, start, limits, most = 300) {
  const path = [start];
  for (let i = 0; i < most; i++) {
    const next = climbStep(world, path[i], limits);
    if (next[0] === path[i][0] && next[1] === path[i][1]) break;
    path.push(next);
  }
  return path;
}
