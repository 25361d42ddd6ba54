// The beta scrubber: models that differ in beta alone, with their codes, decoded images and place on the rate-distortion curve.
import { finiteNumber, finiteNumbers, hexColors, imageShape, wholeNumber } from "./checks.js";
import { Axes, widget } from "./kit.js";
import { BLUE, ORANGE, fittedContext, keepPanels } from "./panels.js";
import { betaText, chosen, betaInWords, equalLoss, span } from "./beta_scrubber_maths.js";
import { drawImages, drawPlane, readSnapshots } from "./snapshots.js";
import { arrange } from "./training_scrubber_maths.js";

function readModels(model) {
  const betas = finiteNumbers("betas", model.get("betas"));
  const [rates, distortions] = ["rates", "distortions"].map((name) => finiteNumbers(name, model.get(name), betas.length));
  const record = readSnapshots(model, betas.length);
  return { ...record, betas, places: record.places, at: betas.map((_, i) => ({ rate: rates[i], distortion: distortions[i] })) };
}

/** All models on the rate-distortion plane; through the chosen one the line on which its own loss stays the same. */
function drawCurve(context, box, models, number, ink) {
  const [xlim, ylim] = [span(models.at.map(({ rate }) => rate)), span(models.at.map(({ distortion }) => distortion))];
  const axes = new Axes(context, { ...box, xlim, ylim, ink });
  const ends = [Math.ceil(xlim[0]), Math.floor(xlim[1])].map((tick) => tick + 0); // + 0: there is no minus zero
  axes.frame({ ticks: ends, label: "rate (KL), nats", title: "Distortion, nats" });
  context.font = "12px sans-serif";
  context.textAlign = "right";
  const heights = models.at.map(({ distortion }) => distortion);
  for (const level of [Math.min(...heights), Math.max(...heights)]) context.fillText(level.toFixed(0), box.x - 4, axes.py(level) + 4);
  axes.curve(models.at.map(({ rate }) => rate), heights, { color: BLUE });
  const here = models.at[number];
  axes.curve(xlim, xlim.map((rate) => equalLoss(models.betas[number], here, rate)), { color: ORANGE, dash: [5, 4] });
  models.at.forEach(({ rate, distortion }, i) => {
    context.fillStyle = i === number ? ORANGE : BLUE;
    context.beginPath();
    context.arc(axes.px(rate), axes.py(distortion), i === number ? 6 : 3.5, 0, 2 * Math.PI);
    context.fill();
  });
  context.fillStyle = ink;
  context.textAlign = "right";
  context.fillText(`slope −β = −${betaText(models.betas[number])}`, box.x + box.width, box.y + 12);
}

function render({ model, el }) {
  el.classList.add("vae-widget", "vae-elbo");
  const models = readModels(model);
  const shape = imageShape(model.get("image_shape"));
  const columns = wholeNumber("columns", model.get("columns"));
  const limits = finiteNumbers("limits", model.get("limits"), models.count);
  const colors = hexColors(model.get("colors"));
  const size = models.decoded.length / models.count;
  const rows = Math.ceil(size / (shape[0] * shape[1]) / columns);
  const scratch = document.createElement("canvas");
  return keepPanels({ model, el }, ["number"], (canvas, width, theme) => {
    const number = chosen(finiteNumber("number", model.get("number")), models.count);
    const place = arrange(width, (columns * shape[1]) / (rows * shape[0]));
    const context = fittedContext(canvas, width, place.height);
    const codes = models.codes.subarray(2 * models.points * number, 2 * models.points * (number + 1));
    const levels = models.decoded.subarray(size * number, size * (number + 1));
    const now = { from: number, to: number, share: 0 };
    drawPlane(context, place.plane, models, now, { codes, colors, limit: limits[number], ...theme });
    drawImages(context, place.images, levels, shape, columns, scratch, theme.ink);
    drawCurve(context, place.chart, models, number, theme.ink);
    const lines = betaInWords(models.betas[number], models.at[number]);
    return { label: `Codes of ${models.points} test images, decoded digits, the rate-distortion curve.`, lines };
  }).stop;
}

export default widget(render);
