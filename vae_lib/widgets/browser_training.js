// Training in the browser: what the worker has learned is painted, and what the reader wants is passed on to it.
import { demand, finiteNumber, finiteNumbers, hexColors, imageShape, wholeNumber } from "./checks.js";
import { onPaper } from "./contrast.js";
import { Axes, element, keepPainted, legend, sharpContext, show, themeOf, widget } from "./kit.js";
import { BLUE, ORANGE, canvasWidth, fitCanvas, followWidth } from "./panels.js";
import { mosaic } from "./training_scrubber_maths.js";
import { LossRecord, arrangePanels, describePicture, gridOf, shortNumber } from "./browser_training_record.js";

const SAY_MS = 8000; // between two announcements while it runs: a voice needs time
const FONT = 10; // of the digits on the map, CSS pixels

const bytesOf = (view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

function readSetup(model) {
  demand(model.get("labels")?.byteLength, "labels of training images", model.get("labels"));
  const labels = bytesOf(model.get("labels"));
  const [height, width] = imageShape(model.get("image_shape"));
  const quantiles = finiteNumbers("quantiles", model.get("quantiles"));
  const packed = Math.ceil((labels.length * height * width) / 2);
  demand(model.get("images")?.byteLength === packed, `${packed} bytes of images`, model.get("images")?.byteLength);
  settingsOf(model); // throws where one is no number
  const columns = wholeNumber("the number of quantiles", quantiles.length, 1, 64);
  const sizes = { hidden: wholeNumber("hidden", model.get("hidden"), 1, 4096), batch: wholeNumber("batch_size", model.get("batch_size"), 1, labels.length) };
  const colors = hexColors(model.get("colors"));
  return { labels, count: labels.length, pixels: height * width, shape: [height, width], z: gridOf(quantiles), columns, sizes, colors };
}

function settingsOf(model) {
  const [learningRate, beta] = ["learning_rate", "beta"].map((name) => finiteNumber(name, model.get(name)));
  return { learningRate, beta, noise: model.get("noise") ? 1 : 0 };
}

/** Start the worker from its text: a page has no file of it. Throws where the page forbids workers; `fail` hears what comes later. */
function startWorker(source, hear, fail) {
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  const worker = new Worker(url);
  worker.onmessage = ({ data }) => hear(data);
  worker.onerror = (event) => {
    event.preventDefault?.();
    fail(event.message || "the page or the browser forbids it");
  };
  return { worker, end: () => { worker.terminate(); URL.revokeObjectURL(url); } };
}

/** Each digit drawn once, in its colour, side by side, to be copied to the map a thousand times. */
function glyphsOf(colors, paper) {
  const size = FONT + 4;
  const sheet = document.createElement("canvas");
  const context = sharpContext(sheet, size * colors.length, size);
  const scale = sheet.height / size;
  context.font = `bold ${FONT}px sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineWidth = 2;
  context.strokeStyle = paper;
  colors.forEach((color, digit) => {
    const at = [size * (digit + 0.5), size / 2 + 0.5];
    context.strokeText(String(digit), ...at);
    context.fillStyle = color;
    context.fillText(String(digit), ...at);
  });
  return { sheet, size, cut: size * scale };
}

function drawTitle(context, text, note, { x, y, width, height }, ink) {
  context.fillStyle = ink;
  context.textAlign = "left";
  context.font = "bold 13px sans-serif";
  context.fillText(text, x, y - 7, width);
  context.font = "12px sans-serif";
  context.fillText(note, x, y + height + 16, width);
}

function drawFrame(context, { x, y, width, height }, ink) {
  context.strokeStyle = ink;
  context.lineWidth = 1;
  context.strokeRect(x + 0.5, y + 0.5, width - 1, height - 1);
}

function drawMap(context, box, { codes, limit }, labels, glyphs, { ink }) {
  const axes = new Axes(context, { ...box, xlim: [-limit, limit], ylim: [-limit, limit], ink });
  context.save();
  context.beginPath();
  context.rect(box.x, box.y, box.width, box.height);
  context.clip();
  context.globalAlpha = 0.45;
  context.strokeStyle = ink;
  for (const radius of [1, 2, 3]) {
    context.beginPath();
    context.arc(axes.px(0), axes.py(0), (radius / (2 * limit)) * box.width, 0, 2 * Math.PI);
    context.stroke();
  }
  context.globalAlpha = 1;
  const { sheet, size, cut } = glyphs;
  for (let i = 0; i < labels.length; i++) {
    const [x, y] = [axes.px(codes[2 * i]) - size / 2, axes.py(codes[2 * i + 1]) - size / 2];
    context.drawImage(sheet, labels[i] * cut, 0, cut, cut, x, y, size, size);
  }
  context.restore();
  drawFrame(context, box, ink);
  const note = `circles: 1, 2, 3 σ of the prior; shown: ±${limit.toFixed(1)}`;
  drawTitle(context, `Latent plane: ${labels.length.toLocaleString("en")} codes`, note, box, ink);
}

function drawDecoded(context, box, levels, shape, columns, scratch, ink) {
  const { rgba, width, height } = mosaic(levels, shape, columns);
  if (scratch.width !== width) Object.assign(scratch, { width, height });
  scratch.getContext("2d").putImageData(new ImageData(rgba, width, height), 0, 0);
  context.imageSmoothingQuality = "high";
  context.drawImage(scratch, box.x, box.y, box.width, box.height);
  drawFrame(context, box, ink);
  drawTitle(context, "Decoded samples, sorted", "each tile: equally likely under the prior", box, ink);
}

/** The loss over the steps, the two landmarks, and a short line where the reader changed something. */
function drawLoss(context, box, record, landmarks, settings, ink) {
  const wide = box.width > 400;
  const top = 1.55 * landmarks.collapsed;
  const axes = new Axes(context, { ...box, xlim: [0, record.span()], ylim: [0.75 * landmarks.floor, top], ink });
  axes.frame({ title: wide ? "Loss, nats per image" : "Loss", ticks: [0, record.span() / 2, record.span()], label: "" });
  context.textAlign = "right";
  context.fillText(wide ? "gradient steps" : "steps", box.x + box.width, box.y + box.height + 31);
  for (const [name, value] of [["mean image: a collapsed decoder", landmarks.collapsed], ["pixel floor", landmarks.floor]]) {
    axes.curve([0, record.span()], [value, value], { color: ink, width: 1, dash: [2, 3] });
    context.font = "12px sans-serif";
    context.fillStyle = ink;
    context.textAlign = "right";
    context.fillText(name, box.x + box.width - 4, axes.py(value) - 4);
    context.fillText(value.toFixed(0), box.x - 5, axes.py(value) + 4);
  }
  axes.curve(record.steps, record.sums(), { color: ORANGE, dash: [5, 4] });
  axes.curve(record.steps, record.reconstructions, { color: BLUE });
  context.fillStyle = ink;
  for (const change of record.changes) context.fillRect(axes.px(change) - 1, box.y + box.height - 8, 2, 8);
  const entries = [{ name: "reconstruction", color: BLUE }, { name: "+ KL", color: ORANGE, dash: [5, 4] }];
  legend(context, entries, box.x + box.width - 200, box.y - 6, ink);
  context.font = "12px sans-serif";
  context.textAlign = "left";
  const text = `β ${settings.beta.toFixed(2)}, rate ${shortNumber(settings.learningRate)}, noise ${settings.noise ? "on" : "off"}`;
  context.fillText(text, box.x, box.y + box.height + 31);
}

function controlsIn(el, noise) {
  const row = element("div", { class: "vae-browser-training-controls", role: "group", "aria-label": "Training" }, el);
  const button = (text, name) => Object.assign(element("button", { type: "button", class: `vae-${name}` }, row), { textContent: text });
  const [start, step, reset, seed] = [button("Start", "start"), button("One step", "step"), button("Reset", "reset"), button("New seed", "seed")];
  const label = element("label", {}, row);
  const box = Object.assign(element("input", { type: "checkbox", class: "vae-noise" }, label), { checked: noise });
  label.append("latent noise");
  return { start, step, reset, seed, box };
}

function render({ model, el }) {
  el.classList.add("vae-widget", "vae-browser-training");
  const setup = readSetup(model);
  const figure = element("figure", {}, el);
  const controls = controlsIn(figure, model.get("noise"));
  const canvas = element("canvas", { role: "img", "aria-label": "Training in the browser, not begun" }, figure);
  const readout = element("p", { class: "vae-readout" }, figure);
  const said = element("p", { class: "vae-unseen", role: "status" }, figure); // what screen readers say, now and then
  const scratch = document.createElement("canvas");
  const record = new LossRecord();
  let worker = null; // {worker, end}
  let landmarks = null;
  let picture = null; // the newest that came
  let painted = null; // and the one on the canvas
  let generation = 0;
  let running = false;
  let spoken = -Infinity;
  let glyphs = null;
  const times = []; // of the pictures of the last second: [milliseconds, steps]

  const tell = (message, moved = []) => worker?.worker.postMessage(message, moved);

  function speak(force) {
    if (!picture || (!force && performance.now() - spoken < SAY_MS)) return;
    spoken = performance.now();
    said.textContent = describePicture(picture, settingsOf(model));
    canvas.setAttribute("aria-label", `${said.textContent} Map of ${setup.count} codes, decoded samples, loss over steps.`);
  }

  function nameButtons() {
    const broken = Boolean(picture?.diverged);
    controls.start.textContent = running ? "Pause" : picture?.steps ? "Go on" : "Start";
    controls.start.disabled = !worker || broken;
    controls.step.disabled = !worker || running || broken;
    for (const button of [controls.reset, controls.seed]) button.disabled = !worker;
  }

  function pace() {
    const [first, last] = [times[0], times[times.length - 1]];
    if (!running || times.length < 3 || last[0] === first[0]) return "";
    const seconds = (last[0] - first[0]) / 1000;
    return ` ${Math.round((times.length - 1) / seconds)} pictures and ${Math.round((last[1] - first[1]) / seconds)} steps a second.`;
  }

  const { update, stop } = keepPainted(el, model, ["learning_rate", "beta", "noise"], (fresh) => {
    if (!el.isConnected && painted) return leave(); // removed without a word
    const theme = themeOf(el);
    const width = canvasWidth(el);
    const place = arrangePanels(width);
    fitCanvas(canvas, width, place.height);
    nameButtons();
    if (!picture || !landmarks) return;
    const context = sharpContext(canvas, width, place.height);
    if (fresh || !glyphs) glyphs = glyphsOf(onPaper(setup.colors, theme.paper), theme.paper);
    drawMap(context, place.map, picture, setup.labels, glyphs, theme);
    drawDecoded(context, place.decoded, picture.levels, setup.shape, setup.columns, scratch, theme.ink);
    drawLoss(context, place.loss, record, landmarks, settingsOf(model), theme.ink);
    readout.textContent = `Seed ${model.get("seed")}. ${describePicture(picture, settingsOf(model))}${pace()}`;
    if (painted !== picture) {
      if (painted) giveBack(painted);
      painted = picture;
    }
    speak(!running);
  });
  const forgetWidth = followWidth(el, update);

  const giveBack = ({ codes, levels }) => tell({ kind: "painted", codes, levels }, [codes.buffer, levels.buffer]);

  function hear(message) {
    if (message.kind === "ready") {
      landmarks = message;
      return;
    }
    if (message.generation !== generation) return giveBack(message);
    if (picture && picture !== painted) giveBack(picture); // one that the screen was too slow for
    picture = message;
    running &&= !message.diverged;
    record.add(message);
    times.push([performance.now(), message.steps]);
    while (times[times.length - 1][0] - times[0][0] > 1000) times.shift();
    update();
  }

  function fail(reason) {
    leave();
    const message = element("p", { role: "alert", class: "vae-widget-error" });
    message.textContent = `Nothing can be trained here: it takes a web worker, and none could be started (${reason}). `
      + "Open this page in another browser, or from another place; all else on it works without.";
    figure.prepend(message);
  }

  function setTo(run) {
    running = run;
    times.length = 0;
    tell({ kind: run ? "run" : "pause" });
    update();
    spoken = -Infinity;
  }

  function reset(seed) {
    model.set("seed", seed);
    model.save_changes();
    generation += 1;
    record.clear();
    setTo(false);
    tell({ kind: "reset", seed, generation });
  }

  controls.start.addEventListener("click", () => setTo(!running));
  controls.step.addEventListener("click", () => tell({ kind: "step" }));
  controls.reset.addEventListener("click", () => reset(model.get("seed")));
  controls.seed.addEventListener("click", () => reset(model.get("seed") + 1));
  controls.box.addEventListener("change", () => {
    model.set("noise", controls.box.checked);
    model.save_changes();
    update();
  });
  const passOn = () => {
    controls.box.checked = model.get("noise");
    tell({ kind: "settings", settings: settingsOf(model) });
    if (picture) record.change(picture.steps);
  };
  for (const trait of ["learning_rate", "beta", "noise"]) model.on(`change:${trait}`, passOn);
  const presence = new IntersectionObserver(() => el.isConnected || leave());
  presence.observe(el);

  function leave() {
    worker?.end();
    worker = null;
    running = false;
    nameButtons();
  }

  try {
    worker = startWorker(model.get("worker"), hear, fail);
    const images = bytesOf(model.get("images")).slice();
    const { count, pixels, z, sizes } = setup;
    tell({ kind: "setup", images, z, settings: settingsOf(model), count, pixels, seed: model.get("seed"), ...sizes }, [images.buffer]);
  } catch (error) {
    fail(error.message);
  }
  nameButtons();

  return () => {
    leave();
    presence.disconnect();
    for (const trait of ["learning_rate", "beta", "noise"]) model.off(`change:${trait}`, passOn);
    forgetWidth();
    stop();
  };
}

export default widget(render);
