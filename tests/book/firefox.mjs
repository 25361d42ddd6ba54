// Moves the sliders of pages in Firefox: `node firefox.mjs FIREFOX ADDRESS…` prints what it found as JSON, one entry a page.
import puppeteer from "puppeteer-core";

const [executablePath, ...addresses] = process.argv.slice(2);
const BOXES = ".vae-widget-box";
const pictures = () => [...document.querySelectorAll(".vae-widget-box canvas")].map((canvas) => canvas.toDataURL()).join();
const twoFrames = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
const ready = (count) => {
  const boxes = [...document.querySelectorAll(".vae-widget-box")];
  const handles = [...document.querySelectorAll(".vae-widget-box .widget-slider")].map((slider) => slider.querySelector(".noUi-handle[aria-label]"));
  return boxes.length === count && boxes.every((box) => box.querySelector("canvas")) && handles.every(Boolean);
};

async function visit(browser, address) {
  const page = await browser.newPage();
  const found = { address, troubles: [], foreign: [], sliders: [] };
  const own = new URL(address).origin;
  page.on("pageerror", (error) => found.troubles.push(String(error)));
  page.on("console", (message) => message.type() === "error" && found.troubles.push(message.text()));
  page.on("request", (request) => !/^(data|blob):/.test(request.url()) && !request.url().startsWith(own) && found.foreign.push(request.url()));
  await page.setViewport({ width: 1280, height: 900 });
  await page.goto(address);
  await page.keyboard.press("Shift");
  const count = await page.$$eval("script[type='application/vnd.jupyter.widget-view+json']", (scripts) => scripts.length);
  await page.waitForFunction(ready, { timeout: 60_000 }, count);
  for (const handle of await page.$$(`${BOXES} .noUi-handle`)) {
    const before = await page.evaluate(pictures);
    await handle.focus();
    for (let i = 0; i < 8; i++) await page.keyboard.press("ArrowRight");
    await page.evaluate(twoFrames);
    const name = await handle.evaluate((element) => element.getAttribute("aria-label"));
    found.sliders.push({ name, moved: (await page.evaluate(pictures)) !== before });
  }
  await page.close();
  return found;
}

const browser = await puppeteer.launch({ browser: "firefox", executablePath, headless: true });
const results = [];
try {
  for (const address of addresses) results.push(await visit(browser, address));
} finally {
  await browser.close();
}
console.log(JSON.stringify(results));
