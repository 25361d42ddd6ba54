// Moves the sliders of pages in Firefox: `node firefox.mjs FIREFOX LIMIT_MS ADDRESS…` prints what it found as JSON, one entry a page.
import puppeteer from "puppeteer-core";

const [executablePath, limit, ...addresses] = process.argv.slice(2);
const timeout = Number(limit); // for what hangs
const BOXES = ".vae-widget-box";
const pictures = () => [...document.querySelectorAll(".vae-widget-box canvas")].map((canvas) => canvas.toDataURL()).join();
// until no widget has painted again for two frames
const atRest = async (limit) => {
  const began = performance.now();
  const painted = () => [...document.querySelectorAll(".vae-widget[data-painted]")].map((widget) => widget.dataset.painted).join();
  for (let before; before !== painted(); ) {
    if (performance.now() - began > limit) throw new Error(`the widgets still paint after ${limit} ms`);
    before = painted();
    for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
  }
};
const ready = (count) => {
  const boxes = [...document.querySelectorAll(".vae-widget-box")];
  const handles = [...document.querySelectorAll(".vae-widget-box .widget-slider")].map((slider) => slider.querySelector(".noUi-handle[aria-label]"));
  return boxes.length === count && boxes.every((box) => box.querySelector("canvas")) && handles.every(Boolean);
};

async function visit(browser, address) {
  const page = await browser.newPage();
  page.setDefaultTimeout(timeout);
  const found = { address, troubles: [], foreign: [], sliders: [] };
  const own = new URL(address).origin;
  page.on("pageerror", (error) => found.troubles.push(String(error)));
  page.on("console", (message) => message.type() === "error" && found.troubles.push(message.text()));
  page.on("request", (request) => !/^(data|blob):/.test(request.url()) && !request.url().startsWith(own) && found.foreign.push(request.url()));
  await page.setViewport({ width: 1280, height: 900 });
  await page.goto(address);
  await page.keyboard.press("Shift");
  const count = await page.$$eval("script[type='application/vnd.jupyter.widget-view+json']", (scripts) => scripts.length);
  await page.waitForFunction(ready, { timeout }, count);
  for (const handle of await page.$$(`${BOXES} .noUi-handle`)) {
    await page.evaluate(atRest, timeout);
    const before = await page.evaluate(pictures);
    await handle.focus();
    for (let i = 0; i < 8; i++) await page.keyboard.press("ArrowRight");
    await page.evaluate(atRest, timeout);
    const name = await handle.evaluate((element) => element.getAttribute("aria-label"));
    found.sliders.push({ name, moved: (await page.evaluate(pictures)) !== before });
  }
  await page.close();
  return found;
}

const browser = await puppeteer.launch({ browser: "firefox", executablePath, headless: true, timeout, protocolTimeout: timeout });
const results = [];
try {
  for (const address of addresses) results.push(await visit(browser, address));
} finally {
  await browser.close();
}
console.log(JSON.stringify(results));
