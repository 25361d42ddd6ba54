// What the training scrubber computes: between two snapshots everything moves on a straight line. No page, no widget.

/** Little-endian 16-bit whole numbers as coordinates; ±32767 stands for ±reach. view is a DataView. */
export function unpackCodes(view, reach, expected) {
  if (!view || view.byteLength !== 2 * expected) {
    throw new Error(`expected ${expected} coordinates of two bytes, got ${view ? view.byteLength : 0} bytes`);
  }
  const out = new Float32Array(expected);
  for (let i = 0; i < expected; i++) out[i] = (view.getInt16(2 * i, true) / 32767) * reach;
  return out;
}

/** The two snapshots around a moment, 0 to count − 1, and how far it lies from the first to the second. */
export function between(moment, count) {
  const inside = Math.min(Math.max(moment, 0), count - 1);
  const from = Math.min(Math.floor(inside), Math.max(count - 2, 0));
  return { from, to: Math.min(from + 1, count - 1), share: inside - from };
}

/** A number between two others. */
export function blend(a, b, share) {
  return (1 - share) * a + share * b;
}

/** Write the values of a moment to out; all holds the snapshots one after the other, each as long as out. */
export function blendInto(out, all, { from, to, share }) {
  const a = from * out.length;
  const b = to * out.length;
  for (let i = 0; i < out.length; i++) out[i] = blend(all[a + i], all[b + i], share);
  return out;
}

/** A measured value at a moment; null where either neighbour that counts has none. */
export function valueAt(values, { from, to, share }) {
  if (share === 0) return values[from];
  if (share === 1) return values[to];
  return values[from] === null || values[to] === null ? null : blend(values[from], values[to], share);
}

/** Whether a moment is one that was recorded, and not one between two. */
export function isRecorded({ share }) {
  return share < 1e-6 || share > 1 - 1e-6;
}

/** A number of epochs in as few digits as tell it from its neighbours. */
export function epochText(epoch) {
  return String(Number(epoch.toPrecision(epoch < 1 ? 1 : 3)));
}

/** The moment in words: where in the training, and what the model cost there; ≈ where it lies between two snapshots. */
export function describe(epochs, trainLoss, testLoss, place) {
  const epoch = valueAt(epochs, place);
  const about = isRecorded(place) ? "" : "≈ ";
  const train = valueAt(trainLoss, place);
  const when = epoch === 0 ? "Before training" : `${about || "After "}${epochText(epoch)} epoch${epoch === 1 ? "" : "s"}`;
  const trained = train === null ? "no training loss yet" : `training loss ${about}${train.toFixed(1)}`;
  return `${when}: ${trained}, test loss ${about}${valueAt(testLoss, place).toFixed(1)} nats per image`;
}

/** Where playing stands after some seconds: a snapshot takes `each` seconds. */
export function played(start, seconds, each, last) {
  return Math.min(last, start + seconds / each);
}

/** Grey levels of images as one RGBA picture, `columns` of them in each row. */
export function mosaic(levels, [height, width], columns) {
  const size = height * width;
  const rows = Math.ceil(levels.length / size / columns);
  const rgba = new Uint8ClampedArray(4 * rows * columns * size).fill(0);
  const stride = columns * width;
  for (let i = 0; i < levels.length; i++) {
    const image = Math.floor(i / size);
    const y = Math.floor(image / columns) * height + Math.floor((i % size) / width);
    const x = (image % columns) * width + (i % width);
    const at = 4 * (y * stride + x);
    rgba[at] = rgba[at + 1] = rgba[at + 2] = levels[i];
    rgba[at + 3] = 255;
  }
  return { rgba, width: stride, height: rows * height };
}

/** Where everything stands in a canvas of this width: plane, decoded images and loss, side by side or one below the other. */
export function arrange(width, aspect) {
  const title = 22;
  const axis = 38; // ticks and label below an axis
  if (width >= 520) {
    const side = Math.round(width * 0.57);
    const rest = width - side - 24;
    const tall = Math.min(Math.round(rest / aspect), side - 90);
    const chart = { x: side + 24 + 34, y: 2 * title + tall + 10, width: rest - 40, height: side - tall - 10 - title };
    return {
      plane: { x: 0, y: title, width: side, height: side },
      images: { x: side + 24, y: title, width: Math.round(tall * aspect), height: tall },
      chart,
      height: title + side + axis,
    };
  }
  const half = Math.round(width * 0.46);
  const top = title + width + axis + title;
  return {
    plane: { x: 0, y: title, width, height: width },
    images: { x: 0, y: top, width: half, height: Math.round(half / aspect) },
    chart: { x: half + 44, y: top, width: width - half - 50, height: Math.max(80, Math.round(half / aspect)) },
    height: top + Math.max(80, Math.round(half / aspect)) + axis,
  };
}
