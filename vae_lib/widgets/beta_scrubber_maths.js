// What the beta scrubber computes: words for a beta, and the line of equal loss through a point. No page, no widget.

/** A beta in as few digits as it has, fractions included: 0.25, 1, 784. */
export function betaText(beta) {
  return String(Number(beta.toPrecision(3)));
}

/** The number of the model that a slider's value stands for. */
export function chosen(value, count) {
  return Math.min(count - 1, Math.max(0, Math.round(value)));
}

/** Where distortion + beta · rate is the same as at a point: the distortion at another rate. */
export function equalLoss(beta, { rate, distortion }, atRate) {
  return distortion - beta * (atRate - rate);
}

/** Limits of an axis that holds all values, with a margin on both sides. */
export function span(values, margin = 0.08) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = margin * (high - low || 1);
  return [low - room, high + room];
}

/** A model's numbers in words. */
export function betaInWords(beta, { rate, distortion }) {
  const [r, d, sum, weighted] = [rate, distortion, rate + distortion, distortion + beta * rate].map((value) => value.toFixed(1));
  return [
    `β = ${betaText(beta)}: rate ${r} nats (the KL), distortion ${d} nats (the reconstruction cost).`,
    `What it was trained on: ${d} + ${betaText(beta)} · ${r} = ${weighted}. Its −ELBO: ${d} + ${r} = ${sum} nats per image.`,
  ];
}
