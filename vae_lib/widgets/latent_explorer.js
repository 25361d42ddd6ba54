// The latent explorer: decodes z in the browser, paints the digit, and shows z on a map of codes.
import { element, keepPainted, sharpContext, show, showError, themeOf } from "./kit.js";
import { float16ToFloat32, forward, sigmoid, unpackLayers } from "./network.js";

const MAP = 320; // side of the map, CSS pixels

function readCodes(model) {
  const points = model.get("codes");
  const labels = model.get("labels");
  const count = labels ? labels.byteLength : 0;
  if (!count) return { count: 0 };
  if (!points || points.byteLength !== 4 * count) throw new Error(`expected ${count} pairs of codes, one for each label`);
  return { count, points: float16ToFloat32(points), labels: new Uint8Array(labels.buffer, labels.byteOffset, count) };
}

function drawCodes(context, codes, colors, toPixels) {
  context.globalAlpha = 0.6;
  for (let i = 0; i < codes.count; i++) {
    const [x, y] = toPixels(codes.points[2 * i], codes.points[2 * i + 1]);
    context.fillStyle = colors[codes.labels[i] % colors.length];
    context.fillRect(x - 1.25, y - 1.25, 2.5, 2.5);
  }
  context.globalAlpha = 1;
}

function drawAxes(context, limit, ink, toPixels) {
  context.strokeStyle = context.fillStyle = ink;
  context.lineWidth = 1;
  context.globalAlpha = 0.35;
  for (const radius of [1, 2, 3]) {
    const [cx, cy] = toPixels(0, 0);
    context.beginPath();
    context.arc(cx, cy, (radius / limit) * (MAP / 2), 0, 2 * Math.PI);
    context.stroke();
  }
  context.globalAlpha = 1;
  context.font = "12px sans-serif";
  context.textAlign = "center";
  for (let tick = Math.ceil(-limit) + 1; tick < limit; tick++) {
    const [x] = toPixels(tick, 0);
    context.fillText(String(tick).replace("-", "−"), x, MAP - 4);
    if (tick > 1 - limit) context.fillText(String(tick).replace("-", "−"), 10, toPixels(0, tick)[1] + 4);
  }
}

function drawNames(context, names, ink, paper, toPixels) {
  context.font = "bold 15px sans-serif";
  context.textAlign = "center";
  context.lineWidth = 4;
  context.strokeStyle = paper;
  context.fillStyle = ink;
  for (const [digit, x, y] of names) {
    const [px, py] = toPixels(x, y);
    context.strokeText(String(digit), px, py + 5);
    context.fillText(String(digit), px, py + 5);
  }
}

function drawPoint(context, [x, y], ink, paper) {
  for (const [color, width] of [[paper, 6], [ink, 2.5]]) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.beginPath();
    context.arc(x, y, 8, 0, 2 * Math.PI);
    context.moveTo(x - 14, y);
    context.lineTo(x - 3, y);
    context.moveTo(x + 3, y);
    context.lineTo(x + 14, y);
    context.moveTo(x, y - 14);
    context.lineTo(x, y - 3);
    context.moveTo(x, y + 3);
    context.lineTo(x, y + 14);
    context.stroke();
  }
}

function paintDigit(canvas, logits, [height, width]) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    const grey = Math.round(255 * sigmoid(logits[i]));
    image.data.set([grey, grey, grey, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

function render({ model, el }) {
  el.classList.add("vae-widget", "vae-explorer");
  let layers, codes;
  try {
    layers = unpackLayers(model.get("layers"), model.get("weights"));
    codes = readCodes(model);
  } catch (error) {
    showError(el, error);
    return;
  }
  const latentDim = layers[0].inputs;
  const traits = Array.from({ length: Math.min(latentDim, model.get("sliders")) }, (_, i) => `z${i}`);
  const limit = model.get("limit");
  const shape = model.get("image_shape");
  const toPixels = (x, y) => [(x / limit + 1) * (MAP / 2), (1 - y / limit) * (MAP / 2)];

  const map = codes.count ? element("canvas", { class: "vae-explorer-map", role: "application", tabindex: "0" }) : null;
  if (map) {
    map.setAttribute("aria-roledescription", "latent map");
    const figure = element("figure", {}, el);
    figure.append(map);
    element("figcaption", {}, figure).textContent = "Latent plane: codes by digit, circles at 1, 2, 3 σ of the prior";
  }
  const figure = element("figure", {}, el);
  const digit = element("canvas", { class: "vae-explorer-digit", role: "img", width: shape[1], height: shape[0] }, figure);
  const caption = element("figcaption", { "aria-live": "polite" }, figure);

  const z = Float32Array.from({ length: latentDim }, (_, i) => model.get("start")[i] ?? 0);
  const background = document.createElement("canvas"); // the map without the point, painted once for each theme and screen

  function paintBackground({ ink, paper }) {
    const context = sharpContext(background, MAP, MAP);
    drawAxes(context, limit, ink, toPixels);
    drawCodes(context, codes, model.get("colors"), toPixels);
    drawNames(context, model.get("names"), ink, paper, toPixels);
  }

  const { update, stop } = keepPainted(el, model, traits, (fresh) => {
    traits.forEach((name, i) => (z[i] = model.get(name)));
    const place = Array.from(z.subarray(0, Math.max(traits.length, Math.min(2, latentDim))), (value) => show(value)).join(", ");
    paintDigit(digit, forward(layers, z), shape);
    digit.setAttribute("aria-label", `Decoded image at z = (${place})`);
    caption.textContent = `Decoded at z = (${place})`;
    if (!map) return;
    const theme = themeOf(el);
    if (fresh) paintBackground(theme);
    const context = sharpContext(map, MAP, MAP);
    context.drawImage(background, 0, 0, MAP, MAP);
    drawPoint(context, toPixels(z[0], z[1]), theme.ink, theme.paper);
    map.setAttribute("aria-label", `Map of the latent plane, now at (${place}). Arrow keys move; Shift moves further.`);
  });

  function moveTo(x, y) {
    const clip = (value) => Math.round(100 * Math.min(limit, Math.max(-limit, value))) / 100;
    model.set({ z0: clip(x), z1: clip(y) });
    model.save_changes();
    update();
  }
  if (map && traits.length > 1) {
    const follow = (event) => {
      const box = map.getBoundingClientRect();
      moveTo((((event.clientX - box.left) / box.width) * 2 - 1) * limit, (1 - ((event.clientY - box.top) / box.height) * 2) * limit);
    };
    map.addEventListener("pointerdown", (event) => {
      map.setPointerCapture(event.pointerId);
      follow(event);
    });
    map.addEventListener("pointermove", (event) => map.hasPointerCapture(event.pointerId) && follow(event));
    map.addEventListener("keydown", (event) => {
      const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!direction) return;
      event.preventDefault();
      const step = event.shiftKey ? 0.5 : 0.05;
      moveTo(model.get("z0") + step * direction[0], model.get("z1") + step * direction[1]);
    });
  }
  return stop;
}

export default { render };
