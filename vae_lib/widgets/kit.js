// What all widgets share: canvases that follow the page's theme and the screen, sliders with names, axes, curves, bars.

/** A DOM element with attributes, appended to a parent. */
export function element(name, attributes = {}, parent = null) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (parent) parent.append(node);
  return node;
}

/** A number for people: fixed digits, a power of ten where it has many, and a real minus sign. */
export function show(value, digits = 2) {
  const text = Math.abs(value) < 1e9 ? value.toFixed(digits) : value.toExponential(digits).replace("e+", "e");
  return text.replace("-", "−");
}

/** "#rrggbb" of a colour as browsers compute it, "rgb(r, g, b)". */
function hexOf(color) {
  const numbers = color.match(/[\d.]+/g) ?? [];
  return numbers.length < 3 ? "white" : `#${numbers.slice(0, 3).map((value) => Math.round(Number(value)).toString(16).padStart(2, "0")).join("")}`;
}

/** High contrast: the reader's colours stand for the page's. */
const forcedColors = () => matchMedia("(forced-colors: active)");

/** Text colour and background of a widget, as the page's theme has them now. */
export function themeOf(el) {
  const style = getComputedStyle(el);
  const paper = forcedColors().matches ? hexOf(style.backgroundColor) : style.getPropertyValue("--vae-paper").trim();
  return { ink: style.color, paper: paper === "#ffffff" ? "white" : paper || "white" };
}

/** Put a message in the widget's place; what else stands there is hidden until clearError. */
export function showError(el, error) {
  clearError(el);
  el.classList.add("vae-widget-fails");
  const message = element("p", { role: "alert", class: "vae-widget-error" }, el);
  message.textContent = `This widget cannot be shown: ${error.message}.`;
}

/** Take the message away again. */
export function clearError(el) {
  if (!el.classList.contains("vae-widget-fails")) return;
  el.classList.remove("vae-widget-fails");
  for (const child of [...el.children]) if (child.classList.contains("vae-widget-error")) child.remove();
}

/** A widget's module from its render function; where that throws, the reason stands in the widget's place. */
export function widget(render) {
  return {
    render(context) {
      try {
        return render(context);
      } catch (error) {
        context.el.replaceChildren();
        return showError(context.el, error);
      }
    },
  };
}

/** An empty context whose unit is the CSS pixel, sharp on this screen; the canvas gets new memory only where its size changes. */
export function sharpContext(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const size = [Math.round(width * ratio), Math.round(height * ratio)];
  const context = canvas.getContext("2d");
  if (context.reset && canvas.width === size[0] && canvas.height === size[1]) context.reset();
  else [canvas.width, canvas.height] = size;
  context.setTransform(canvas.width / width, 0, 0, canvas.height / height, 0, 0);
  return context;
}

function onThemeChange(callback) {
  const observer = new MutationObserver(callback);
  observer.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme", "data-mode", "class", "theme"] });
  observer.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  const wishes = [matchMedia("(prefers-color-scheme: dark)"), forcedColors()];
  for (const wish of wishes) wish.addEventListener("change", callback);
  return () => {
    observer.disconnect();
    for (const wish of wishes) wish.removeEventListener("change", callback);
  };
}

/** Say something politely, to screen readers alone, once nothing new has come for half a second. Returns {say, stop}. */
export function announcer(el) {
  const region = element("div", { class: "vae-unseen", "aria-live": "polite" }, el);
  let timer = 0;
  return {
    say(text) {
      clearTimeout(timer);
      if (region.textContent !== text) timer = setTimeout(() => (region.textContent = text), 500);
    },
    stop: () => clearTimeout(timer),
  };
}

/** Slider handles have no name of their own, and screen readers need one; they appear some time after the canvas. */
function nameSliders(el) {
  const labels = el.closest(".vae-widget-box")?.querySelectorAll(".widget-slider .widget-label") ?? [];
  for (const label of labels) {
    label.parentElement.querySelector("[role=slider]")?.setAttribute("aria-label", label.title || label.textContent);
  }
}

/**
 * Paint once now, and again, at most once a frame, whenever one of the model's traits or the look of the page changes.
 * paint(fresh) is told whether anything but the traits has changed since. Returns {update, stop}: update() asks for another
 * painting; stop() ends all of it and belongs in what render() returns. Where paint throws, the reason stands in the widget's
 * place until a later painting succeeds. data-painted on the widget's element counts the finished
 * paintings, for those who wait for one.
 */
export function keepPainted(el, model, traits, paint) {
  let frame = 0;
  let fresh = true;
  let painted = 0;
  const now = () => {
    frame = 0;
    try {
      paint(fresh);
      clearError(el);
    } catch (error) {
      showError(el, error);
    }
    fresh = false;
    el.dataset.painted = String(++painted);
  };
  const update = () => (frame ||= requestAnimationFrame(now));
  const repaint = () => {
    fresh = true;
    update();
  };
  for (const trait of traits) model.on(`change:${trait}`, update);
  const forgetTheme = onThemeChange(repaint);
  window.addEventListener("resize", repaint);
  const arrival = new ResizeObserver(() => nameSliders(el));
  arrival.observe(el);
  now();
  return {
    update,
    stop() {
      cancelAnimationFrame(frame);
      for (const trait of traits) model.off(`change:${trait}`, update);
      forgetTheme();
      window.removeEventListener("resize", repaint);
      arrival.disconnect();
      el.replaceChildren(); // JupyterLab keeps the element of a view that has gone: its canvases need not stay with it
    },
  };
}

/**
 * A pair of axes in a rectangle of a context: {x, y, width, height} in pixels, xlim and ylim in data.
 * Methods draw in data units and clip to the rectangle.
 */
export class Axes {
  constructor(context, { x, y, width, height, xlim, ylim, ink }) {
    Object.assign(this, { context, x, y, width, height, xlim, ylim, ink });
  }

  px(value) {
    return this.x + ((value - this.xlim[0]) / (this.xlim[1] - this.xlim[0])) * this.width;
  }

  py(value) {
    return this.y + this.height - ((value - this.ylim[0]) / (this.ylim[1] - this.ylim[0])) * this.height;
  }

  /** Frame, ticks with numbers below, and a label. */
  frame({ ticks = [], label = "", title = "" } = {}) {
    const { context } = this;
    context.strokeStyle = context.fillStyle = this.ink;
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(this.x, this.y + this.height);
    context.lineTo(this.x + this.width, this.y + this.height);
    context.stroke();
    context.font = "12px sans-serif";
    context.textAlign = "center";
    for (const tick of ticks) {
      const at = this.px(tick);
      context.fillRect(at - 0.5, this.y + this.height, 1, 4);
      context.fillText(String(tick).replace("-", "−"), at, this.y + this.height + 16);
    }
    context.fillText(label, this.x + this.width / 2, this.y + this.height + 31);
    context.font = "bold 13px sans-serif";
    context.textAlign = "left";
    context.fillText(title, this.x, this.y - 6);
  }

  #trace(xs, ys) {
    const { context } = this;
    context.save();
    context.beginPath();
    context.rect(this.x, this.y - 2, this.width, this.height + 4);
    context.clip();
    context.beginPath();
    for (let i = 0; i < xs.length; i++) context.lineTo(this.px(xs[i]), this.py(ys[i]));
  }

  /** A curve; dash such as [6, 4] tells curves apart without colour. */
  curve(xs, ys, { color, width = 2, dash = [] }) {
    this.#trace(xs, ys);
    this.context.strokeStyle = color;
    this.context.lineWidth = width;
    this.context.setLineDash(dash);
    this.context.stroke();
    this.context.restore();
  }

  /** The area between a curve and zero. */
  area(xs, ys, { color, alpha = 0.25 }) {
    this.#trace(xs, ys);
    const { context } = this;
    context.lineTo(this.px(xs[xs.length - 1]), this.py(0));
    context.lineTo(this.px(xs[0]), this.py(0));
    context.closePath();
    context.globalAlpha = alpha;
    context.fillStyle = color;
    context.fill();
    context.restore();
  }

  /** A vertical line with a name at its top. */
  mark(value, name, { color, dash = [4, 3] }) {
    const { context } = this;
    context.save();
    context.strokeStyle = context.fillStyle = color;
    context.setLineDash(dash);
    context.beginPath();
    context.moveTo(this.px(value), this.y);
    context.lineTo(this.px(value), this.y + this.height);
    context.stroke();
    context.font = "12px sans-serif";
    context.textAlign = "center";
    context.fillText(name, this.px(value), this.y - 2);
    context.restore();
  }
}

/** A legend: short lines, each with its dash, and names beside them, from left to right. */
export function legend(context, entries, x, y, ink) {
  context.font = "12px sans-serif";
  context.textAlign = "left";
  for (const { name, color, dash = [] } of entries) {
    context.strokeStyle = color;
    context.lineWidth = 3;
    context.setLineDash(dash);
    context.beginPath();
    context.moveTo(x, y - 4);
    context.lineTo(x + 22, y - 4);
    context.stroke();
    context.setLineDash([]);
    context.fillStyle = ink;
    context.fillText(name, x + 28, y);
    x += 28 + context.measureText(name).width + 18;
  }
}
