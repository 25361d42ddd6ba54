// What the page keeps and says of a training in the browser: its losses, its state in words, where its panels stand. No page.

const MOST = 400; // points of a curve; then neighbours are joined

/** The losses of a training: each point is the mean over the steps since the point before. */
export class LossRecord {
  constructor() {
    this.clear();
  }

  clear() {
    this.steps = [];
    this.reconstructions = [];
    this.kls = [];
    this.weights = []; // how many steps each point stands for
    this.changes = []; // steps at which a setting changed
  }

  /** Add a picture's losses; one before the first step, or one that is no number, has none. */
  add({ steps, reconstruction, kl }) {
    if (reconstruction === null || !Number.isFinite(reconstruction + kl)) return;
    this.weights.push(steps - (this.steps[this.steps.length - 1] ?? 0));
    this.steps.push(steps);
    this.reconstructions.push(reconstruction);
    this.kls.push(kl);
    if (this.steps.length > MOST) this.#join();
  }

  /** Note that a setting changed after so many steps. */
  change(step) {
    if (step > 0 && this.changes[this.changes.length - 1] !== step) this.changes.push(step);
  }

  /** Join neighbours two by two: their steps' mean loss, at the later place. */
  #join() {
    const half = this.steps.length >> 1;
    for (let i = 0; i < half; i++) {
      const [a, b] = [2 * i, 2 * i + 1];
      const weight = this.weights[a] + this.weights[b];
      for (const values of [this.reconstructions, this.kls]) {
        values[i] = (values[a] * this.weights[a] + values[b] * this.weights[b]) / weight;
      }
      this.steps[i] = this.steps[b];
      this.weights[i] = weight;
    }
    const odd = this.steps.length % 2;
    for (const values of [this.steps, this.reconstructions, this.kls, this.weights]) {
      if (odd) values[half] = values[values.length - 1];
      values.length = half + odd;
    }
  }

  /** Reconstruction + KL at each point. */
  sums() {
    return this.reconstructions.map((value, i) => value + this.kls[i]);
  }

  /** Steps on the axis: the least of 100, 200, 500, 1000, … that holds all. */
  span() {
    const last = this.steps[this.steps.length - 1] ?? 0;
    if (!(last > 100 && last < 1e300)) return 100;
    for (let power = 100; ; power *= 10) for (const factor of [1, 2, 5]) if (factor * power >= last) return factor * power;
  }
}

/** A positive number in two digits and no more zeros than it needs. */
export function shortNumber(value) {
  return String(Number(value.toPrecision(2)));
}

/** The state of a training in words. */
export function describePicture({ steps, reconstruction, kl, sigma, diverged }, { beta, noise }) {
  if (diverged) return `After ${steps} steps the loss is no number any more: training diverged. Lower the rate, then reset.`;
  const when = `${steps.toLocaleString("en")} gradient step${steps === 1 ? "" : "s"}`;
  const mean = `The encoder's σ is ${sigma >= 0.995 ? sigma.toFixed(2) : sigma.toPrecision(2)} on average.`;
  if (reconstruction === null) return `Before training. ${mean}`;
  const sum = reconstruction + kl;
  const name = noise ? "−ELBO" : "without noise no bound";
  const weighted = beta === 1 ? "" : `; minimised, with β ${beta.toFixed(2)}: ${(reconstruction + beta * kl).toFixed(1)}`;
  return `${when}: reconstruction ${reconstruction.toFixed(1)} + KL ${kl.toFixed(1)} = ${sum.toFixed(1)} nats per image (${name})${weighted}. ${mean}`;
}

/** All pairs of the given coordinates, row by row from the top left: z₂ falls, z₁ grows. */
export function gridOf(quantiles) {
  const z = new Float32Array(2 * quantiles.length ** 2);
  let at = 0;
  for (const up of [...quantiles].reverse()) for (const across of quantiles) z.set([across, up], 2 * at++);
  return z;
}

/** Where the panels stand in a canvas of this width: map and decoded images side by side, or one below the other; loss below. */
export function arrangePanels(width) {
  const title = 22;
  const note = 22;
  const axis = 38;
  const left = 34; // of an axis, for its numbers
  if (width >= 520) {
    const side = Math.floor((width - 20) / 2);
    const top = title + side + note + title;
    return {
      map: { x: 0, y: title, width: side, height: side },
      decoded: { x: width - side, y: title, width: side, height: side },
      loss: { x: left, y: top, width: width - left - 20, height: 130 },
      height: top + 130 + axis,
    };
  }
  const below = title + width + note + title;
  const side = Math.min(width, 240);
  const top = below + side + note + title;
  return {
    map: { x: 0, y: title, width, height: width },
    decoded: { x: Math.floor((width - side) / 2), y: below, width: side, height: side },
    loss: { x: left, y: top, width: width - left - 20, height: 120 },
    height: top + 120 + axis,
  };
}
