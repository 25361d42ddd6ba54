// The latent explorer: decodes z in the browser, paints the digit, and shows z on a map of codes.
import { float16ToFloat32, forward, sigmoid, unpackLayers } from "./network.js";

const MAP = 320; // side of the map, CSS pixels
const DIGIT = 240; // side of the digit

function element(name, attributes = {}, parent = null) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (parent) parent.append(node);
  return node;
}

/** Call back when the page turns dark or light; returns how to stop. */
function onThemeChange(callback) {
  const observer = new MutationObserver(callback);
  observer.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "data-mode", "class"] });
  observer.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  const media = matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", callback);
  return () => {
    observer.disconnect();
    media.removeEventListener("change", callback);
  };
}

/** A canvas of the given CSS size, sharp on this screen; resize() again when the screen's pixel ratio changes. */
function sharpContext(canvas, side) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = canvas.height = Math.round(side * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(canvas.width / side, 0, 0, canvas.height / side, 0, 0);
  return context;
}

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

function number(value) {
  return value.toFixed(2).replace("-", "−");
}

function render({ model, el }) {
  el.classList.add("vae-explorer");
  let layers, codes;
  try {
    layers = unpackLayers(model.get("layers"), model.get("weights"));
    codes = readCodes(model);
  } catch (error) {
    element("p", { role: "alert", class: "vae-explorer-error" }, el).textContent = `This explorer cannot be shown: ${error.message}.`;
    return;
  }
  const latentDim = layers[0].inputs;
  const names = Array.from({ length: Math.min(latentDim, model.get("sliders")) }, (_, i) => `z${i}`);
  const limit = model.get("limit");
  const shape = model.get("image_shape");
  const colors = model.get("colors");

  const digit = element("canvas", { class: "vae-explorer-digit", role: "img", width: shape[1], height: shape[0] });
  digit.style.width = digit.style.maxWidth = `${DIGIT}px`;
  const map = codes.count ? element("canvas", { class: "vae-explorer-map", role: "application", tabindex: "0" }) : null;
  if (map) {
    map.setAttribute("aria-roledescription", "latent map");
    const figure = element("figure", {}, el);
    figure.append(map);
    element("figcaption", {}, figure).textContent = "Latent plane: codes by digit, circles at 1, 2, 3 σ of the prior";
  }
  const figure = element("figure", {}, el);
  figure.append(digit);
  const caption = element("figcaption", { "aria-live": "polite" }, figure);

  const z = new Float32Array(latentDim);
  const toPixels = (x, y) => [(x / limit + 1) * (MAP / 2), (1 - y / limit) * (MAP / 2)];
  let background = null; // the map without the point, painted once for each theme and screen

  function paintBackground() {
    const ink = getComputedStyle(el).color;
    const paper = getComputedStyle(el).getPropertyValue("--vae-paper").trim() || "white";
    background = document.createElement("canvas");
    const context = sharpContext(background, MAP);
    drawAxes(context, limit, ink, toPixels);
    drawCodes(context, codes, colors, toPixels);
    drawNames(context, model.get("names"), ink, paper, toPixels);
  }

  function paintMap() {
    if (!background) paintBackground();
    const context = sharpContext(map, MAP);
    context.drawImage(background, 0, 0, MAP, MAP);
    const style = getComputedStyle(el);
    drawPoint(context, toPixels(z[0], z[1]), style.color, style.getPropertyValue("--vae-paper").trim() || "white");
  }

  function paint() {
    frame = 0;
    names.forEach((name, i) => (z[i] = model.get(name)));
    const place = Array.from(z.subarray(0, Math.max(names.length, Math.min(2, latentDim))), number).join(", ");
    paintDigit(digit, forward(layers, z), shape);
    digit.setAttribute("aria-label", `Decoded image at z = (${place})`);
    caption.textContent = `Decoded at z = (${place})`;
    if (map) {
      paintMap();
      map.setAttribute("aria-label", `Map of the latent plane, now at (${place}). Arrow keys move; Shift moves further.`);
    }
  }

  let frame = 0;
  const update = () => (frame ||= requestAnimationFrame(paint));
  const fixed = model.get("start");
  for (let i = 0; i < latentDim; i++) z[i] = fixed[i] ?? 0;

  function moveTo(x, y) {
    const clip = (value) => Math.round(100 * Math.min(limit, Math.max(-limit, value))) / 100;
    model.set({ z0: clip(x), z1: clip(y) });
    model.save_changes();
    update();
  }
  if (map && names.length > 1) {
    const follow = (event) => {
      const box = map.getBoundingClientRect();
      moveTo(((event.clientX - box.left) / box.width * 2 - 1) * limit, (1 - (event.clientY - box.top) / box.height * 2) * limit);
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

  /** Slider handles have no name of their own, and screen readers need one; they appear some time after this canvas. */
  function nameSliders() {
    const labels = el.closest(".vae-explorer-box")?.querySelectorAll(".widget-slider .widget-label") ?? [];
    for (const label of labels) {
      const handle = label.parentElement.querySelector("[role=slider]");
      handle?.setAttribute("aria-label", `Latent coordinate ${label.textContent}`);
    }
  }

  const repaint = () => {
    background = null;
    update();
  };
  const arrival = new ResizeObserver(nameSliders);
  arrival.observe(el);
  for (const name of names) model.on(`change:${name}`, update);
  const forgetTheme = onThemeChange(repaint);
  window.addEventListener("resize", repaint);
  paint();
  return () => {
    cancelAnimationFrame(frame);
    for (const name of names) model.off(`change:${name}`, update);
    forgetTheme();
    arrival.disconnect();
    window.removeEventListener("resize", repaint);
  };
}

export default { render };
