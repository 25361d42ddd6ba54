"""The built book, served on this machine and opened in a browser that may talk to nobody else."""

from __future__ import annotations

import contextlib
import functools
import gzip
import http.server
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Playwright, expect, sync_playwright

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build" / "html"
sys.path.insert(0, str(ROOT / "tools"))

import alone  # noqa: E402 -- tools/ is no package
import browser as browser_tool  # noqa: E402
import reproducible  # noqa: E402
import shown  # noqa: E402 -- and it needs tools/

LIMIT_S = 300
"""Within this time any state that a test waits for has come, however busy the machine is: what takes longer hangs."""
expect.set_options(timeout=1000 * LIMIT_S)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Limit each test by what hangs; where processes share the work, each takes whole files, but for the visits to all pages."""
    item.add_marker(pytest.mark.timeout(3600))
    if item.path.name != "test_pages.py":
        item.add_marker(pytest.mark.xdist_group(item.path.stem))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that the visits to all pages fill the end."""
    first = ["test_faults.py", "test_explorer_page.py", "test_jupyterlab.py"]
    items.sort(key=lambda item: (item.path.name == "test_pages.py", item.path.name not in first))


@pytest.fixture(scope="session")
def html() -> Path:
    assert (HTML / "book" / "index.html").exists(), "the book is not built: run make book first"
    return HTML


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves as web servers do: one connection for many requests, texts gzipped."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if path.suffix not in (".html", ".css", ".js", ".svg", ".json") or not path.is_file():
            super().do_GET()
            return
        body = _gzipped(path, path.stat().st_mtime_ns)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "max-age=600")
        self.end_headers()
        self.wfile.write(body)


@functools.lru_cache(maxsize=256)
def _gzipped(path: Path, _changed: int) -> bytes:
    return gzip.compress(path.read_bytes(), 6)


@pytest.fixture(scope="session")
def site(html: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, directory=str(html)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    found = browser_tool.find()
    launched = playwright.chromium.launch(executable_path=found, args=browser_tool.arguments(), timeout=1000 * LIMIT_S)
    launched.on("context", lambda context: context.set_default_timeout(1000 * LIMIT_S))
    yield launched
    launched.close()


_AXE = (ROOT / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
_GUIDELINES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
# What a page is asked about once it is there. Where a widget does not come for many seconds, the page says so; on a busy machine
# that means nothing, so its longest timers are made longer.
_OBSERVE = """{
  window.seen = { shift: 0, policy: [] };
  const add = (entries) => entries.forEach((entry) => (seen.shift += entry.hadRecentInput ? 0 : entry.value));
  const shifts = new PerformanceObserver((list) => add(list.getEntries()));
  shifts.observe({ type: "layout-shift", buffered: true });
  window.shifted = () => (add(shifts.takeRecords()), seen.shift);
  document.addEventListener("securitypolicyviolation", (event) => seen.policy.push(event.effectiveDirective));
  const real = window.setTimeout;
  window.setTimeout = (call, wait, ...given) => real(call, wait >= 10_000 ? 100 * wait : wait, ...given);
}"""
AS_PICTURE = "canvas => canvas.toDataURL()"
_FRAMES = """async (count) => {
  for (; count; count--) await new Promise(requestAnimationFrame);
}"""
# Each widget counts its finished paintings in data-painted. Whatever asks for another asks for the very next frame: once two
# frames have passed without any, none is under way.
_AT_REST = """async (limit) => {
  const began = performance.now();
  const painted = () => {
    const widgets = [...document.querySelectorAll(".vae-widget[data-painted]")];
    if (!widgets.length) throw new Error("expected a widget that counts its paintings, found none");
    return widgets.map((widget) => widget.dataset.painted).join();
  };
  for (let before = ""; before !== painted(); ) {
    if (performance.now() - began > limit) throw new Error(`the widgets still paint after ${limit} ms`);
    before = painted();
    for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
  }
}"""
_WIDGETS_STAND = """(count) => {
  const boxes = [...document.querySelectorAll(".vae-widget-box")];
  return boxes.length === count && boxes.every((box) => box.querySelector(".vae-widget canvas, .vae-widget-error")
    && [...box.querySelectorAll(".widget-slider")].every((slider) => slider.querySelector(".noUi-handle[aria-label]")));
}"""


class Watched:
    """A page, and all that went wrong on it."""

    def __init__(self, context: BrowserContext, allowed: str) -> None:
        self.foreign: list[str] = []
        self.troubles: list[str] = []
        self.allowed = allowed
        self.page: Page = context.new_page()
        self.page.add_init_script(_OBSERVE)
        self.page.on("request", self._request)
        self.page.on("pageerror", lambda error: self.troubles.append(f"page error: {error}"))
        self.page.on("response", lambda reply: reply.status >= 400 and self.troubles.append(f"{reply.status}: {reply.url}"))
        self.page.on("requestfailed", lambda request: self.troubles.append(f"failed: {request.url} {request.failure}"))
        self.page.on("console", self._console)

    def _request(self, request: object) -> None:
        url = request.url  # type: ignore[attr-defined]
        if not url.startswith((self.allowed, "data:", "blob:")):
            self.foreign.append(url)

    def _console(self, message: object) -> None:
        kind, text = message.type, message.text  # type: ignore[attr-defined]
        if kind in ("error", "warning"):
            self.troubles.append(f"console {kind}: {text}")

    def open(self, url: str) -> Page:
        """Open a page and wait until all its widgets stand, which come late or when the reader does something."""
        self.page.goto(url)
        widgets = self.page.locator("script[type='application/vnd.jupyter.widget-view+json']").count()
        if widgets:
            self.page.keyboard.press("Shift")
            self.page.wait_for_function(_WIDGETS_STAND, arg=widgets)
            at_rest(self.page)
        self.page.wait_for_function(
            "() => !document.querySelector('article') || document.documentElement.dataset.boxes === 'known'"
        )
        return self.page


def frames(page: Page, count: int = 2) -> None:
    """Wait until the browser has prepared as many frames: what was asked of it before has been done by then."""
    page.evaluate(_FRAMES, count)


def at_rest(page: Page) -> None:
    """Wait until every painting that the widgets of a page have been asked for is done; what plays never comes to rest."""
    page.evaluate(_AT_REST, 1000 * LIMIT_S)


def until(page: Page, true: Callable[[], object], what: str) -> None:
    """Ask again, frame by frame, until something is true that only Python can tell."""
    end = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < end, f"not within {LIMIT_S} s: {what}"
        frames(page)


def other_picture(canvas: Locator, before: str) -> str:
    """Wait until a canvas shows something else than before, and return what, once all is painted."""
    changed = f"([canvas, before]) => ({AS_PICTURE})(canvas) !== before"
    canvas.page.wait_for_function(changed, arg=[canvas.element_handle(), before])
    at_rest(canvas.page)
    shown: str = canvas.evaluate(AS_PICTURE)
    assert shown != before, "the picture went back to what it was"
    return shown


@contextlib.contextmanager
def slow_motion(page: Page) -> Iterator[None]:
    """Let what plays take 50 times as long: on no machine does it end before it is looked at."""
    page.evaluate("""() => {
      window.fullSpeed = requestAnimationFrame;
      window.requestAnimationFrame = (call) => fullSpeed((now) => call(now / 50));
    }""")
    yield
    page.evaluate("() => { window.requestAnimationFrame = fullSpeed; }")


def violations(page: Page) -> list[str]:
    """Return what axe-core finds against the guidelines on a page as it stands."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_AXE)
    found = page.evaluate(
        "(tags) => axe.run(document, { runOnly: tags, resultTypes: ['violations'] }).then((result) => result.violations)",
        _GUIDELINES,
    )
    return [f"{rule['id']}: {node['target']} {node['failureSummary']}" for rule in found for node in rule["nodes"]]


def widget_state(page: Path) -> str:
    """Return the state of a page's widgets, as JSON, from the file that the page names."""
    found = re.search(r'<html [^>]*data-widgets="([^"?]*)', page.read_text(encoding="utf-8"))
    assert found is not None, f"{page.name} has no widgets"
    return (HTML / found[1]).read_text(encoding="utf-8").removeprefix("globalThis.vaeWidgetState = ").rstrip(";\n")


@pytest.fixture(params=["no-preference", "reduce"])
def widget_page(request: pytest.FixtureRequest, chromium: Browser, site: str) -> Iterator[tuple[Page, str]]:
    """The page of the widget that a test file names in WIDGET, with the page's width; and the wish about motion."""
    widget, width = request.module.WIDGET
    context = chromium.new_context(viewport={"width": width, "height": 900}, reduced_motion=request.param)
    watched = Watched(context, site)
    yield watched.open(f"{site}/{shown.page_with(widget)}"), request.param
    assert watched.foreign == watched.troubles == []
    context.close()


@pytest.fixture
def copy_of_tree(tmp_path: Path) -> Path:
    """A copy of what a commit would hold, in a folder with a space in its name."""
    target = tmp_path / "a fresh clone"
    reproducible.copy_tree(target)
    return target


@pytest.fixture
def without_network(tmp_path: Path) -> dict[str, str]:
    """An environment in which MNIST is nowhere to be had: every connection is refused."""
    return alone.offline(tmp_path)
