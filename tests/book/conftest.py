"""The built book, served on this machine and opened in a browser that may talk to nobody else."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build" / "html"
sys.path.insert(0, str(ROOT / "tools"))

import browser as browser_tool  # noqa: E402 -- tools/ is no package


@pytest.fixture(scope="session")
def html() -> Path:
    assert (HTML / "book" / "index.html").exists(), "the book is not built: run make book first"
    return HTML


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="session")
def site(html: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_QuietHandler, directory=str(html)))
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


class Watched:
    """A page, and all that went wrong on it."""

    def __init__(self, context: BrowserContext, allowed: str) -> None:
        self.foreign: list[str] = []
        self.troubles: list[str] = []
        self.allowed = allowed
        self.page: Page = context.new_page()
        self.page.route("**/*", self._route)
        self.page.on("pageerror", lambda error: self.troubles.append(f"page error: {error}"))
        self.page.on("response", lambda reply: reply.status >= 400 and self.troubles.append(f"{reply.status}: {reply.url}"))
        self.page.on("requestfailed", lambda request: self.troubles.append(f"failed: {request.url} {request.failure}"))
        self.page.on("console", self._console)

    def _route(self, route: object) -> None:
        url = route.request.url  # type: ignore[attr-defined]
        if url.startswith((self.allowed, "data:", "blob:")):
            route.continue_()  # type: ignore[attr-defined]
        else:
            self.foreign.append(url)
            route.abort()  # type: ignore[attr-defined]

    def _console(self, message: object) -> None:
        kind, text = message.type, message.text  # type: ignore[attr-defined]
        # html-manager's JSON schema checker says this of its own schema on each page with widgets
        if kind == "warning" and text.startswith("strict mode: use allowUnionTypes"):
            return
        if kind in ("error", "warning"):
            self.troubles.append(f"console {kind}: {text}")

    def open(self, url: str) -> Page:
        self.page.goto(url)
        self.page.wait_for_load_state("networkidle")
        widgets = self.page.locator("script[type='application/vnd.jupyter.widget-view+json']").count()
        if widgets:
            self.page.wait_for_function(
                """count => {
                  const boxes = [...document.querySelectorAll(".vae-widget-box")];
                  return boxes.length === count && boxes.every((box) => box.querySelector(".vae-widget canvas, .vae-widget-error")
                    && [...box.querySelectorAll(".widget-slider")].every((slider) => slider.querySelector(".noUi-handle")));
                }""",
                arg=widgets,
                timeout=60_000,
            )
        return self.page


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
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    (target / "node_modules").symlink_to(ROOT / "node_modules")
    return target


@pytest.fixture
def without_network(tmp_path: Path) -> dict[str, str]:
    """An environment in which MNIST is nowhere to be had: every connection is refused."""
    environment = {name: value for name, value in os.environ.items() if name != "VAE_LIB_MNIST"}
    refused = "http://127.0.0.1:9"
    return {**environment, "KERAS_HOME": str(tmp_path / "empty"), "http_proxy": refused, "https_proxy": refused, "no_proxy": ""}
