// The training scrubber: codes and decoded images move as the model learns; between two snapshots, on straight lines.
import { demand, finiteNumber, finiteNumbers, hexColors, imageShape, wholeNumber } from "./checks.js";
import { Axes, element, keepPainted, legend, themeOf, widget } from "./kit.js";
import { BLUE, ORANGE, canvasWidth, fittedContext, followWidth } from "./panels.js";
import { drawImages, drawPlane, readSnapshots } from "./snapshots.js";
import { arrange, between, blendInto, describe, epochText, played, valueAt } from "./training_scrubber_maths.js";

const EACH = 0.8; // seconds from one snapshot to the next while it plays

function readRecord(model) {
  const epochs = finiteNumbers("epochs", model.get("epochs"));
  const record = readSnapshots(model, epochs.length);
  const [trainLoss, testLoss] = ["train_loss", "test_loss"].map((name) => {
    const losses = model.get(name);
    demand(Array.isArray(losses) && losses.length === epochs.length, `${epochs.length} numbers as ${name}`, losses);
    finiteNumbers(name, losses.filter((loss) => loss !== null));
    return losses;
  });
  return { ...record, epochs, trainLoss, testLoss };
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
  const record = readRecord(model);
  const last = record.count - 1;
  const shape = imageShape(model.get("image_shape"));
  const columns = wholeNumber("columns", model.get("columns"));
  const limits = finiteNumbers("limits", model.get("limits"), record.count);
  const colors = hexColors(model.get("colors"));
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
    const moment = finiteNumber("moment", model.get("moment"));
    const now = between(moment, record.count);
    const theme = themeOf(el);
    const width = canvasWidth(el);
    const place = arrange(width, (columns * shape[1]) / (rows * shape[0]));
    const context = fittedContext(canvas, width, place.height);
    blendInto(codes, record.codes, now);
    blendInto(levels, record.decoded, now);
    const limit = valueAt(limits, now);
    drawPlane(context, place.plane, record, now, { codes, colors, limit, ...theme });
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

export default widget(render);
