"""The built book, served on this machine and opened in a browser that may talk to nobody else."""

from __future__ import annotations

import functools
import gzip
import http.server
import re
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build" / "html"
sys.path.insert(0, str(ROOT / "tools"))

import alone  # noqa: E402 -- tools/ is no package
import browser as browser_tool  # noqa: E402
import reproducible  # noqa: E402


def pytest_itemcollected(item: pytest.Item) -> None:
    """Where two processes share the work, each takes whole files, but for the visits to all pages, which share nothing."""
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
    launched = playwright.chromium.launch(executable_path=found, args=browser_tool.arguments())
    yield launched
    launched.close()


_AXE = (ROOT / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
_GUIDELINES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
# what a page is asked about once it is there
_OBSERVE = """
window.seen = { shift: 0, policy: [] };
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) seen.shift += entry.value;
}).observe({ type: "layout-shift", buffered: true });
document.addEventListener("securitypolicyviolation", (event) => seen.policy.push(event.effectiveDirective));
"""
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
            self.page.wait_for_function(_WIDGETS_STAND, arg=widgets, timeout=60_000)
        self.page.wait_for_function(
            "() => !document.querySelector('article') || document.documentElement.dataset.boxes === 'known'"
        )
        return self.page


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
    """The chapter that a test file names in WIDGET as (chapter, selector, width), its widget drawn; and the wish about motion."""
    chapter, selector, width = request.module.WIDGET
    context = chromium.new_context(viewport={"width": width, "height": 900}, reduced_motion=request.param)
    opened = context.new_page()
    opened.goto(f"{site}/book/{chapter}.html")
    opened.locator(f"{selector} canvas").wait_for(timeout=30_000)
    opened.locator(".noUi-handle").first.wait_for(timeout=30_000)
    yield opened, request.param
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
