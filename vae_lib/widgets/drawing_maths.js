// From the strokes of a pen to an image as MNIST was prepared: scaled to a box of 20 × 20, centred by its centre of mass.

const DIGIT_BOX = 20 / 28; // of the image's sides: where MNIST's digits were fitted in
const PEN_SHARE = 0.125; // of a drawing's longer side: about the pen of MNIST's writers

function distanceToSegment(px, py, [ax, ay], [bx, by]) {
  const [dx, dy] = [bx - ax, by - ay];
  const length = dx * dx + dy * dy;
  const t = length ? Math.min(1, Math.max(0, ((px - ax) * dx + (py - ay) * dy) / length)) : 0;
  return Math.hypot(px - ax - t * dx, py - ay - t * dy);
}

/** Ink of one straight piece: a pixel is as dark as the round pen covers it, to within the sharpness of a pixel. */
function inkSegment(pixels, size, a, b, radius) {
  const [low, high] = [(k) => Math.max(0, Math.floor(Math.min(a[k], b[k]) - radius - 1)), (k) => Math.min(size - 1, Math.ceil(Math.max(a[k], b[k]) + radius))];
  for (let row = low(1); row <= high(1); row++) {
    for (let column = low(0); column <= high(0); column++) {
      const covered = radius + 0.5 - distanceToSegment(column + 0.5, row + 0.5, a, b);
      const at = row * size + column;
      if (covered > pixels[at]) pixels[at] = Math.min(1, covered);
    }
  }
}

/** The box around strokes: where it begins and its longer side. */
function strokeBox(strokes) {
  const sides = [0, 1].map((k) => {
    const all = strokes.flatMap((stroke) => stroke.map((point) => point[k]));
    const [low, high] = [all.reduce((a, b) => Math.min(a, b)), all.reduce((a, b) => Math.max(a, b))];
    return { middle: (low + high) / 2, length: high - low };
  });
  return { middle: sides.map((side) => side.middle), side: Math.max(sides[0].length, sides[1].length) };
}

/**
 * Draw strokes with a round pen.
 * strokes: lists of [x, y] in the drawing's square, 0 to 1, y downwards; size: pixels along a side; width: of the pen, as a share
 * of the square. Returns size × size values from 0 to 1, row by row.
 */
export function rasterise(strokes, size, width = PEN_SHARE) {
  const pixels = new Float32Array(size * size);
  for (const stroke of strokes) {
    const points = stroke.map(([x, y]) => [x * size, y * size]);
    points.forEach((point, i) => inkSegment(pixels, size, points[Math.max(0, i - 1)], point, (width * size) / 2));
  }
  return pixels;
}

/** First and last index along an axis where there is ink, or null. */
function inkBounds(pixels, width, height) {
  let [left, right, top, bottom] = [width, -1, height, -1];
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      if (!(pixels[row * width + column] > 0.25)) continue;
      [left, right] = [Math.min(left, column), Math.max(right, column)];
      [top, bottom] = [Math.min(top, row), Math.max(bottom, row)];
    }
  }
  return right < 0 ? null : { left, top, width: right - left + 1, height: bottom - top + 1 };
}

/** How much each of `from` pixels from `start` on counts in each of `to` pixels: the means of equal stretches. */
function stretches(start, from, to) {
  return Array.from({ length: to }, (_, t) => {
    const [low, high] = [(t * from) / to, ((t + 1) * from) / to];
    const weights = [];
    for (let k = Math.floor(low); k < high; k++) weights.push([start + k, (Math.min(k + 1, high) - Math.max(k, low)) / (high - low)]);
    return weights;
  });
}

/** Shrink (or enlarge) a part of an image: each new pixel is the mean of the area that it stands for. */
function resample(pixels, stride, bounds, width, height) {
  const [rows, columns] = [stretches(bounds.top, bounds.height, height), stretches(bounds.left, bounds.width, width)];
  return rows.map((row) => columns.map((column) => {
    let sum = 0;
    for (const [r, v] of row) for (const [c, w] of column) sum += v * w * pixels[r * stride + c];
    return sum;
  }));
}

/** The whole number of pixels by which a digit is moved, so that its centre of mass comes to the middle and all of it stays inside. */
function placeByMass(profile, size) {
  const mass = profile.reduce((a, b) => a + b);
  const centre = profile.reduce((sum, value, i) => sum + value * i, 0) / mass;
  return Math.min(size - profile.length, Math.max(0, Math.round(size / 2 - centre)));
}

/**
 * Prepare a drawing as MNIST's images were: what is drawn is scaled to a box of 20 × 20, its proportions kept, grey where a pixel is
 * partly covered, and placed in 28 × 28 with its centre of mass in the middle (LeCun, Cortes and Burges, "The MNIST database").
 * pixels: width × height values from 0 to 1, row by row. Returns the image, row by row, or null if nothing is drawn.
 */
export function normaliseDigit(pixels, width, height, shape = { width: 28, height: 28 }) {
  const bounds = inkBounds(pixels, width, height);
  if (!bounds) return null;
  const scale = Math.min((DIGIT_BOX * shape.width) / bounds.width, (DIGIT_BOX * shape.height) / bounds.height);
  const [w, h] = [bounds.width, bounds.height].map((side) => Math.max(1, Math.round(scale * side)));
  const digit = resample(pixels, width, bounds, w, h);
  const top = placeByMass(digit.map((row) => row.reduce((a, b) => a + b)), shape.height);
  const left = placeByMass(digit[0].map((_, c) => digit.reduce((sum, row) => sum + row[c], 0)), shape.width);
  const image = new Float32Array(shape.width * shape.height);
  digit.forEach((row, r) => image.set(row, (top + r) * shape.width + left));
  return image;
}

/**
 * Strokes as the encoder wants to see them: drawn large or small, with a pen that suits their size, then prepared as MNIST was.
 * strokes as for rasterise. Returns the image, row by row, or null if nothing is drawn.
 */
export function digitOfStrokes(strokes, shape = { width: 28, height: 28 }) {
  const drawn = strokes.filter((stroke) => stroke.length);
  if (!drawn.length) return null;
  const { middle, side } = strokeBox(drawn);
  const scale = 0.8 / Math.max(side, 0.05); // a dot stays a dot
  const large = drawn.map((stroke) => stroke.map((point) => point.map((value, k) => 0.5 + scale * (value - middle[k]))));
  const size = 8 * Math.max(shape.width, shape.height);
  return normaliseDigit(rasterise(large, size, 0.8 * PEN_SHARE), size, size, shape);
}
