// Dense networks in plain JavaScript: unpack their weights, run the layers. No page, no widget: Node tests it as it is.

import { demand, wholeNumber } from "./checks.js";

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

/** Bytes of a layer: float16 kernel and bias, or for each unit its width in bits, step and bias, and then all whole numbers. */
function bytesOfLayer({ inputs, outputs, rounded }, view, at) {
  if (!rounded) return 2 * (inputs + 1) * outputs;
  let bits = 0;
  for (let j = 0; j < outputs && at + j < view.byteLength; j++) bits += inputs * view.getUint8(at + j);
  return 9 * outputs + Math.ceil(bits / 8);
}

/** Whole numbers of some bits each, the lowest bits first, in two's complement, times a step: a unit's incoming weights. */
function readRounded({ inputs, outputs }, view, at) {
  const kernel = new Float32Array(inputs * outputs);
  const bias = Float32Array.from({ length: outputs }, (_, j) => view.getFloat32(at + 5 * outputs + 4 * j, true));
  let next = at + 9 * outputs;
  let held = 0;
  let count = 0;
  for (let j = 0; j < outputs; j++) {
    const width = view.getUint8(at + j);
    const step = view.getFloat32(at + outputs + 4 * j, true);
    for (let i = 0; i < inputs; i++) {
      for (; count < width; count += 8) held |= view.getUint8(next++) << count;
      kernel[i * outputs + j] = ((held << (32 - width)) >> (32 - width)) * step;
      held >>>= width;
      count -= width;
    }
  }
  return { kernel, bias };
}

function readHalves({ inputs, outputs }, view, at) {
  const size = inputs * outputs;
  const all = float16ToFloat32(new DataView(view.buffer, view.byteOffset + at, 2 * (size + outputs)));
  return { kernel: all.subarray(0, size), bias: all.subarray(size) };
}

/**
 * Lay out packed weights as layers.
 * shapes: [{inputs, outputs, activation, rounded}], activation "relu" or "linear"; view: what pack.py has made of the weights.
 * Throws an Error that says what was expected and what came.
 */
export function unpackLayers(shapes, view) {
  demand(shapes == null || Array.isArray(shapes), "a list of layers", shapes);
  for (const [n, { inputs, outputs, activation }] of (shapes ?? []).entries()) {
    for (const size of [inputs, outputs]) wholeNumber(`size of layer ${n + 1}`, size);
    demand(["relu", "linear"].includes(activation), `relu or linear as activation of layer ${n + 1}`, activation);
  }
  let at = 0;
  const starts = (shapes ?? []).map((shape) => (at += view ? bytesOfLayer(shape, view, at) : 1) && at);
  if (!starts.length || !view || view.byteLength !== at) {
    throw new Error(`expected the weights of ${starts.length} layers in ${view ? at : "some"} bytes, got ${view ? view.byteLength : 0} bytes`);
  }
  return shapes.map((shape, n) => {
    const start = n ? starts[n - 1] : 0;
    const { kernel, bias } = (shape.rounded ? readRounded : readHalves)(shape, view, start);
    return { ...shape, kernel, bias, result: new Float32Array(shape.outputs), used: new Int32Array(shape.inputs) };
  });
}

/** Add four of a kernel's rows at a time to the result: one read and write of the result for four products. */
export function addRows({ inputs, outputs, kernel, result, used }, x) {
  let count = 0;
  for (let i = 0; i < inputs; i++) if (x[i] !== 0) used[count++] = i; // after a relu about half are 0, and most pixels
  let n = 0;
  for (; n + 3 < count; n += 4) {
    const [a, b, c, d] = [used[n], used[n + 1], used[n + 2], used[n + 3]];
    const [xa, xb, xc, xd] = [x[a], x[b], x[c], x[d]];
    const [ra, rb, rc, rd] = [a * outputs, b * outputs, c * outputs, d * outputs];
    for (let j = 0; j < outputs; j++) {
      result[j] += xa * kernel[ra + j] + xb * kernel[rb + j] + xc * kernel[rc + j] + xd * kernel[rd + j];
    }
  }
  for (; n < count; n++) {
    const xn = x[used[n]];
    const row = used[n] * outputs;
    for (let j = 0; j < outputs; j++) result[j] += xn * kernel[row + j];
  }
}

/** Run the layers on one input vector; the array that is returned is reused by the next call. */
export function forward(layers, input) {
  let x = input;
  for (const layer of layers) {
    const { activation, bias, result } = layer;
    result.set(bias);
    addRows(layer, x);
    if (activation === "relu") for (let j = 0; j < result.length; j++) if (result[j] < 0) result[j] = 0;
    x = result;
  }
  return x;
}

/** Lay out a packed encoder: shapes as in unpackLayers, the last two are the heads of mu and of log_var, side by side. */
export function unpackEncoder(shapes, view) {
  const layers = unpackLayers(shapes, view);
  if (layers.length < 2 || layers.at(-1).outputs !== layers.at(-2).outputs || layers.at(-1).inputs !== layers.at(-2).inputs) {
    throw new Error("expected an encoder that ends in two layers of one shape, for mu and log_var");
  }
  return { trunk: layers.slice(0, -2), heads: layers.slice(-2), inputs: layers[0].inputs, latentDim: layers.at(-1).outputs };
}

/** The encoder's q(z|x) for one image of pixels in [0, 1]: mu and logVar, fresh arrays (latent_dim). */
export function encode({ trunk, heads, inputs }, x) {
  if (x.length !== inputs) throw new Error(`expected an image of ${inputs} pixels, got ${x.length}`);
  const hidden = forward(trunk, x);
  const [mu, logVar] = heads.map((head) => Float32Array.from(forward([head], hidden)));
  return { mu, logVar };
}

/** The logistic function. */
export function sigmoid(x) {
  return 1 / (1 + Math.exp(-x));
}
