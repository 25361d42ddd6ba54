// What the map of the latent plane computes: ellipses, densities, their contours, zoom and pan. No page, no widget.

/** Points of the ellipse at k standard deviations of a diagonal Gaussian in its first two coordinates, closed. */
export function ellipse(mu, logVar, k, points = 64) {
  const [sx, sy] = [k * Math.exp(0.5 * logVar[0]), k * Math.exp(0.5 * logVar[1])];
  return Array.from({ length: points + 1 }, (_, i) => {
    const angle = (2 * Math.PI * (i % points)) / points;
    return [mu[0] + sx * Math.cos(angle), mu[1] + sy * Math.sin(angle)];
  });
}

/** Density of a normal distribution at n equal steps from start. */
function normalProfile(mu, logVar, start, step, n) {
  const scale = Math.exp(-0.5 * logVar) / Math.sqrt(2 * Math.PI);
  const precision = Math.exp(-logVar);
  return Float64Array.from({ length: n }, (_, i) => scale * Math.exp(-0.5 * precision * (start + i * step - mu) ** 2));
}

/**
 * The aggregate posterior, the mean of q(z|x) over images, on a square grid: grid {x0, y0, step, n}, value [row · n + column] stands
 * at z = (x0 + column · step, y0 + row · step). mu, logVar: pairs, one after the other. Density for each unit of area.
 */
export function aggregateDensity(mu, logVar, { x0, y0, step, n }) {
  const out = new Float32Array(n * n);
  const images = mu.length / 2;
  for (let k = 0; k < images; k++) {
    const across = normalProfile(mu[2 * k], logVar[2 * k], x0, step, n);
    const upwards = normalProfile(mu[2 * k + 1], logVar[2 * k + 1], y0, step, n);
    for (let row = 0; row < n; row++) {
      const share = upwards[row] / images;
      if (share < 1e-12) continue;
      for (let column = 0; column < n; column++) out[row * n + column] += share * across[column];
    }
  }
  return out;
}

/** The level above which a share `mass` of a density lies; values: density at cells of one size, cell: a cell's area. */
export function highestDensityLevel(values, cell, mass) {
  const sorted = Float64Array.from(values).sort().reverse();
  const wanted = mass * cell * sorted.reduce((a, b) => a + b, 0);
  let sum = 0;
  for (const value of sorted) if ((sum += cell * value) >= wanted) return value;
  return 0;
}

// Corners of a cell: 1 bottom left, 2 bottom right, 4 top right, 8 top left; edges: 0 bottom, 1 right, 2 top, 3 left.
const CELL_EDGES = [[], [[3, 0]], [[0, 1]], [[3, 1]], [[1, 2]], null, [[0, 2]], [[3, 2]], [[2, 3]], [[2, 0]], null, [[2, 1]], [[1, 3]], [[1, 0]], [[0, 3]], []];

/** The pieces of a contour in one cell: pairs of its edges; where opposite corners agree, the middle decides what is joined. */
function cellPieces([a, b, c, d], level) {
  const kind = (a >= level) + 2 * (b >= level) + 4 * (c >= level) + 8 * (d >= level);
  if (kind !== 5 && kind !== 10) return CELL_EDGES[kind];
  const joined = (a + b + c + d) / 4 >= level;
  return (kind === 5) === joined ? [[3, 2], [1, 0]] : [[3, 0], [1, 2]];
}

/** A number for each edge of the grid, the same from both of its cells, and where on it the contour passes. */
function crossing(values, n, level, row, column, edge) {
  const vertical = edge === 1 || edge === 3;
  const [r, c] = [row + (edge === 2 ? 1 : 0), column + (edge === 1 ? 1 : 0)];
  const from = values[r * n + c];
  const to = vertical ? values[(r + 1) * n + c] : values[r * n + c + 1];
  const share = (level - from) / (to - from);
  return { id: 2 * (r * n + c) + (vertical ? 1 : 0), point: vertical ? [c, r + share] : [c + share, r] };
}

/** All pieces of a contour: for each edge of the grid that it crosses, its point and the one or two edges that follow. */
function contourGraph(values, n, level) {
  const graph = new Map();
  for (let row = 0; row + 1 < n; row++) {
    for (let column = 0; column + 1 < n; column++) {
      const at = row * n + column;
      for (const piece of cellPieces([values[at], values[at + 1], values[at + n + 1], values[at + n]], level)) {
        const [a, b] = piece.map((edge) => crossing(values, n, level, row, column, edge));
        for (const [end, other] of [[a, b], [b, a]]) {
          if (!graph.has(end.id)) graph.set(end.id, { point: end.point, next: [] });
          graph.get(end.id).next.push(other.id);
        }
      }
    }
  }
  return graph;
}

/** Follow a contour from one of its edges until it ends or closes; what has been followed is taken out of the graph. */
function follow(graph, start) {
  const line = [];
  let at = start;
  while (graph.has(at)) {
    const { point, next } = graph.get(at);
    line.push(point);
    graph.delete(at);
    at = next.find((id) => graph.has(id)) ?? (line.length > 2 && next.includes(start) ? start : null);
  }
  return at === start ? [...line, line[0]] : line;
}

/**
 * Contour lines of values on a square grid (n × n, row by row, finite) at a level, by marching squares (Lorensen and Cline 1987, in the plane).
 * Returns lines of [column, row], fractions of cells allowed; a closed one ends where it begins, others end at the border.
 */
export function contours(values, n, level) {
  const graph = contourGraph(values, n, level);
  const ends = [...graph].filter(([, { next }]) => next.length === 1).map(([id]) => id);
  return [...ends, ...graph.keys()].filter((id) => graph.has(id)).map((id) => (graph.has(id) ? follow(graph, id) : [])).filter((line) => line.length > 1);
}

/**
 * Numbers for an axis from low to high: multiples of 1, 2 or 5 times a power of ten, `most` of them at most, and how many
 * digits tell them apart. However long or far away the axis is, the work is the same.
 */
export function axisTicks(low, high, most = 9) {
  const span = high - low;
  if (!(span > 0 && span < Number.MAX_VALUE)) return { step: NaN, values: [], digits: 0 };
  const power = 10 ** Math.floor(Math.log10(span / most));
  const step = [1, 2, 5, 10].find((factor) => factor * power * most >= span) * power;
  const first = Math.ceil(low / step);
  const values = [];
  for (let i = 0; i <= most; i++) {
    const value = (first + i) * step;
    if (value > high || value === values.at(-1)) break; // the same again: so far away, steps are lost in rounding
    if (value >= low) values.push(value);
  }
  return { step, values, digits: Math.min(20, Math.max(0, -Math.floor(Math.log10(step) + 1e-9))) };
}

/** A number of an axis, in few characters however large it is. */
export function tickText(value, digits) {
  const text = Math.abs(value) < 1e5 ? value.toFixed(digits) : value.toExponential(2).replace("e+", "e");
  return text.replace("-", "−");
}

/** What part of the latent plane a square map shows; each change gives a new View. Pixels run right and down, z₂ upwards. */
export class View {
  constructor({ limit, half = limit, cx = 0, cy = 0 }) {
    this.limit = limit;
    this.half = Math.min(limit, Math.max(limit / 32, half));
    const most = limit - this.half;
    this.cx = Math.min(most, Math.max(-most, cx));
    this.cy = Math.min(most, Math.max(-most, cy));
  }

  /** Pixels of a point on a map of `side` pixels. */
  toPixels(z1, z2, side) {
    return [((z1 - this.cx) / this.half + 1) * (side / 2), (1 - (z2 - this.cy) / this.half) * (side / 2)];
  }

  /** The point under a pixel. */
  toLatent(px, py, side) {
    return [this.cx + ((2 * px) / side - 1) * this.half, this.cy + (1 - (2 * py) / side) * this.half];
  }

  /** Magnify by a factor; the point under the pixel stays where it is, as far as the borders let it. */
  zoomAt(px, py, side, factor) {
    const [z1, z2] = this.toLatent(px, py, side);
    const half = Math.min(this.limit, Math.max(this.limit / 32, this.half / factor));
    return new View({ limit: this.limit, half, cx: z1 - ((2 * px) / side - 1) * half, cy: z2 - (1 - (2 * py) / side) * half });
  }

  /** Move what is shown by some pixels, as a hand moves a sheet of paper. */
  pan(dx, dy, side) {
    return new View({ limit: this.limit, half: this.half, cx: this.cx - (2 * dx * this.half) / side, cy: this.cy + (2 * dy * this.half) / side });
  }
}
