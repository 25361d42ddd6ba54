"""The latent explorer: what it computes, how soon it is seen, and what travels, beside the same through a live kernel.

Usage: python benchmarks/explorer.py, after `make book`. Opens the built chapter in headless Chromium, and a JupyterLab for the
kernel's way. A frame of a screen of 60 Hz takes 16.7 ms.
"""

from __future__ import annotations

import base64
import functools
import gzip
import http.server
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
from playwright.sync_api import Browser, Page, sync_playwright
from report import write

import vae_lib
from vae_lib.widgets.bundle import FOLDER, bundle
from vae_lib.widgets.pack import pack_dense_layers, pack_encoder, run_packed, run_packed_encoder

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import browser as browser_tool  # noqa: E402 -- tools/ is no package
import lab  # noqa: E402

HTML = ROOT / "_build" / "html"
DRAG_S = 5
SLOWER = 4
KERNEL_INPUTS = 40
IMAGES = 100

# Time of each movement of the pointer as the page hears it, and as the input was made, until the frame after it is painted
WATCH = """() => {
  window.latencies = [];
  const painted = new MessageChannel();
  let waiting = [];
  painted.port1.onmessage = () => {
    const now = performance.now();
    latencies.push(...waiting.map(([heard, made]) => [now - heard, now - made]));
    waiting = [];
  };
  window.addEventListener("pointermove", (event) => {
    if (!event.buttons) return;
    if (!waiting.length) requestAnimationFrame(() => painted.port2.postMessage(0));
    waiting.push([performance.now(), event.timeStamp]);
  }, { capture: true });
}"""

COMPUTE = """async ([network_source, maths_source, given, images, latents]) => {
  const load = (text) => import(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
  const [network, maths] = [await load(network_source), await load(maths_source)];
  const view = (text) => new DataView(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const decoder = network.unpackLayers(given.decoder, view(given.decoder_weights));
  const encoder = network.unpackEncoder(given.encoder, view(given.encoder_weights));
  const x = images.map((image) => Float32Array.from(image));
  const each = (run, times) => {
    const all = [];
    for (let n = 0; n < 10; n++) { // as many as the clock, which is coarse, can tell
      const start = performance.now();
      for (let k = 0; k < times; k++) run(k);
      all.push((performance.now() - start) / times);
    }
    return all.slice(2);
  };
  const decode = each((k) => network.forward(decoder, latents[k % latents.length]), 200);
  const encode = each((k) => network.encode(encoder, x[k % x.length]), 200);
  const codes = x.map((image) => network.encode(encoder, image));
  const first = async (ahead) => { // a fresh worker each time; it decodes the plane while it is not asked
    const all = [];
    for (let k = 0; k < 7; k++) {
      const fresh = maths.makeLedgerWorker(decoder);
      await new Promise((resolve) => setTimeout(resolve, ahead));
      const start = performance.now();
      await fresh.request(x[k], codes[k].mu, codes[k].logVar);
      all.push(performance.now() - start);
      fresh.stop();
    }
    return all;
  };
  const [at_once, prepared] = [await first(0), await first(300)];
  const worker = maths.makeLedgerWorker(decoder);
  await worker.request(x[0], codes[0].mu, codes[0].logVar);
  await new Promise((resolve) => setTimeout(resolve, 8000)); // it decodes the plane meanwhile
  const ledger = [];
  for (let k = 1; k < x.length; k++) {
    const start = performance.now();
    await worker.request(x[k], codes[k].mu, codes[k].logVar);
    ledger.push(performance.now() - start);
  }
  worker.stop();
  return { decode, encode, at_once, prepared, ledger };
}"""

KERNEL = """
import ipywidgets, numpy as np, vae_lib
import matplotlib.pyplot as plt
vae = vae_lib.pretrained("mnist-2d")

@ipywidgets.interact(z1=(-3.5, 3.5, 0.05), z2=(-3.5, 3.5, 0.05))
def show(z1=0.8, z2=-0.6):
    logits = vae.decoder(np.array([[z1, z2]], np.float32))
    plt.imshow(1 / (1 + np.exp(-np.asarray(logits).reshape(28, 28))), cmap="gray")
    plt.axis("off")
    plt.show()
"""

# From a key on a slider to the frame after another picture has been decoded
ASK_KERNEL = """async () => {
  const [cell, handle] = [document.querySelector(".jp-CodeCell"), document.querySelector(".jp-CodeCell .noUi-handle")];
  const source = () => cell.querySelector("img")?.src;
  const before = source();
  const start = performance.now();
  const key = window.up ? "ArrowRight" : "ArrowLeft";
  handle.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
  while (!source() || source() === before) {
    if (performance.now() - start > 20_000) throw new Error("no picture came");
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await cell.querySelector("img").decode();
  await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
  return performance.now() - start;
}"""


def kilobytes(*parts: bytes) -> float:
    """Size in a page: bytes are embedded as base64, and pages travel gzipped."""
    return sum(len(gzip.compress(base64.b64encode(part))) for part in parts) / 1000


def milliseconds(what: str, times: list[float]) -> dict[str, Any]:
    """Sum up times as a row of the table."""
    p95 = float(np.percentile(times, 95))
    return {"what": what, "median_ms": round(statistics.median(times), 2), "p95_ms": round(p95, 2), "times": len(times)}


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def site() -> Iterator[str]:
    """Serve the built book."""
    if not (HTML / "book" / "latent-explorer.html").exists():
        raise SystemExit("the book is not built: run make book first")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(HTML)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def computed(page: Page, vae: Any, data: Any) -> list[dict[str, Any]]:
    """Time decoder, encoder and ledger in the browser."""
    (decoder, decoder_weights), (encoder, encoder_weights) = (
        pack_dense_layers(vae.decoder), pack_encoder(vae, data.x_test[:2000]),
    )  # fmt: skip
    given = {
        "decoder": decoder, "decoder_weights": base64.b64encode(decoder_weights).decode(),
        "encoder": encoder, "encoder_weights": base64.b64encode(encoder_weights).decode(),
    }  # fmt: skip
    sources = [(FOLDER / "network.js").read_text(encoding="utf-8"), bundle("explorer_maths.js")]
    latents = np.random.default_rng(0).standard_normal((200, 2)).tolist()
    found = page.evaluate(COMPUTE, [*sources, given, data.x_test[5000 : 5000 + IMAGES].tolist(), latents])
    names = {
        "decode": "one decode", "encode": "one encode", "at_once": "the first ledger, in a worker that has just been made",
        "prepared": "the first ledger, in a worker made 0.3 s before",
        "ledger": "a ledger of another image, in a worker",
    }  # fmt: skip
    return [milliseconds(names[name], times) for name, times in found.items()]


def drag(browser: Browser, address: str, slower: int) -> list[dict[str, Any]]:
    """Drag on the chapter's map for some seconds, on a processor that is so many times slower."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.goto(f"{address}/book/latent-explorer.html")
    plane = page.locator(".vae-explorer-map")
    plane.wait_for(timeout=60_000)
    plane.scroll_into_view_if_needed()
    page.wait_for_timeout(3000)
    box = plane.bounding_box() or {}
    middle = np.array([box["x"] + box["width"] / 2, box["y"] + box["height"] / 2])
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": slower})
    page.evaluate(WATCH)
    page.mouse.move(*middle)
    page.mouse.down()
    start = time.perf_counter()
    while (passed := time.perf_counter() - start) < DRAG_S:
        around = np.array([np.cos(2.1 * passed), np.sin(3.3 * passed)]) * 0.35 * box["width"]
        page.mouse.move(*(middle + around))
        time.sleep(0.005)
    page.mouse.up()
    page.wait_for_timeout(500)
    heard, made = zip(*page.evaluate("latencies"), strict=True)
    page.close()
    name = f"drag on the map{f', {slower}× slower processor' if slower > 1 else ''}"
    return [milliseconds(f"{name}: heard → painted", list(heard)), milliseconds(f"{name}: made → painted", list(made))]


def through_kernel(browser: Browser) -> dict[str, Any]:
    """Move a slider of ipywidgets.interact in JupyterLab, again and again, each time until the new picture is there."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(KERNEL)])  # type: ignore[no-untyped-call]
    with tempfile.TemporaryDirectory() as folder, lab.serve(Path(folder), notebook) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.goto(address)
        lab.run_all(page, 180)
        page.locator(".jp-CodeCell img").wait_for(timeout=180_000)
        times = []
        for n in range(KERNEL_INPUTS):
            page.evaluate(f"window.up = {'true' if n % 20 < 10 else 'false'}")
            times.append(page.evaluate(ASK_KERNEL))
        page.close()
    return milliseconds("ipywidgets.interact, Keras, matplotlib: key → painted", times[3:])


def ways(vae: Any, data: Any) -> list[dict[str, Any]]:
    """Compare ways to make the weights small: what they take in a page, and by how much the results are off."""
    z, x = np.random.default_rng(0).standard_normal((1000, 2)).astype(np.float32), data.x_test[:1000]
    pixels = _sigmoid(vae.decoder(z))
    codes = np.concatenate([np.asarray(part) for part in vae.encoder(x)], axis=1)
    w1, b1, w2, b2 = (array.astype(float) for array in vae.decoder.get_weights())
    v1, c1, *heads = (array.astype(float) for array in vae.encoder.get_weights())

    def row(way: str, decode: Any, encode: Any, *parts: bytes) -> dict[str, Any]:
        errors = [np.abs(decode - pixels).max(), np.abs(encode - codes).max()]
        return {
            "way": way,
            "gzipped_kB": round(kilobytes(*parts)),
            "pixel_off_by": f"{errors[0]:.4f}",
            "code_off_by": f"{errors[1]:.4f}",
        }

    def simple(way: str, change: Any, as_bytes: Any) -> dict[str, Any]:
        hidden = np.maximum(x @ change(v1) + c1, 0)
        encoded = np.concatenate([hidden @ heads[0] + heads[1], hidden @ heads[2] + heads[3]], axis=1)
        return row(way, _sigmoid(np.maximum(z @ w1 + b1, 0) @ change(w2) + b2), encoded, as_bytes(v1), as_bytes(w2))

    def nearest(w: Any, most: int) -> Any:
        scale = np.abs(w).max(axis=0) / most
        return np.rint(w / scale), scale

    def rounded(way: str, most: int, kind: Any) -> dict[str, Any]:
        return simple(way, lambda w: np.multiply(*nearest(w, most)), lambda w: nearest(w, most)[0].astype(kind).tobytes())

    decoder = pack_dense_layers(vae.decoder)

    def books(way: str, encoder: Any) -> dict[str, Any]:
        decoded, encoded = run_packed(*decoder, z), np.concatenate(run_packed_encoder(*encoder, x), axis=1)
        return row(way, _sigmoid(decoded), encoded, decoder[1], encoder[1])

    return [
        simple("float32", lambda w: w, lambda w: w.astype("<f4").tobytes()),
        simple("float16", lambda w: w.astype("<f2").astype(float), lambda w: w.astype("<f2").tobytes()),
        rounded("16 bits and a scale for each unit, to the nearest", 32767, "<i2"),
        rounded("8 bits and a scale for each unit, to the nearest", 127, "i1"),
        books("the book's, without images", pack_encoder(vae)),
        books("the book's", pack_encoder(vae, data.x_test[2000:4000])),
    ]


def _sigmoid(logits: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(logits, dtype=float)))


def main() -> None:
    """Measure."""
    vae, data = vae_lib.pretrained("mnist-2d"), vae_lib.load_mnist()
    write(
        "explorer_weights",
        ways(vae, data),
        title="ways to pack both networks of the explorer; off by at most, 1,000 latents and images",
    )
    script = gzip.compress(bundle("latent_explorer.js").encode())
    with sync_playwright() as playwright, site() as address:
        browser = playwright.chromium.launch(executable_path=browser_tool.find(), args=browser_tool.arguments())
        page = browser.new_page()
        page.goto(f"{address}/book/references.html")
        rows = computed(page, vae, data)
        page.close()
        rows += drag(browser, address, 1) + drag(browser, address, SLOWER)
        rows.append(through_kernel(browser))
        browser.close()
    write("explorer", rows, title=f"the explorer in headless Chromium; its JavaScript takes {len(script) / 1000:.1f} kB gzipped")


if __name__ == "__main__":
    main()
