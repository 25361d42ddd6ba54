// The web worker in which the browser trains, so that the page stays responsive. It is told {kind: "setup" | "settings" | "run" |
// "pause" | "step" | "reset" | "painted"} and answers {kind: "ready"} once and {kind: "picture"} many times. The arrays of a
// picture travel without being copied, and come back with "painted": where both are under way, training waits for the page.
import { Training, landmarksOf, limitOf, stepsBetween, unpackNibbles } from "./browser_training_maths.js";

const PICTURE_MS = 33; // between two pictures, at least
const TRAINING_MS = 28; // of training without a look at what the page says, at most
const LEAST_LIMIT = 3; // of the plane that is shown: three standard deviations of the prior

let training;
let settings;
let points; // z that are decoded for each picture
let scratch;
let free = []; // {codes, levels}
let generation = 0; // counts resets, so that the page can tell a picture from before
let running = false;
let timer = 0;
let owed = false; // a picture that found no free arrays

function sendPicture() {
  const { net, measured, reconstructionSum, klSum } = training;
  const { codes, levels } = free.pop();
  const sigma = training.encodeAll(codes);
  training.decodeAll(points, levels);
  const diverged = !Number.isFinite(sigma) || codes.some(Number.isNaN) || (measured > 0 && !Number.isFinite(reconstructionSum + klSum));
  if (diverged) running = false;
  const picture = {
    kind: "picture", generation, codes, levels, sigma, diverged, steps: net.steps,
    limit: diverged ? LEAST_LIMIT : limitOf(codes, scratch, LEAST_LIMIT),
    reconstruction: measured ? reconstructionSum / measured : null,
    kl: measured ? klSum / measured : null,
  };
  training.forgetMeans();
  postMessage(picture, [codes.buffer, levels.buffer]);
}

/** Train for a while and send a picture; then let waiting messages in, and go on. */
function work() {
  timer = 0;
  if (!running || !free.length) return;
  const began = performance.now();
  const wanted = training.net.steps + stepsBetween(training.net.steps);
  do training.step(settings);
  while (training.net.steps < wanted && performance.now() - began < TRAINING_MS);
  sendPicture();
  proceed(PICTURE_MS - (performance.now() - began));
}

function proceed(wait = 0) {
  if (running && !timer && free.length) timer = setTimeout(work, Math.max(0, wait));
}

const hear = {
  setup({ images, count, pixels, hidden, batch, seed, z, settings: first }) {
    const grey = unpackNibbles(images, count * pixels);
    training = new Training({ images: grey, pixels, hidden, batch, seed });
    settings = first;
    points = z;
    scratch = new Float32Array(2 * count);
    free = [0, 1].map(() => ({ codes: new Float32Array(2 * count), levels: new Uint8ClampedArray((points.length / 2) * pixels) }));
    postMessage({ kind: "ready", ...landmarksOf(grey, pixels) });
    sendPicture();
  },
  settings(told) {
    settings = told.settings;
  },
  run() {
    running = true;
    proceed();
  },
  pause() {
    running = false;
  },
  step() {
    running = false;
    training.step(settings);
    if (free.length) sendPicture();
    else owed = true;
  },
  reset({ seed, generation: next }) {
    running = false;
    generation = next;
    training.reset(seed);
    if (free.length) sendPicture();
    else owed = true;
  },
  painted({ codes, levels }) {
    free.push({ codes, levels });
    if (owed) sendPicture();
    owed = false;
    proceed();
  },
};

self.onmessage = ({ data }) => hear[data.kind](data);
