// Dense networks in plain JavaScript: unpack float16 weights, run the layers. No page, no widget: Node tests it as it is.

/** Read little-endian IEEE 754 half-precision numbers; view is a DataView. */
export function float16ToFloat32(view) {
  const out = new Float32Array(view.byteLength >> 1);
  for (let i = 0; i < out.length; i++) {
    const bits = view.getUint16(2 * i, true);
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 0x1f;
    const fraction = bits & 0x3ff;
    if (exponent === 0) out[i] = sign * fraction * 2 ** -24;
    else if (exponent === 31) out[i] = fraction ? NaN : sign * Infinity;
    else out[i] = sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
  }
  return out;
}

/**
 * Lay out packed weights as layers.
 * shapes: [{inputs, outputs, activation}], activation "relu" or "linear"; view: for each layer its kernel, row by row
 * (inputs × outputs), then its bias. Throws an Error that says what was expected and what came.
 */
export function unpackLayers(shapes, view) {
  const expected = shapes.reduce((sum, s) => sum + (s.inputs + 1) * s.outputs, 0);
  if (!shapes.length || !view || view.byteLength !== 2 * expected) {
    throw new Error(`expected ${expected} weights of two bytes, got ${view ? view.byteLength : 0} bytes`);
  }
  const all = float16ToFloat32(view);
  let at = 0;
  return shapes.map(({ inputs, outputs, activation }) => {
    const kernel = all.subarray(at, (at += inputs * outputs));
    const bias = all.subarray(at, (at += outputs));
    return { inputs, outputs, activation, kernel, bias, result: new Float32Array(outputs) };
  });
}

/** Run the layers on one input vector; the array that is returned is reused by the next call. */
export function forward(layers, input) {
  let x = input;
  for (const { inputs, outputs, activation, kernel, bias, result } of layers) {
    result.set(bias);
    for (let i = 0; i < inputs; i++) {
      const xi = x[i];
      if (xi === 0) continue; // after a relu about half are
      const row = i * outputs;
      for (let j = 0; j < outputs; j++) result[j] += xi * kernel[row + j];
    }
    if (activation === "relu") for (let j = 0; j < outputs; j++) if (result[j] < 0) result[j] = 0;
    x = result;
  }
  return x;
}

/** The logistic function. */
export function sigmoid(x) {
  return 1 / (1 + Math.exp(-x));
}
