// KL divergences between q = N(mu, exp(logVar)) and p = N(0, 1) in one dimension, in nats. No DOM.

const LOG_2PI = Math.log(2 * Math.PI);

/** log N(z; mu, exp(logVar)). */
export function logDensity(z, mu, logVar) {
  return -0.5 * (LOG_2PI + logVar + (z - mu) ** 2 * Math.exp(-logVar));
}

/** KL[q ‖ p] and its two parts: what the mean costs, ½ mu², and what the spread costs, ½ (σ² − 1 − log σ²). */
export function klParts(mu, logVar) {
  const mean = 0.5 * mu * mu;
  const spread = 0.5 * (Math.expm1(logVar) - logVar); // expm1: no digits are lost near logVar = 0
  return { mean, spread, total: mean + spread };
}

/** KL[p ‖ q], likewise: ½ mu²/σ², and ½ (1/σ² − 1 + log σ²). */
export function reversedKlParts(mu, logVar) {
  const mean = 0.5 * mu * mu * Math.exp(-logVar);
  const spread = 0.5 * (Math.expm1(-logVar) + logVar);
  return { mean, spread, total: mean + spread };
}

/** What KL[q ‖ p] integrates: q log(q/p) at z. */
export function integrand(z, mu, logVar) {
  const logQ = logDensity(z, mu, logVar);
  return Math.exp(logQ) * (logQ - logDensity(z, 0, 0));
}

/** What KL[p ‖ q] integrates: p log(p/q) at z. */
export function reversedIntegrand(z, mu, logVar) {
  const logP = logDensity(z, 0, 0);
  return Math.exp(logP) * (logP - logDensity(z, mu, logVar));
}

/** Evenly spaced numbers, both ends included. */
export function linspace(from, to, count) {
  return Array.from({ length: count }, (_, i) => from + ((to - from) * i) / (count - 1));
}

/** Areas of a function above and below zero (both ≥ 0) on an interval, by the trapezoid rule. */
export function areas(f, from, to, count = 4001) {
  const step = (to - from) / (count - 1);
  let above = 0;
  let below = 0;
  linspace(from, to, count).forEach((z, i) => {
    const value = f(z) * step * (i === 0 || i === count - 1 ? 0.5 : 1);
    if (value > 0) above += value;
    else below -= value;
  });
  return { above, below };
}

/** Areas of both integrands over ten standard deviations to each side of the density that weighs them: all but 1e-20. */
export function integrandAreas(mu, logVar) {
  const reach = 10 * Math.exp(0.5 * logVar);
  return {
    forward: areas((z) => integrand(z, mu, logVar), mu - reach, mu + reach),
    reversed: areas((z) => reversedIntegrand(z, mu, logVar), -10, 10),
  };
}
