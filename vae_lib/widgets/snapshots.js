// Recorded snapshots of a model, drawn: codes of images on the latent plane, and images decoded from fixed points.
import { demand, finiteNumber, wholeNumber } from "./checks.js";
import { onPaper } from "./contrast.js";
import { Axes } from "./kit.js";
import { blend, mosaic, unpackCodes } from "./training_scrubber_maths.js";

/** What the traits hold of every snapshot: count, labels, codes, decoded images, places of the digits' names. */
export function readSnapshots(model, count) {
  const labels = model.get("labels");
  const decoded = model.get("decoded");
  wholeNumber("the number of snapshots", count);
  for (const [name, view] of [["labels", labels], ["decoded images", decoded]]) demand(view?.byteLength, name, view);
  const points = labels.byteLength;
  const places = model.get("places");
  const alike = Array.isArray(places) && places.length === count && places.every((names) => names?.length === places[0].length);
  demand(alike, `the places of the same names for each of ${count} snapshots`, places);
  if (!decoded.byteLength || decoded.byteLength % count) {
    throw new Error(`expected decoded images for each of ${count} snapshots, got ${decoded.byteLength} bytes`);
  }
  return {
    count,
    points,
    labels: new Uint8Array(labels.buffer, labels.byteOffset, points),
    codes: unpackCodes(model.get("codes"), finiteNumber("reach", model.get("reach")), 2 * points * count),
    decoded: new Uint8Array(decoded.buffer, decoded.byteOffset, decoded.byteLength),
    places,
  };
}

/** A bold title above a box. */
export function drawTitle(context, text, { x, y }, ink) {
  context.fillStyle = ink;
  context.font = "bold 13px sans-serif";
  context.textAlign = "left";
  context.fillText(text, x, y - 7);
}

/** The latent plane: codes coloured by digit, the digits' names, the prior's circles. now: which snapshots, and how far between. */
export function drawPlane(context, box, record, now, { codes, colors, limit, ink, paper }) {
  const axes = new Axes(context, { ...box, xlim: [-limit, limit], ylim: [-limit, limit], ink });
  context.save();
  context.beginPath();
  context.rect(box.x, box.y, box.width, box.height);
  context.clip();
  context.globalAlpha = 0.65;
  const shown = onPaper(colors, paper);
  for (let i = 0; i < record.points; i++) {
    context.fillStyle = shown[record.labels[i] % shown.length];
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

/** Images decoded from the same points, as one mosaic. */
export function drawImages(context, box, levels, shape, columns, scratch, ink) {
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
