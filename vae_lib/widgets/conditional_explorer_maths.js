// A conditional decoder's arithmetic: the label joins z as a one-hot vector. No page, no widget: Node tests it as it is.
import { forward } from "./network.js";

/** Input of the decoder: z, then 1 in the place of the label and 0 in the others. */
export function withLabel(z, label, classes) {
  const input = new Float32Array(z.length + classes);
  input.set(z);
  input[z.length + label] = 1;
  return input;
}

/** Logits of one z under each label; arrays of their own, in the order of the labels. */
export function everyLabel(layers, z, classes) {
  return Array.from({ length: classes }, (_, label) => forward(layers, withLabel(z, label, classes)).slice());
}

/** Columns of a strip of `count` pictures, so that one is at least `least` wide: all of them, half, or fewer. */
export function columnsFor(count, width, least) {
  let columns = count;
  while (columns > 1 && width / columns < least) columns = Math.ceil(columns / 2);
  return columns;
}

/** Which picture of a strip lies under a point given in shares of the strip's width and height; −1 for none. */
export function pictureAt(x, y, count, columns) {
  const rows = Math.ceil(count / columns);
  if (!(x >= 0 && x < 1 && y >= 0 && y < 1)) return -1;
  const at = Math.floor(y * rows) * columns + Math.floor(x * columns);
  return at < count ? at : -1;
}
