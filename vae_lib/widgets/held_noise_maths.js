// The gradient of E f(z), z ~ N(mu, exp(logVar)), exactly and estimated from held noise eps. No DOM.
// The target is f(z) = z²/4 + sin 2z, whose expectation has a closed form.

/** f(z). */
export function target(z) {
  return 0.25 * z * z + Math.sin(2 * z);
}

/** f′(z). */
export function slope(z) {
  return 0.5 * z + 2 * Math.cos(2 * z);
}

/** E f(z) = (mu² + σ²)/4 + exp(−2σ²) sin 2mu. */
export function expectation(mu, logVar) {
  const variance = Math.exp(logVar);
  return 0.25 * (mu * mu + variance) + Math.exp(-2 * variance) * Math.sin(2 * mu);
}

/** The gradient of E f(z) with respect to mu and logVar. */
export function exactGradient(mu, logVar) {
  const variance = Math.exp(logVar);
  const damped = Math.exp(-2 * variance);
  return {
    mu: 0.5 * mu + 2 * damped * Math.cos(2 * mu),
    logVar: variance * (0.25 - 2 * damped * Math.sin(2 * mu)),
  };
}

/** z = mu + σ eps for each eps. */
export function samples(mu, logVar, eps) {
  const sigma = Math.exp(0.5 * logVar);
  return eps.map((noise) => mu + sigma * noise);
}

/** What each sample says about the gradient: by its slope, and by its value and the score of q. */
export function contributions(mu, logVar, eps) {
  const sigma = Math.exp(0.5 * logVar);
  const z = samples(mu, logVar, eps);
  return {
    slope: { mu: z.map(slope), logVar: z.map((point, i) => slope(point) * 0.5 * sigma * eps[i]) },
    score: {
      mu: z.map((point, i) => (target(point) * eps[i]) / sigma),
      logVar: z.map((point, i) => target(point) * 0.5 * (eps[i] ** 2 - 1)),
    },
  };
}

/** The mean of some numbers. */
export function mean(numbers) {
  return numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
}

/** Uniform numbers in [0, 1), always the same for one seed (mulberry32). */
export function uniforms(count, seed) {
  let state = seed >>> 0;
  return Array.from({ length: count }, () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  });
}

/** Standard normal numbers for a seed, by Box and Muller's transformation. */
export function normals(count, seed) {
  const u = uniforms(2 * count, seed);
  return Array.from({ length: count }, (_, i) => Math.sqrt(-2 * Math.log(1 - u[2 * i])) * Math.cos(2 * Math.PI * u[2 * i + 1]));
}
