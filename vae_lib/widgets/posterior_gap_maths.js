// What the posterior gap computes: a Gaussian's divergence from a posterior that is known on a grid. No page, no widget.
import { demand, finiteNumber, wholeNumber } from "./checks.js";
import { interpolate } from "./cubic.js";

const LOG_2PI = Math.log(2 * Math.PI);

/** Cut packed numbers into one grid for each image. windows: [{left, bottom, columns, rows}]; view: little-endian float32. */
export function unpackWindows(windows, step, view) {
  demand(Array.isArray(windows) && windows.length > 0, "one window at least", windows);
  finiteNumber("step", step, Number.MIN_VALUE);
  for (const { left, bottom, columns, rows } of windows) {
    for (const place of [left, bottom]) finiteNumber("a window's corner", place);
    for (const cells of [columns, rows]) wholeNumber("a window's cells", cells, 1, 4096);
  }
  const expected = windows.reduce((sum, { columns, rows }) => sum + columns * rows, 0);
  if (!view || view.byteLength !== 4 * expected) {
    throw new Error(`expected ${expected} densities of four bytes, got ${view ? view.byteLength : 0} bytes`);
  }
  let at = 0;
  return windows.map((window) => {
    const logDensity = new Float32Array(window.columns * window.rows);
    for (let i = 0; i < logDensity.length; i++, at += 4) logDensity[i] = view.getFloat32(at, true);
    return { ...window, step, logDensity }; // [a * rows + b] is at z = (left + a step, bottom + b step)
  });
}

/** The same part of the plane in finer cells, `least` or more along its longer side, for a picture of a posterior narrow beside the grid. */
export function refined({ left, bottom, columns, rows, step, logDensity }, least) {
  const times = Math.ceil(least / Math.max(columns, rows));
  const fine = step / times;
  const places = (n) => Array.from({ length: n * times }, (_, k) => (k + 0.5) / times - 0.5);
  const shift = (fine - step) / 2; // from the middle of a cell to that of the first in it
  return {
    left: left + shift,
    bottom: bottom + shift,
    columns: columns * times,
    rows: rows * times,
    step: fine,
    logDensity: interpolate(logDensity, [columns, rows], places(columns), places(rows)),
  };
}

/** Shares of a Gaussian at equally spaced points. */
export function weights(start, step, count, mu, logVar) {
  const out = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const away = start + i * step - mu;
    out[i] = step * Math.exp(-0.5 * (LOG_2PI + logVar + away * away * Math.exp(-logVar)));
  }
  return out;
}

/** KL[q ‖ posterior] in nats by the trapezoid rule: −entropy of q − E_q[log posterior]. q: {mu: [z₁, z₂], logVar: [z₁, z₂]}. */
export function klToPosterior({ left, bottom, columns, rows, step, logDensity }, { mu, logVar }) {
  const across = weights(left, step, columns, mu[0], logVar[0]);
  const up = weights(bottom, step, rows, mu[1], logVar[1]);
  let cross = 0;
  for (let a = 0; a < columns; a++) {
    let column = 0;
    for (let b = 0; b < rows; b++) column += up[b] * logDensity[a * rows + b];
    cross += across[a] * column;
  }
  return -(1 + LOG_2PI) - 0.5 * (logVar[0] + logVar[1]) - cross;
}

/** The Gaussian on the straight way from one (share 0) through another (share 1) and beyond: means and log-variances move evenly. */
export function gaussianAt(from, to, share) {
  const blend = (a, b) => a.map((value, i) => value + share * (b[i] - value));
  return { mu: blend(from.mu, to.mu), logVar: blend(from.logVar, to.logVar) };
}

/** For each mass the density above which that share of the posterior lies, as a logarithm. */
export function contourLevels({ step, logDensity }, masses) {
  const sorted = Float32Array.from(logDensity).sort().reverse();
  const levels = [];
  let total = 0;
  for (let i = 0; i < sorted.length && levels.length < masses.length; i++) {
    total += step * step * Math.exp(sorted[i]);
    while (levels.length < masses.length && total >= masses[levels.length]) levels.push(sorted[i]);
  }
  while (levels.length < masses.length) levels.push(sorted[sorted.length - 1]);
  return levels;
}

/** In how many of the nested regions each point lies: 0 outside of all; row by row from the top, as pictures are. */
export function regions({ columns, rows, logDensity }, levels) {
  const out = new Uint8Array(columns * rows);
  for (let a = 0; a < columns; a++) {
    for (let b = 0; b < rows; b++) {
      out[(rows - 1 - b) * columns + a] = levels.filter((level) => logDensity[a * rows + b] >= level).length;
    }
  }
  return out;
}
