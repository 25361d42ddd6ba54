// Cubic interpolation on a grid. No page, no widget.

/** Four weights of the cubic through four equally spaced values (Catmull–Rom). */
export function cubicWeights(t) {
  return [((2 - t) * t - 1) * t, (3 * t - 5) * t * t + 2, ((4 - 3 * t) * t + 1) * t, (t - 1) * t * t].map((weight) => weight / 2);
}

/**
 * Values between those of a grid, [row · columns + column]; down, across: where to read them, in steps of the grid. Nearly exact where
 * the values are nearly a parabola, as a log density is around its peak: what is drawn from them looks smooth. Beyond the grid the
 * values at its border go on.
 */
export function interpolate(values, [rows, columns], down, across) {
  const along = (places, n) => places.map((place) => {
    const i = Math.floor(place);
    return { weights: cubicWeights(place - i), from: [-1, 0, 1, 2].map((a) => Math.min(n - 1, Math.max(0, i + a))) };
  });
  const wide = new Float64Array(rows * across.length);
  along(across, columns).forEach(({ weights, from }, c) => {
    for (let r = 0; r < rows; r++) wide[r * across.length + c] = weights.reduce((sum, weight, a) => sum + weight * values[r * columns + from[a]], 0);
  });
  const out = new Float32Array(down.length * across.length);
  along(down, rows).forEach(({ weights, from }, r) => {
    for (let c = 0; c < across.length; c++) out[r * across.length + c] = weights.reduce((sum, weight, a) => sum + weight * wide[from[a] * across.length + c], 0);
  });
  return out;
}
