// Runs on every page. It brings the widgets when they are wanted, and lets the keyboard reach what has to be scrolled sideways.
(() => {
  document.documentElement.dataset.page = "runs"; // else early.js puts still pictures into the widgets' places
  const root = document.documentElement.dataset.content_root || "./";

  // What the theme's buttons do: the pages' policy lets no code in attributes run.
  const actions = { print: () => window.print(), fullscreen: () => window.toggleFullScreen?.() };
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-action]");
    if (button) actions[button.dataset.action]?.();
  });

  const whenIdle = window.requestIdleCallback ?? ((callback) => setTimeout(() => callback({ timeRemaining: () => 20 }), 100));

  // A box that scrolls takes the focus, so that arrow keys can scroll it; one that has room for all does not. To look at all of
  // them at once would lay out the whole page.
  const BOXES = "div.highlight pre, .output pre, .output.text_html, .pst-scrollable-table-container, mjx-container";
  const boxes = [...document.querySelectorAll(BOXES)];
  const lookAt = (box) => {
    const scrolls = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
    if (scrolls && getComputedStyle(box).overflow !== "visible") box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  };
  let queue = [];
  const step = (deadline) => {
    while (queue.length && deadline.timeRemaining() > 5) lookAt(queue.pop());
    if (queue.length) whenIdle(step);
    else document.documentElement.dataset.boxes = "known";
  };
  const look = () => {
    if (!queue.length) whenIdle(step);
    queue = [...boxes].reverse();
  };
  window.addEventListener("load", look);
  window.addEventListener("resize", look);
  document.addEventListener("toggle", look, true); // a solution unfolds

  const places = [...document.querySelectorAll(".widget-subarea")];
  if (!places.length) return;

  const load = (source) =>
    new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = root + source;
      script.onload = resolve;
      script.onerror = () => reject(new Error(`expected ${source} beside this page, and could not load it`));
      document.head.append(script);
    });
  const stands = (place) => place.querySelector(".vae-widget > *, .vae-widget-error");
  // Asked of the style sheet, with :has(), this would be looked up again for each word that a widget changes while it is dragged.
  const noteWhenItStands = (place) => {
    const observer = new MutationObserver(() => {
      if (!stands(place)) return;
      place.classList.add("vae-stands");
      place.querySelector(".vae-still")?.remove(); // it came after all
      observer.disconnect();
    });
    observer.observe(place, { childList: true, subtree: true });
  };
  const PATIENCE = 20_000; // milliseconds for a widget to appear once all its files are there
  const giveUp = (waiting, error) => {
    console.warn(error.message ?? error);
    for (const place of waiting) if (!stands(place)) window.vaeStill(place);
  };
  const bring = async () => {
    for (const place of places) noteWhenItStands(place);
    const style = document.createElement("link");
    style.rel = "stylesheet";
    style.href = `${root}_static/vendor/widgets.css`;
    const styled = new Promise((resolve) => (style.onload = style.onerror = resolve)); // or sliders would come twice as high
    document.head.append(style);
    // a file that is cut short, or is another than its name says, loads without an error and leaves nothing
    await load(document.documentElement.dataset.widgets);
    if (!globalThis.vaeWidgetState?.state) throw new Error("expected the state of this page's widgets, got something else");
    await styled;
    await load("_static/vendor/widgets.js");
    if (!globalThis.vaeShowWidgets) throw new Error("expected the widgets' manager, got something else");
    setTimeout(() => {
      const missing = places.filter((place) => !stands(place));
      if (missing.length) giveUp(missing, new Error(`expected ${missing.length} more widgets within ${PATIENCE / 1000} s`));
    }, PATIENCE);
    await globalThis.vaeShowWidgets(globalThis.vaeWidgetState, (place, error) => giveUp([place], error));
  };
  let started = false;
  const start = () => {
    if (started) return;
    started = true;
    bring().catch((error) => giveUp(places, error));
  };

  // They are 300 KB or more, and nobody needs them to begin to read: the text comes first. Then they come when the reader draws near
  // or does anything, else when the browser has nothing else to do.
  const near = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && whenIdle(start), {
    rootMargin: "100% 0px",
  });
  for (const event of ["keydown", "pointerdown", "beforeprint"]) window.addEventListener(event, start, { once: true });
  window.addEventListener("load", () => {
    for (const place of places) near.observe(place);
    setTimeout(() => whenIdle(start), 2000);
  });
})();
