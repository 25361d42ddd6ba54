// What the walk through a hole computes: places and densities along two paths, and a map in shades. No page, no widget.

/** The recorded point of both paths that a slider's value stands for. */
export function pointOf(value, count) {
  return Math.min(count - 1, Math.max(0, Math.round(value)));
}

/** Shades of a log-density, 0 at `low` and below, 255 at `high` and above; log is laid out [a * side + b], the picture from the top. */
export function shades(log, side, low, high) {
  const out = new Uint8ClampedArray(side * side);
  for (let a = 0; a < side; a++) {
    for (let b = 0; b < side; b++) {
      out[(side - 1 - b) * side + a] = Math.round((255 * (log[a * side + b] - low)) / (high - low));
    }
  }
  return out;
}

/** How many times rarer (or more frequent) codes are at a place than samples, in words. */
export function ratioInWords(logPrior, logAggregate) {
  const ratio = Math.exp(Math.abs(logAggregate - logPrior));
  if (ratio < 1.05) return "codes about as frequent as samples";
  const number = ratio >= 1000 ? "more than 1000" : ratio >= 10 ? ratio.toFixed(0) : ratio.toFixed(1);
  return `codes ${number} times ${logAggregate < logPrior ? "rarer" : "denser"} than samples`;
}

/** Where everything stands in a canvas of this width. */
export function arrange(width) {
  const wide = width >= 520;
  const side = wide ? Math.round(width * 0.52) : width;
  const x = wide ? side + 24 : 0;
  const rest = width - x;
  const top = 46;
  const imageTop = wide ? top : top + side + 48;
  const image = Math.round((rest - 12) / 2);
  const chartTop = imageTop + image + 62;
  const chart = { x: x + 30, y: chartTop, width: rest - 34, height: wide ? Math.max(90, top + side - chartTop) : 130 };
  const height = Math.max(top + side, chart.y + chart.height) + 40;
  return { map: { x: 0, y: top, side }, images: { x, y: imageTop, side: image }, chart, height };
}
