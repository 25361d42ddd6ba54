// The conditional explorer: one slider picks the digit, the others the hand; the same hand in every digit below.
import { demand, finiteNumbers, imageShape, wholeNumber } from "./checks.js";
import { element, keepPainted, sharpContext, show, themeOf, widget } from "./kit.js";
import { columnsFor, everyLabel, pictureAt } from "./conditional_explorer_maths.js";
import { sigmoid, unpackLayers } from "./network.js";
import { canvasWidth, fittedContext, followWidth } from "./panels.js";

const LEAST = 48; // CSS pixels, the width of a picture of the strip
const LARGE = 200;
const GAP = 6;
const NAME = 16; // height of a digit's name

function paintImage(scratch, logits, [height, width]) {
  scratch.width = width;
  scratch.height = height;
  const context = scratch.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    const grey = Math.round(255 * sigmoid(logits[i]));
    image.data.set([grey, grey, grey, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

/** Draw one image into a square, its edges kept sharp. */
function drawImage(context, scratch, x, y, side) {
  context.imageSmoothingEnabled = false;
  context.drawImage(scratch, x, y, side, side);
}

function drawStrip(context, images, shape, { columns, cell, chosen, names, ink, scratch }) {
  images.forEach((logits, label) => {
    const x = (label % columns) * cell;
    const y = Math.floor(label / columns) * (cell + NAME);
    paintImage(scratch, logits, shape);
    drawImage(context, scratch, x + GAP / 2, y + GAP / 2, cell - GAP);
    context.fillStyle = context.strokeStyle = ink;
    context.font = label === chosen ? "bold 13px sans-serif" : "13px sans-serif";
    context.textAlign = "center";
    context.fillText(names[label], x + cell / 2, y + cell + NAME - 4);
    if (label !== chosen) return;
    context.lineWidth = 3;
    context.strokeRect(x + GAP / 2 - 1, y + GAP / 2 - 1, cell - GAP + 2, cell - GAP + 2);
    context.fillRect(x + cell / 2 - 7, y + cell + NAME - 2, 14, 2);
  });
}

function render({ model, el }) {
  el.classList.add("vae-widget", "vae-conditional");
  const layers = unpackLayers(model.get("layers"), model.get("weights"));
  const classes = wholeNumber("classes", model.get("classes"), 1, layers[0].inputs - 1);
  const names = model.get("names");
  demand(Array.isArray(names) && names.length === classes, `${classes} names`, names);
  const shape = imageShape(model.get("image_shape"), layers.at(-1).outputs);
  const traits = Array.from({ length: layers[0].inputs - classes }, (_, i) => `z${i}`);
  const scratch = document.createElement("canvas");
  const large = element("figure", {}, el);
  const picture = element("canvas", { role: "img", class: "vae-conditional-picture" }, large);
  const caption = element("figcaption", { "aria-live": "polite" }, large);
  const all = element("figure", { class: "vae-conditional-all" }, el);
  const strip = element("canvas", { role: "img", class: "vae-conditional-strip" }, all);
  element("figcaption", {}, all).textContent = "The same z under every label; press one to choose it";
  let columns = classes;

  const { update, stop } = keepPainted(el, model, ["digit", ...traits], () => {
    const { ink } = themeOf(el);
    const chosen = wholeNumber("digit", Math.round(model.get("digit")), 0, classes - 1);
    const z = finiteNumbers("z", traits.map((name) => model.get(name)));
    const images = everyLabel(layers, z, classes);
    paintImage(scratch, images[chosen], shape);
    drawImage(sharpContext(picture, LARGE, LARGE), scratch, 0, 0, LARGE);
    const place = z.map((value) => show(value)).join(", ");
    caption.textContent = `Label ${names[chosen]}, z = (${place})`;
    picture.setAttribute("aria-label", `Decoded image for label ${names[chosen]} at z = (${place})`);
    const width = canvasWidth(el);
    columns = columnsFor(classes, width, LEAST);
    const cell = Math.floor(width / columns);
    const height = Math.ceil(classes / columns) * (cell + NAME);
    drawStrip(fittedContext(strip, columns * cell, height), images, shape, { columns, cell, chosen, names, ink, scratch });
    strip.setAttribute("aria-label", `The same z under each of ${classes} labels; ${names[chosen]} is chosen`);
  });
  strip.addEventListener("click", (event) => {
    const box = strip.getBoundingClientRect();
    const label = pictureAt((event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height, classes, columns);
    if (label < 0) return;
    model.set("digit", label);
    model.save_changes();
    update();
  });
  const ignoreWidth = followWidth(el, update);
  return () => {
    ignoreWidth();
    stop();
  };
}

export default widget(render);
