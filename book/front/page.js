// Runs on every page. It brings the widgets when they are wanted, and lets the keyboard reach what has to be scrolled sideways.
(() => {
  const root = document.documentElement.dataset.content_root || "./";

  // A box that scrolls takes the focus, so that arrow keys can scroll it; one that has room for all does not.
  const BOXES = "div.highlight pre, .output pre, .output.text_html, .pst-scrollable-table-container, mjx-container";
  const boxes = [...document.querySelectorAll(BOXES)];
  const look = () => {
    for (const box of boxes) {
      const scrolls = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
      if (scrolls && getComputedStyle(box).overflow !== "visible") box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  window.addEventListener("load", look);
  window.addEventListener("resize", look);
  document.addEventListener("toggle", look, true); // a solution unfolds
  document.addEventListener("click", () => requestAnimationFrame(look));

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
  let started = false;
  const start = async () => {
    if (started) return;
    started = true;
    const style = document.createElement("link");
    style.rel = "stylesheet";
    style.href = `${root}_static/vendor/widgets.css`;
    // before the book's own style, which has the last word
    document.querySelector("link[href*='book.css']").before(style);
    await load(document.documentElement.dataset.widgets);
    await load("_static/vendor/widgets.js");
  };

  // They are 600 KB or more and nobody needs them to read on: they come when the reader draws near or does anything, else when the
  // browser has nothing else to do.
  const near = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && start(), {
    rootMargin: "100% 0px",
  });
  for (const place of places) near.observe(place);
  for (const event of ["keydown", "pointerdown", "beforeprint"]) window.addEventListener(event, start, { once: true });
  const whenIdle = window.requestIdleCallback ?? ((callback) => setTimeout(callback, 500));
  window.addEventListener("load", () => setTimeout(() => whenIdle(start), 1500));
})();
