// The training scrubber: codes and decoded images move as the model learns; between two snapshots, on straight lines.
import { Axes, element, keepPainted, legend, sharpContext, showError, themeOf } from "./kit.js";
import { BLUE, ORANGE, canvasWidth, fitCanvas, followWidth } from "./panels.js";
import { arrange, between, blend, blendInto, describe, epochText, mosaic, played, unpackCodes, valueAt } from "./training_scrubber_maths.js";

const EACH = 0.8; // seconds from one snapshot to the next while it plays

function readRecord(model) {
  const epochs = model.get("epochs");
  const labels = model.get("labels");
  const decoded = model.get("decoded");
  const points = labels.byteLength;
  if (!decoded.byteLength || decoded.byteLength % epochs.length) {
    throw new Error(`expected decoded images for each of ${epochs.length} snapshots, got ${decoded.byteLength} bytes`);
  }
  return {
    epochs,
    count: epochs.length,
    points,
    labels: new Uint8Array(labels.buffer, labels.byteOffset, points),
    codes: unpackCodes(model.get("codes"), model.get("reach"), 2 * points * epochs.length),
    decoded: new Uint8Array(decoded.buffer, decoded.byteOffset, decoded.byteLength),
    trainLoss: model.get("train_loss"),
    testLoss: model.get("test_loss"),
    places: model.get("places"),
  };
}

function drawTitle(context, text, { x, y }, ink) {
  context.fillStyle = ink;
  context.font = "bold 13px sans-serif";
  context.textAlign = "left";
  context.fillText(text, x, y - 7);
}

function drawPlane(context, box, record, now, { codes, colors, limit, ink, paper }) {
  const axes = new Axes(context, { ...box, xlim: [-limit, limit], ylim: [-limit, limit], ink });
  context.save();
  context.beginPath();
  context.rect(box.x, box.y, box.width, box.height);
  context.clip();
  context.globalAlpha = 0.65;
  for (let i = 0; i < record.points; i++) {
    context.fillStyle = colors[record.labels[i] % colors.length];
    context.fillRect(axes.px(codes[2 * i]) - 1.4, axes.py(codes[2 * i + 1]) - 1.4, 2.8, 2.8);
  }
  context.globalAlpha = 0.5;
  context.strokeStyle = ink;
  context.lineWidth = 1;
  for (const radius of [1, 2, 3]) {
    context.beginPath();
    context.arc(axes.px(0), axes.py(0), (radius / (2 * limit)) * box.width, 0, 2 * Math.PI);
    context.stroke();
  }
  context.globalAlpha = 1;
  context.font = "bold 16px sans-serif";
  context.textAlign = "center";
  context.lineWidth = 4;
  context.strokeStyle = paper;
  context.fillStyle = ink;
  record.places[now.from].forEach(([digit, x, y], i) => {
    const [, toX, toY] = record.places[now.to][i];
    const at = [axes.px(blend(x, toX, now.share)), axes.py(blend(y, toY, now.share)) + 6];
    context.strokeText(String(digit), ...at);
    context.fillText(String(digit), ...at);
  });
  context.restore();
  context.strokeStyle = ink;
  context.strokeRect(box.x + 0.5, box.y + 0.5, box.width - 1, box.height - 1);
  drawTitle(context, "Codes of test images", box, ink);
  context.font = "12px sans-serif";
  context.textAlign = "left";
  context.fillText("circles: 1, 2, 3 σ of the prior", box.x, box.y + box.height + 17);
  context.textAlign = "right";
  context.fillText(`shown: ±${limit.toFixed(1)}`, box.x + box.width, box.y + box.height + 17);
}

function drawImages(context, box, levels, shape, columns, scratch, ink) {
  const { rgba, width, height } = mosaic(levels, shape, columns);
  scratch.width = width;
  scratch.height = height;
  scratch.getContext("2d").putImageData(new ImageData(rgba, width, height), 0, 0);
  context.drawImage(scratch, box.x, box.y, box.width, box.height);
  context.strokeStyle = ink;
  context.lineWidth = 1;
  context.strokeRect(box.x + 0.5, box.y + 0.5, box.width - 1, box.height - 1);
  drawTitle(context, box.width < 150 ? "Decoded z" : "Decoded from fixed z", box, ink);
}

/** Both losses over the snapshots, at equal distances as on the slider, and a line where the slider stands. */
function drawLosses(context, box, record, moment, ink) {
  const last = record.count - 1;
  const measured = [...record.trainLoss, ...record.testLoss].filter((value) => value !== null);
  const low = Math.min(...measured);
  const high = Math.max(...measured, low + 1);
  const margin = 0.06 * (high - low);
  const axes = new Axes(context, { ...box, xlim: [-0.2, last + 0.2], ylim: [low - margin, high + margin], ink });
  axes.frame({ label: "epoch", title: "Loss, nats" });
  context.font = "12px sans-serif";
  context.fillStyle = ink;
  context.textAlign = "center";
  const first = Math.max(record.epochs.indexOf(1), 0);
  for (const i of new Set([0, first, last])) {
    context.fillRect(axes.px(i) - 0.5, box.y + box.height, 1, 4);
    context.fillText(epochText(record.epochs[i]), axes.px(i), box.y + box.height + 16);
  }
  context.textAlign = "right";
  for (const value of [low, high]) context.fillText(value.toFixed(0), box.x - 4, axes.py(value) + 4);
  const steps = record.epochs.map((_, i) => i);
  for (const [values, color, dash] of [[record.trainLoss, ORANGE, [5, 4]], [record.testLoss, BLUE, []]]) {
    const there = steps.filter((i) => values[i] !== null);
    axes.curve(there, there.map((i) => values[i]), { color, dash });
  }
  const names = [{ name: "training", color: ORANGE, dash: [5, 4] }, { name: "test", color: BLUE }];
  names.forEach((entry, i) => legend(context, [entry], box.x + box.width - 90, box.y + 14 + 16 * i, ink));
  context.lineWidth = 1.5;
  axes.mark(moment, "", { color: ink });
}

function render({ model, el }) {
  el.classList.add("vae-widget", "vae-scrubber");
  let record;
  try {
    record = readRecord(model);
  } catch (error) {
    showError(el, error);
    return;
  }
  const last = record.count - 1;
  const shape = model.get("image_shape");
  const columns = model.get("columns");
  const rows = Math.ceil(record.decoded.length / record.count / (shape[0] * shape[1]) / columns);
  const codes = new Float32Array(2 * record.points);
  const levels = new Uint8ClampedArray(record.decoded.length / record.count);
  const scratch = document.createElement("canvas");

  const figure = element("figure", {}, el);
  const canvas = element("canvas", { class: "vae-scrubber-canvas", role: "img" }, figure);
  const readout = element("p", { class: "vae-readout", "aria-live": "polite" }, figure);
  const button = element("button", { type: "button" }, figure);
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let frame = 0; // of the animation; 0 while nothing plays
  let moving = false; // while the moment is set from here, and not by the slider

  const { update, stop } = keepPainted(el, model, ["moment"], () => {
    const moment = model.get("moment");
    const now = between(moment, record.count);
    const theme = themeOf(el);
    const width = canvasWidth(el);
    const place = arrange(width, (columns * shape[1]) / (rows * shape[0]));
    fitCanvas(canvas, width, place.height);
    const context = sharpContext(canvas, width, place.height);
    blendInto(codes, record.codes, now);
    blendInto(levels, record.decoded, now);
    const limit = valueAt(model.get("limits"), now);
    drawPlane(context, place.plane, record, now, { codes, colors: model.get("colors"), limit, ...theme });
    drawImages(context, place.images, levels, shape, columns, scratch, theme.ink);
    drawLosses(context, place.chart, record, moment, theme.ink);
    const text = describe(record.epochs, record.trainLoss, record.testLoss, now);
    readout.textContent = text;
    canvas.setAttribute("aria-label", `${text}. Scatter of the codes of ${record.points} test images, and decoded digits.`);
    nameButton();
  });

  const forgetWidth = followWidth(el, update);

  function nameButton() {
    const atEnd = model.get("moment") >= last;
    const [again, forward] = still.matches ? ["Back to the start", "Jump to the end"] : ["Play again", "Play"];
    button.textContent = frame ? "Pause" : atEnd ? again : forward;
  }
  function moveTo(moment) {
    moving = true;
    model.set("moment", moment);
    moving = false;
    update();
  }
  function pause() {
    cancelAnimationFrame(frame);
    frame = 0;
    readout.setAttribute("aria-live", "polite");
    model.save_changes();
    update();
  }
  function play() {
    const start = model.get("moment") >= last ? 0 : model.get("moment");
    let began = null;
    readout.setAttribute("aria-live", "off"); // no voice could follow
    const step = (time) => {
      began ??= time;
      const moment = played(start, (time - began) / 1000, EACH, last);
      moveTo(moment);
      if (moment < last) frame = requestAnimationFrame(step);
      else pause();
    };
    frame = requestAnimationFrame(step);
    update();
  }
  button.addEventListener("click", () => {
    if (frame) pause();
    else if (still.matches) {
      moveTo(model.get("moment") >= last ? 0 : last);
      model.save_changes();
    } else play();
  });
  const takenOver = () => frame && !moving && pause();
  model.on("change:moment", takenOver);
  still.addEventListener("change", update);

  return () => {
    cancelAnimationFrame(frame);
    model.off("change:moment", takenOver);
    still.removeEventListener("change", update);
    forgetWidth();
    stop();
  };
}

export default { render };
