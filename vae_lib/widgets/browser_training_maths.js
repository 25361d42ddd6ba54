// A small variational autoencoder and its training in plain JavaScript: pixels → relu → (mu, log_var) → z → relu → logits.
// Minimised is the mean over the batch of reconstruction + beta · KL, nats per image; each is summed, over pixels and over
// latent dimensions. The gradients are derived by hand. Matrices lie row by row, (inputs, outputs); a step allocates nothing.
// No page, no widget, no worker.

/** xoshiro128** (Blackman and Vigna 2021), seeded by splitmix32: uniform numbers, normal ones, and shuffles. */
export class Random {
  constructor(seed) {
    this.state = new Uint32Array(4);
    let word = seed >>> 0;
    for (let i = 0; i < 4; i++) {
      word = (word + 0x9e3779b9) >>> 0;
      let mixed = Math.imul(word ^ (word >>> 16), 0x21f0aaad);
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
      this.state[i] = mixed ^ (mixed >>> 15);
    }
    this.spare = NaN; // normal numbers come in pairs
  }

  /** A whole number from 0 to 2³² − 1. */
  word() {
    const s = this.state;
    const scrambled = Math.imul(s[1], 5);
    const result = Math.imul((scrambled << 7) | (scrambled >>> 25), 9) >>> 0;
    const shifted = s[1] << 9;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = (s[3] << 11) | (s[3] >>> 21);
    return result;
  }

  /** A number in (0, 1). */
  uniform() {
    return (this.word() + 0.5) / 4294967296;
  }

  /** A standard normal number (Box and Muller 1958). */
  normal() {
    if (!Number.isNaN(this.spare)) {
      const kept = this.spare;
      this.spare = NaN;
      return kept;
    }
    const radius = Math.sqrt(-2 * Math.log(this.uniform()));
    const angle = 2 * Math.PI * this.uniform();
    this.spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /** Put an array in random order, in place (Fisher and Yates). */
  shuffle(array) {
    for (let i = array.length - 1; i > 0; i--) {
      const j = Math.floor(this.uniform() * (i + 1));
      const kept = array[i];
      array[i] = array[j];
      array[j] = kept;
    }
  }
}

/**
 * out = x · kernel + bias for the first `count` rows of x. Zeros are left out: most pixels, and half of what a relu lets through.
 * The others are taken four at a time, so that each sum in memory is read and written once for four products.
 */
function affine(out, x, count, { inputs, outputs, kernel, bias, chosen }) {
  for (let b = 0; b < count; b++) {
    const to = b * outputs;
    const from = b * inputs;
    let n = 0;
    for (let i = 0; i < inputs; i++) if (x[from + i] !== 0) chosen[n++] = i;
    for (let j = 0; j < outputs; j++) out[to + j] = bias[j];
    let k = 0;
    for (; k + 3 < n; k += 4) {
      const [x0, x1, x2, x3] = [x[from + chosen[k]], x[from + chosen[k + 1]], x[from + chosen[k + 2]], x[from + chosen[k + 3]]];
      const [r0, r1, r2, r3] = [chosen[k] * outputs, chosen[k + 1] * outputs, chosen[k + 2] * outputs, chosen[k + 3] * outputs];
      for (let j = 0; j < outputs; j++) {
        out[to + j] += x0 * kernel[r0 + j] + x1 * kernel[r1 + j] + x2 * kernel[r2 + j] + x3 * kernel[r3 + j];
      }
    }
    for (; k < n; k++) {
      const value = x[from + chosen[k]];
      const row = chosen[k] * outputs;
      for (let j = 0; j < outputs; j++) out[to + j] += value * kernel[row + j];
    }
  }
}

function relu(values, count) {
  for (let i = 0; i < count; i++) if (values[i] < 0) values[i] = 0;
}

/** Add to a layer's gradients what `delta`, the gradient of its outputs, makes of its inputs x: xᵀ · delta, four images at a time. */
function addGradients({ inputs, outputs, kernelGradient, biasGradient, chosen }, x, delta, count) {
  for (let b = 0; b < count; b++) for (let j = 0; j < outputs; j++) biasGradient[j] += delta[b * outputs + j];
  for (let i = 0; i < inputs; i++) {
    const row = i * outputs;
    let n = 0;
    for (let b = 0; b < count; b++) if (x[b * inputs + i] !== 0) chosen[n++] = b;
    let k = 0;
    for (; k + 3 < n; k += 4) {
      const [b0, b1, b2, b3] = [chosen[k], chosen[k + 1], chosen[k + 2], chosen[k + 3]];
      const [x0, x1, x2, x3] = [x[b0 * inputs + i], x[b1 * inputs + i], x[b2 * inputs + i], x[b3 * inputs + i]];
      const [d0, d1, d2, d3] = [b0 * outputs, b1 * outputs, b2 * outputs, b3 * outputs];
      for (let j = 0; j < outputs; j++) {
        kernelGradient[row + j] += x0 * delta[d0 + j] + x1 * delta[d1 + j] + x2 * delta[d2 + j] + x3 * delta[d3 + j];
      }
    }
    for (; k < n; k++) {
      const value = x[chosen[k] * inputs + i];
      const from = chosen[k] * outputs;
      for (let j = 0; j < outputs; j++) kernelGradient[row + j] += value * delta[from + j];
    }
  }
}

/** Add to `out` the gradient of a layer's inputs, delta · kernelᵀ, where `gate` is above zero: the gradient of a relu. */
function addInputGradients(out, { inputs, outputs, kernel, chosen }, delta, count, gate) {
  for (let b = 0; b < count; b++) {
    const from = b * outputs;
    const to = b * inputs;
    let n = 0;
    for (let i = 0; i < inputs; i++) if (gate[to + i] > 0) chosen[n++] = i;
    let k = 0;
    for (; k + 3 < n; k += 4) {
      const [r0, r1, r2, r3] = [chosen[k] * outputs, chosen[k + 1] * outputs, chosen[k + 2] * outputs, chosen[k + 3] * outputs];
      let s0 = 0, s1 = 0, s2 = 0, s3 = 0;
      for (let j = 0; j < outputs; j++) {
        const d = delta[from + j];
        s0 += d * kernel[r0 + j];
        s1 += d * kernel[r1 + j];
        s2 += d * kernel[r2 + j];
        s3 += d * kernel[r3 + j];
      }
      out[to + chosen[k]] += s0;
      out[to + chosen[k + 1]] += s1;
      out[to + chosen[k + 2]] += s2;
      out[to + chosen[k + 3]] += s3;
    }
    for (; k < n; k++) {
      const row = chosen[k] * outputs;
      let sum = 0;
      for (let j = 0; j < outputs; j++) sum += delta[from + j] * kernel[row + j];
      out[to + chosen[k]] += sum;
    }
  }
}

/** The five layers as views into one array of weights and one of gradients, in the order of Keras's trainable variables. */
function layersOf({ pixels, hidden, latent, batch, weights, gradients }) {
  let at = 0;
  const take = (length) => [weights.subarray(at, at + length), gradients.subarray(at, (at += length))];
  const layer = (inputs, outputs) => {
    const [kernel, kernelGradient] = take(inputs * outputs);
    const [bias, biasGradient] = take(outputs);
    const chosen = new Uint32Array(Math.max(inputs, batch)); // which inputs, or images, are not zero
    return { inputs, outputs, kernel, bias, kernelGradient, biasGradient, chosen };
  };
  return {
    encoder: layer(pixels, hidden),
    mu: layer(hidden, latent),
    logVar: layer(hidden, latent),
    decoder: layer(latent, hidden),
    logits: layer(hidden, pixels),
  };
}

/** The network with its weights, gradients, Adam's moments, and room for a batch; Real is the type of its arrays. */
export class Network {
  constructor({ pixels, hidden, latent = 2, batch, Real = Float32Array }) {
    Object.assign(this, { pixels, hidden, latent, batch });
    this.size = (pixels + 1) * hidden + 2 * (hidden + 1) * latent + (latent + 1) * hidden + (hidden + 1) * pixels;
    for (const name of ["weights", "gradients", "means", "squares"]) this[name] = new Real(this.size);
    this.layers = layersOf(this);
    for (const name of ["x", "probabilities", "logits"]) this[name] = new Real(batch * pixels);
    for (const name of ["first", "firstDelta", "second", "secondDelta"]) this[name] = new Real(batch * hidden);
    for (const name of ["mu", "logVar", "z", "muDelta", "logVarDelta"]) this[name] = new Real(batch * latent);
    this.open = new Real(batch * latent).fill(1); // a gate that lets everything through
    this.steps = 0;
    this.reconstruction = NaN; // of the last batch, nats per image
    this.kl = NaN;
  }

  /** Kernels uniform as Glorot and Bengio (2010) have them, biases zero, as in Keras; Adam begins anew. */
  initialise(random) {
    this.weights.fill(0);
    this.means.fill(0);
    this.squares.fill(0);
    this.steps = 0;
    for (const { inputs, outputs, kernel } of Object.values(this.layers)) {
      const limit = Math.sqrt(6 / (inputs + outputs));
      for (let i = 0; i < kernel.length; i++) kernel[i] = limit * (2 * random.uniform() - 1);
    }
  }
}

/** Means and log-variances of q(z|x) for the first `count` images in net.x. */
export function encode(net, count) {
  affine(net.first, net.x, count, net.layers.encoder);
  relu(net.first, count * net.hidden);
  affine(net.mu, net.first, count, net.layers.mu);
  affine(net.logVar, net.first, count, net.layers.logVar);
}

/** Logits of the first `count` points in net.z. */
export function decode(net, count) {
  affine(net.second, net.z, count, net.layers.decoder);
  relu(net.second, count * net.hidden);
  affine(net.logits, net.second, count, net.layers.logits);
}

/** Σ softplus(logit) − x · logit, and sigmoid(logit) beside it; e^−|logit| never overflows. */
function pixelCosts(net, count) {
  const { logits, x, probabilities } = net;
  let total = 0;
  for (let i = 0; i < count * net.pixels; i++) {
    const logit = logits[i];
    const small = Math.exp(-Math.abs(logit));
    total += Math.log1p(small) + (logit > 0 ? logit : 0) - x[i] * logit;
    probabilities[i] = logit >= 0 ? 1 / (1 + small) : small / (1 + small);
  }
  return total;
}

/** KL[q(z|x) ‖ N(0, I)] in closed form, summed over the batch and the latent dimensions. */
function klCosts({ mu, logVar }, length) {
  let total = 0;
  for (let i = 0; i < length; i++) total += 0.5 * (Math.exp(logVar[i]) + mu[i] * mu[i] - 1 - logVar[i]);
  return total;
}

/**
 * Loss and gradients for the images in net.x (a whole batch) and given noise: z = mu + noise · e^(½ log_var) · eps. noise is 1 for
 * a VAE, 0 for none. Writes net.reconstruction and net.kl (means over the batch, nats per image) and net.gradients, those of
 * reconstruction + beta · kl.
 */
export function lossAndGradients(net, eps, { beta = 1, noise = 1 } = {}) {
  const { batch, latent, layers, mu, logVar, z, x } = net;
  encode(net, batch);
  for (let i = 0; i < batch * latent; i++) z[i] = mu[i] + (noise ? noise * Math.exp(0.5 * logVar[i]) * eps[i] : 0);
  decode(net, batch);
  net.reconstruction = pixelCosts(net, batch) / batch;
  net.kl = klCosts(net, batch * latent) / batch;

  net.gradients.fill(0);
  const delta = net.probabilities; // becomes the gradient of the logits
  for (let i = 0; i < batch * net.pixels; i++) delta[i] = (delta[i] - x[i]) / batch;
  addGradients(layers.logits, net.second, delta, batch);
  net.secondDelta.fill(0);
  addInputGradients(net.secondDelta, layers.logits, delta, batch, net.second);
  addGradients(layers.decoder, z, net.secondDelta, batch);
  net.muDelta.fill(0);
  addInputGradients(net.muDelta, layers.decoder, net.secondDelta, batch, net.open); // of z, for now
  for (let i = 0; i < batch * latent; i++) {
    const sigma = Math.exp(0.5 * logVar[i]);
    net.logVarDelta[i] = 0.5 * ((noise ? net.muDelta[i] * noise * sigma * eps[i] : 0) + (beta * (sigma * sigma - 1)) / batch);
    net.muDelta[i] += (beta * mu[i]) / batch;
  }
  addGradients(layers.mu, net.first, net.muDelta, batch);
  addGradients(layers.logVar, net.first, net.logVarDelta, batch);
  net.firstDelta.fill(0);
  addInputGradients(net.firstDelta, layers.mu, net.muDelta, batch, net.first);
  addInputGradients(net.firstDelta, layers.logVar, net.logVarDelta, batch, net.first);
  addGradients(layers.encoder, x, net.firstDelta, batch);
}

const DECAY = 0.9;
const DECAY_SQUARE = 0.999;
const EPSILON = 1e-7;
const NOTHING = 1e-37; // below it float32 loses digits and time

/** One step of Adam (Kingma and Ba 2014, section 2, the faster order), with Keras's constants. */
export function adamStep(net, learningRate) {
  const { weights, gradients, means, squares } = net;
  net.steps += 1;
  const rate = (learningRate * Math.sqrt(1 - DECAY_SQUARE ** net.steps)) / (1 - DECAY ** net.steps);
  for (let i = 0; i < weights.length; i++) {
    const gradient = gradients[i];
    const mean = means[i] + (gradient - means[i]) * (1 - DECAY);
    const square = squares[i] + (gradient * gradient - squares[i]) * (1 - DECAY_SQUARE);
    means[i] = mean < NOTHING && mean > -NOTHING ? 0 : mean;
    squares[i] = square < NOTHING ? 0 : square;
    weights[i] -= (rate * mean) / (Math.sqrt(square) + EPSILON);
  }
}

/** Grey levels of four bits, two in a byte, the first in the lower half; as numbers from 0 to 1. */
export function unpackNibbles(bytes, count) {
  if (!bytes || bytes.byteLength !== Math.ceil(count / 2)) {
    throw new Error(`expected ${count} grey levels of half a byte, got ${bytes ? bytes.byteLength : 0} bytes`);
  }
  const out = new Float32Array(count);
  for (let i = 0; i < count; i++) out[i] = ((bytes[i >> 1] >> (4 * (i & 1))) & 15) / 15;
  return out;
}

/** −x log p − (1 − x) log(1 − p), nats; 0 log 0 is 0. */
function crossEntropy(x, p) {
  return -((x > 0 ? x * Math.log(p) : 0) + (x < 1 ? (1 - x) * Math.log(1 - p) : 0));
}

/**
 * What the loss means beside two answers that need no network, nats per image: floor, the cost of a decoder that answers with
 * the image itself; collapsed, that of the mean image, the best that a decoder can do without z.
 */
export function landmarksOf(images, pixels) {
  const count = images.length / pixels;
  const mean = new Float64Array(pixels);
  for (let i = 0; i < images.length; i++) mean[i % pixels] += images[i] / count;
  let floor = 0;
  let collapsed = 0;
  for (let i = 0; i < images.length; i++) {
    floor += crossEntropy(images[i], images[i]);
    collapsed += crossEntropy(images[i], mean[i % pixels]);
  }
  return { floor: floor / count, collapsed: collapsed / count };
}

/** A network in training on some images, (count, pixels) in one array: its order, its noise, and the step. */
export class Training {
  constructor({ images, pixels, hidden, batch, seed }) {
    for (const [name, value] of Object.entries({ pixels, hidden, batch })) {
      if (!(Number.isInteger(value) && value > 0)) throw new Error(`expected a whole number above 0 as ${name}, got ${value}`);
    }
    this.images = images;
    this.count = images.length / pixels;
    if (!(Number.isInteger(this.count) && this.count >= batch)) {
      throw new Error(`expected at least ${batch} images of ${pixels} pixels, got ${images.length} grey levels`);
    }
    this.net = new Network({ pixels, hidden, batch });
    this.order = new Uint32Array(this.count);
    this.rows = new Uint32Array(batch);
    this.eps = new Float32Array(batch * this.net.latent);
    this.reset(seed);
  }

  /** Begin again: the same seed takes the same steps. */
  reset(seed) {
    this.random = new Random(seed);
    this.net.initialise(this.random);
    for (let i = 0; i < this.count; i++) this.order[i] = i;
    this.place = this.count; // in the order; no whole batch is left, so the first step shuffles
    this.forgetMeans();
  }

  /** The next images and their noise; each image is drawn once before any is drawn again, but for what fills no batch. */
  draw() {
    const { net, images, order, rows, eps, random } = this;
    if (this.place + net.batch > this.count) {
      random.shuffle(order);
      this.place = 0;
    }
    for (let b = 0; b < net.batch; b++) {
      rows[b] = order[this.place++];
      const from = rows[b] * net.pixels;
      for (let i = 0; i < net.pixels; i++) net.x[b * net.pixels + i] = images[from + i];
    }
    for (let i = 0; i < eps.length; i++) eps[i] = random.normal();
  }

  /** One gradient step with {learningRate, beta, noise}. */
  step(settings) {
    this.draw();
    lossAndGradients(this.net, this.eps, settings);
    adamStep(this.net, settings.learningRate);
    this.measured += 1;
    this.reconstructionSum += this.net.reconstruction;
    this.klSum += this.net.kl;
  }

  /** Means over the steps since they were last forgotten are reconstructionSum and klSum divided by measured. */
  forgetMeans() {
    this.measured = this.reconstructionSum = this.klSum = 0;
  }

  /** Write the means of q(z|x) of all images to codes, (count, latent); return the geometric mean of the σ of q. */
  encodeAll(codes) {
    const { net, images } = this;
    let logSigma = 0;
    for (let start = 0; start < this.count; start += net.batch) {
      const some = Math.min(net.batch, this.count - start);
      const from = start * net.pixels;
      for (let i = 0; i < some * net.pixels; i++) net.x[i] = images[from + i];
      encode(net, some);
      for (let i = 0; i < some * net.latent; i++) {
        codes[start * net.latent + i] = net.mu[i];
        logSigma += 0.5 * net.logVar[i];
      }
    }
    return Math.exp(logSigma / codes.length);
  }

  /** Write what the decoder makes of points, (points, latent), to levels: grey from 0 to 255, (points, pixels). */
  decodeAll(points, levels) {
    const { net } = this;
    const count = points.length / net.latent;
    for (let start = 0; start < count; start += net.batch) {
      const some = Math.min(net.batch, count - start);
      for (let i = 0; i < some * net.latent; i++) net.z[i] = points[start * net.latent + i];
      decode(net, some);
      for (let i = 0; i < some * net.pixels; i++) levels[start * net.pixels + i] = Math.round(255 / (1 + Math.exp(-net.logits[i])));
    }
  }
}

/** How many gradient steps lie between two pictures: one at first, then a share of those taken, so that each octave lasts as long. */
export function stepsBetween(taken, perOctave = 40) {
  return Math.max(1, Math.round(taken / perOctave));
}

/** Half the side of the plane that holds 99.5 % of all coordinates and a margin; scratch is as long as codes. */
export function limitOf(codes, scratch, least) {
  for (let i = 0; i < codes.length; i++) scratch[i] = Math.abs(codes[i]);
  scratch.sort();
  return Math.max(least, 1.15 * scratch[Math.floor(0.995 * (scratch.length - 1))]);
}
