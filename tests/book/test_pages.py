"""Every built page in a real browser: nothing from elsewhere, no errors, sliders that move what they should."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import notebooks
import numpy as np
import pytest
from conftest import HTML, ROOT, Watched
from playwright.sync_api import Browser, Locator, Page

import vae_lib

PAGES = ["index.html", "search.html", "genindex.html"] + [
    f"book/{path.stem}.html" for path in sorted((ROOT / "book").glob("*.md"))
]
WITH_EXPLORER = ["book/index.html", "book/latent-explorer.html"]
# by the sources, so that a page whose widget got lost in the build is missed here
WIDGETS = "LatentExplorer(", "ElboBalance(", "KLGaussians(", "HeldNoise(", "TrainingScrubber("
WIDGETS += "PosteriorGap(", "BetaScrubber(", "HoleWalk("
WITH_WIDGETS = [
    f"book/{path.stem}.html"
    for path in sorted((ROOT / "book").glob("*.md"))
    if "\nkernelspec:" in (text := path.read_text(encoding="utf-8")) and any(f"vae_lib.{name}" in text for name in WIDGETS)
]
WIDTHS = [390, 1280]
SCHEMES = ["light", "dark"]

AS_PICTURE = "canvas => canvas.toDataURL()"
AS_PIXELS = "canvas => Array.from(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data)"


@pytest.fixture(params=[(width, scheme) for width in WIDTHS for scheme in SCHEMES], ids=lambda p: f"{p[0]}px-{p[1]}")
def watched(request: pytest.FixtureRequest, chromium: Browser, site: str) -> Iterator[Watched]:
    width, scheme = request.param
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    yield Watched(context, site)
    context.close()


def assert_clean(watched: Watched) -> None:
    assert watched.foreign == [], "requests to other origins"
    assert watched.troubles == []


def pictures(box: Locator) -> str:
    """Return what all canvases of a widget show."""
    found: str = box.evaluate("box => [...box.querySelectorAll('canvas')].map((canvas) => canvas.toDataURL()).join()")
    return found


def move_every_slider(page: Page) -> None:
    """Focus each slider, press an arrow key, and see the picture and the accessible value change."""
    boxes = page.locator(".vae-widget-box")
    assert boxes.count() > 0
    for box in boxes.all():
        assert box.locator(".vae-widget-error").count() == 0
        handles = box.locator(".noUi-handle")
        assert handles.count() > 0
        for handle in handles.all():
            before, value = pictures(box), handle.get_attribute("aria-valuenow")
            handle.focus()
            for _ in range(8):
                page.keyboard.press("ArrowRight")
            page.wait_for_timeout(150)  # one frame would do
            name = handle.get_attribute("aria-label") or ""
            assert len(name) > 5, "a slider without a name"
            assert pictures(box) != before, f"the slider {name} left the picture as it was"
            assert handle.get_attribute("aria-valuenow") != value


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_clean_and_has_one_search(watched: Watched, site: str, name: str) -> None:
    page = watched.open(f"{site}/{name}")
    if name != "search.html":
        visible = [
            element for element in page.locator("button.search-button__button, input[type=search]").all() if element.is_visible()
        ]
        assert len(visible) == 1
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= (page.viewport_size or {})["width"], "the page scrolls sideways"
    for image in page.locator("article img").all():
        assert len(image.get_attribute("alt") or "") > 15, image.get_attribute("src")
    assert_clean(watched)


def test_the_widgets_are_where_they_are_expected() -> None:
    assert {*WITH_EXPLORER, "book/derivation.html", "book/mnist-results.html"} <= set(WITH_WIDGETS)


@pytest.mark.parametrize("name", WITH_WIDGETS)
def test_sliders_move_the_picture(watched: Watched, site: str, name: str) -> None:
    move_every_slider(watched.open(f"{site}/{name}"))
    assert_clean(watched)


def test_sliders_work_from_a_file(chromium: Browser, html: Path) -> None:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    watched = Watched(context, html.as_uri())
    for name in WITH_WIDGETS:
        move_every_slider(watched.open((html / name).as_uri()))
    assert_clean(watched)
    context.close()


def test_the_map_moves_the_sliders_and_the_sliders_the_map(watched: Watched, site: str) -> None:
    page = watched.open(f"{site}/book/latent-explorer.html")
    plane, handles = page.locator(".vae-explorer-map"), page.locator(".noUi-handle")
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    assert box is not None
    limit = state_of(HTML / "book" / "latent-explorer.html")["limit"]
    plane.click(position={"x": box["width"] * 0.75, "y": box["height"] * 0.25})
    page.wait_for_timeout(150)
    values = [float(handles.nth(i).get_attribute("aria-valuenow") or "nan") for i in (0, 1)]
    assert values == pytest.approx([limit / 2, limit / 2], abs=0.06)  # a slider's step, and a pixel
    plane.focus()
    page.keyboard.press("Shift+ArrowLeft")
    page.wait_for_timeout(150)
    assert float(handles.nth(0).get_attribute("aria-valuenow") or "nan") == pytest.approx(values[0] - 0.5, abs=0.06)
    before = plane.evaluate(AS_PICTURE)
    handles.nth(1).focus()
    page.keyboard.press("ArrowDown")
    page.wait_for_timeout(150)
    assert plane.evaluate(AS_PICTURE) != before
    assert_clean(watched)


def state_of(path: Path) -> dict[str, Any]:
    """Return the explorer's state, with its buffers, as it is embedded in a page."""
    text = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/vnd.jupyter.widget-state\+json">(.*?)</script>', text, flags=re.DOTALL)
    assert found is not None
    (canvas,) = (model for model in json.loads(found[1])["state"].values() if "weights" in str(model.get("buffers", "")))
    state = dict(canvas["state"])
    for buffer in canvas["buffers"]:
        assert buffer["encoding"] == "base64"
        state[buffer["path"][0]] = base64.b64decode(buffer["data"])
    return state


@pytest.mark.parametrize("name", WITH_EXPLORER)
def test_the_browser_and_keras_agree_on_1000_latents(chromium: Browser, site: str, name: str) -> None:
    """The weights that the page holds and the JavaScript that it runs, against Keras, within 2e-3 for each pixel."""
    state = state_of(HTML / name)
    z = np.random.default_rng(0).standard_normal((1000, 2)).astype(np.float32)
    z[:4] = [[3.5, 3.5], [-3.5, 3.5], [3.5, -3.5], [-3.5, -3.5]]  # the sliders' corners as well
    page = chromium.new_page()
    page.goto(f"{site}/book/references.html")
    source = (ROOT / "vae_lib" / "widgets" / "network.js").read_text(encoding="utf-8")
    decoded = page.evaluate(
        """async ([source, shapes, weights, latents]) => {
          const network = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
          const bytes = Uint8Array.from(atob(weights), (c) => c.charCodeAt(0));
          const layers = network.unpackLayers(shapes, new DataView(bytes.buffer));
          return latents.map((z) => Array.from(network.forward(layers, z), network.sigmoid));
        }""",
        [source, state["layers"], base64.b64encode(state["weights"]).decode(), z.tolist()],
    )
    page.close()
    expected = 1 / (1 + np.exp(-np.asarray(vae_lib.pretrained("mnist-2d").decoder(z), dtype=float)))
    assert np.abs(np.asarray(decoded) - expected).max() < 2e-3
    assert source.split("export function forward")[1].split("\n}")[0] in state["_esm"], "the page runs other code"


def test_what_is_painted_is_what_keras_decodes(chromium: Browser, site: str) -> None:
    """Painted grey levels against Keras: 2e-3 of rounding in the weights, and half a grey level."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = Watched(context, site).open(f"{site}/book/latent-explorer.html")
    for _ in range(5):
        page.locator(".noUi-handle").first.focus()
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(100)
    caption = page.get_by_text("Decoded at z = ").inner_text().replace("−", "-")
    z = [[float(value) for value in re.findall(r"-?\d+\.\d+", caption)]]
    painted = np.asarray(page.locator(".vae-explorer-digit").evaluate(AS_PIXELS), dtype=float).reshape(784, 4)
    expected = 255 / (1 + np.exp(-np.asarray(vae_lib.pretrained("mnist-2d").decoder(np.float32(z)), dtype=float)))[0]
    assert np.abs(painted[:, 0] - expected).max() < 255 * 2e-3 + 0.5
    context.close()


@pytest.mark.parametrize("name", WITH_WIDGETS)
def test_without_javascript_a_still_picture_stands_in(chromium: Browser, site: str, name: str) -> None:
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site}/{name}")
    still = page.locator("img[alt='Still picture of this widget']")
    assert still.count() == page.locator("p.vae-noscript").count() > 0
    for picture, note in zip(still.all(), page.locator("p.vae-noscript").all(), strict=True):
        assert picture.is_visible()
        assert note.is_visible()
        assert (picture.bounding_box() or {})["width"] > 200
    context.close()


def test_the_colab_button_opens_the_notebook_of_the_repository(html: Path) -> None:
    url = re.search(r"^  url: (?:&\w+ )?https://github.com/(\S+)$", (ROOT / "_config.yml").read_text(), flags=re.MULTILINE)
    assert url is not None
    for name in (path.stem for path in notebooks.chapters()):
        page = (html / "book" / f"{name}.html").read_text(encoding="utf-8")
        assert f'href="https://colab.research.google.com/github/{url[1]}/blob/main/book/{name}.ipynb"' in page
        assert (ROOT / "book" / f"{name}.ipynb").exists()
