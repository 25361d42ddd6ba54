"""Every built page in a real browser: nothing from elsewhere, no errors, sliders that move what they should."""

from __future__ import annotations

import base64
import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser as browser_tool
import nbformat
import notebooks
import numpy as np
import pytest
import shown
from conftest import AS_PICTURE, HTML, ROOT, Watched, at_rest, frames, other_picture, until, violations, widget_state
from playwright.sync_api import Browser, Page, Playwright, Route, expect

import vae_lib
from vae_lib.widgets.bundle import bundle

CHAPTERS = ["book/index", *re.findall(r"- file: (\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))]
PAGES = ["search.html", "genindex.html"] + [f"{name}.html" for name in CHAPTERS]
WIDTHS = [390, 1280]
MOST_SHIFT = 0.05
MOST_BYTES, MOST_BYTES_WITH_WIDGETS = 600_000, 2_000_000

AS_PIXELS = "canvas => Array.from(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data)"
RAW_TEX = r"""() => {
  const copy = document.querySelector("article")?.cloneNode(true);
  for (const part of copy?.querySelectorAll("pre, code, script, noscript, mjx-container") ?? []) part.remove();
  return copy?.textContent.match(/\\[([a-z]+.{0,40}|\$.{1,40}\$/g) ?? [];
}"""
FOCUSED = """() => {
  const element = document.activeElement;
  if (element === document.body) return ["", true, null]; // past the last place, where the browser's own begin
  const style = getComputedStyle(element);
  const shown = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  return [element.getAttribute("aria-label") || element.innerText.trim() || element.title, shown, element.getAttribute("role")];
}"""
# cells are clipped at 24 pixels beyond their edge: see overflow-clip-margin in book.css
CUT_CELLS = """() => [...document.querySelectorAll(".cell")].filter((cell) => cell.scrollWidth > cell.clientWidth + 24)
  .map((cell) => cell.innerText.slice(0, 60))"""
MOVING = """() => [...document.querySelectorAll("*")].filter((element) => {
  const style = getComputedStyle(element);
  return style.transitionDuration !== "0s" || style.animationName !== "none" || style.scrollBehavior !== "auto";
}).map((element) => element.outerHTML.slice(0, 80))"""
# what is kept free until a page's widgets come, and what they take: an empty copy of the place stands in for a moment
HEIGHTS = """() => [...document.querySelectorAll(".vae-waiting")].map((place) => {
  const empty = place.cloneNode(false);
  empty.classList.remove("vae-stands");
  place.after(empty);
  const heights = [empty.offsetHeight, place.firstElementChild.offsetHeight];
  empty.remove();
  return heights;
})"""
TRANSFERRED = """() => [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .map((entry) => [entry.name, entry.encodedBodySize])"""


@pytest.fixture(params=WIDTHS, ids=lambda width: f"{width}px")
def watched(request: pytest.FixtureRequest, chromium: Browser, site: str) -> Iterator[Watched]:
    context = chromium.new_context(viewport={"width": request.param, "height": 900}, color_scheme="light")
    yield Watched(context, site)
    context.close()


def assert_clean(watched: Watched) -> None:
    assert watched.foreign == [], "requests to other origins"
    assert watched.troubles == []


def layout_faults(page: Page, name: str) -> list[str]:
    """Return what does not fit, or moved while it came, or would where the room kept for a widget is not what it takes."""
    width, room = page.evaluate("document.documentElement.scrollWidth"), (page.viewport_size or {})["width"]
    shift = page.evaluate("shifted()")
    faults = [f"it scrolls sideways: {width} pixels wide on a screen of {room}"] if width > room else []
    faults += [f"a cell is cut: {text}" for text in page.evaluate(CUT_CELLS)]
    near = 2 if name == "book/index.html" else 20  # there, the widget is on the first screen
    for kept, taken in page.evaluate(HEIGHTS):
        if abs(kept - taken) > near:
            faults.append(f"a widget takes {taken} pixels, {kept} are kept: see the table in tools/finish_pages.py")
    return faults + ([f"it moved by {shift:.3f} while it came, more than {MOST_SHIFT}"] if shift > MOST_SHIFT else [])


def tabbed(page: Page, times: int) -> list[Any]:
    """Press Tab from the top of the page; return name, whether the focus is seen, and role of each place that it comes to."""
    page.evaluate("document.activeElement.blur()")
    places = []
    for _ in range(times):
        page.keyboard.press("Tab")
        places.append(page.evaluate(FOCUSED))
    return places


def keyboard_faults(page: Page) -> list[str]:
    """Return where the keyboard comes to without showing it."""
    places = tabbed(page, 30)
    faults = [f"the focus is not seen on {name!r}" for name, seen, _ in places if not seen]
    if places[0][0] != "Skip to main content" and not page.url.endswith("search.html"):  # that page begins in its field
        faults.append(f"the keyboard begins at {places[0][0]!r}")
    return faults


def motion_faults(page: Page) -> list[str]:
    """Return what would move for a reader who wants nothing to."""
    page.emulate_media(reduced_motion="reduce")
    moving = [f"it moves under reduced motion: {element}" for element in page.evaluate(MOVING)]
    page.emulate_media(reduced_motion="no-preference")
    return moving


def content_faults(page: Page) -> list[str]:
    """Return pictures that are not described, and formulas that are not typeset or that no screen reader can read."""
    faults = [f"formula left as TeX: {tex}" for tex in page.evaluate(RAW_TEX)]
    formulas = page.locator("article mjx-container")
    if formulas.count() != page.locator("article mjx-container > mjx-assistive-mml > math").count():
        faults.append("formulas without MathML")
    faults += [f"error in a formula: {error.inner_text()}" for error in page.locator("mjx-merror").all()]
    for source, alt in page.evaluate("[...document.querySelectorAll('article img')].map((image) => [image.src, image.alt])"):
        if len(alt) <= 15 or re.search(r"\.(png|svg|jpe?g)\b", alt):
            faults.append(f"picture without a description: {source[-60:]} {alt!r}")
    described = page.locator("meta[name=description]").get_attribute("content") or ""
    return faults + ([f"too short a description of the page: {described!r}"] if len(described) < 15 else [])


def weight_faults(page: Page, name: str) -> list[str]:
    """Print what the page weighs on its first load, widgets included, and return it if that is too much."""
    parts = page.evaluate(TRANSFERRED)
    total = sum(size for _, size in parts)
    limit = MOST_BYTES_WITH_WIDGETS if "/vendor/widgets.js" in str(parts) else MOST_BYTES
    print(f"{name}: {total / 1000:.0f} KB gzipped, of at most {limit / 1000:.0f}")
    return [f"{total} bytes: {sorted(parts, key=lambda part: -part[1])[:5]}"] if total > limit else []


PICTURES = "box => [...box.querySelectorAll('canvas')].map((canvas) => canvas.toDataURL()).join()"  # all that a widget shows


def move_every_slider(page: Page, name: str) -> None:
    """Focus each slider of each widget, press an arrow key, and see the picture and the accessible value change."""
    boxes = page.locator(".vae-widget-box")
    assert boxes.count() >= len(shown.BY_PAGE[name]), f"{name} should show {shown.BY_PAGE[name]}"
    for box in boxes.all():
        assert box.locator(".vae-widget-error").count() == 0
        handles = box.locator(".noUi-handle")
        assert handles.count() > 0
        for handle in handles.all():
            at_rest(page)
            before, value = box.evaluate(PICTURES), handle.get_attribute("aria-valuenow") or ""
            handle.focus()
            for _ in range(8):
                page.keyboard.press("ArrowRight")
            spoken = handle.get_attribute("aria-label") or ""
            assert len(spoken) > 5, "a slider without a name"
            expect(handle).not_to_have_attribute("aria-valuenow", value)
            at_rest(page)
            assert box.evaluate(PICTURES) != before, f"the slider {spoken} left the picture as it was"


@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_clean_accessible_and_light(watched: Watched, site: str, name: str) -> None:
    """One visit, in which all is asked: on the light page, then on the dark one."""
    page = watched.open(f"{site}/{name}")
    faults = [*layout_faults(page, name), *content_faults(page), *weight_faults(page, name)]
    faults += motion_faults(page)
    if page.viewport_size == {"width": 1280, "height": 900}:
        faults += keyboard_faults(page)
    if name != "search.html":
        searches = page.locator("button.search-button__button, input[type=search]").all()
        assert sum(element.is_visible() for element in searches) == 1
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function("(scheme) => document.documentElement.dataset.theme === scheme", arg=scheme)
        page.wait_for_function("() => !document.getAnimations().some((animation) => animation.playState === 'running')")
        faults += [f"{scheme}: {violation}" for violation in violations(page)]
    if name in shown.PAGES:
        move_every_slider(page, name)
    assert faults == []
    assert_clean(watched)


@pytest.mark.parametrize(("width", "height"), [(1350, 940), (390, 844)])
def test_nothing_moves_as_the_first_pages_widget_comes(chromium: Browser, site: str, width: int, height: int) -> None:
    """However late its style sheet is; a key would excuse what moves, and so none is pressed."""
    context = chromium.new_context(viewport={"width": width, "height": height})
    watched = Watched(context, site)
    page = watched.page
    held: list[Route] = []
    page.route("**/vendor/widgets.css", lambda route: held.append(route))
    page.goto(f"{site}/book/index.html")
    until(page, lambda: held, "the widgets' style sheet is asked for")
    page.evaluate("shifted(), seen.shift = 0")
    page.wait_for_function("() => globalThis.vaeWidgetState")  # what comes last before the script that draws the widget
    frames(page)
    drawing = page.locator("script[src*='vendor/widgets.js']")
    assert drawing.count() == 0, "the widget does not wait for its style sheet"
    held[0].continue_()
    page.locator(".vae-widget canvas").wait_for()
    page.locator(".noUi-handle").wait_for()
    at_rest(page)
    assert page.evaluate("shifted()") < 0.001
    assert drawing.count() == 1
    assert watched.troubles == []
    context.close()


def test_a_scroll_bar_that_appears_moves_nothing(playwright: Playwright, site: str) -> None:
    """As it does while a long page comes; other tests see none, for Chromium hides it where nobody sits."""
    options = {"executable_path": browser_tool.find(), "args": browser_tool.arguments()}
    browser = playwright.chromium.launch(**options, ignore_default_args=["--hide-scrollbars"])
    page = browser.new_page(viewport={"width": 1350, "height": 940})
    page.goto(f"{site}/book/index.html")
    assert page.evaluate("innerWidth - document.documentElement.clientWidth") > 0, "the scroll bar takes no room here"
    left = "document.querySelector('main').getBoundingClientRect().x"
    with_bar = page.evaluate(left)
    page.set_viewport_size({"width": 1350, "height": 8000})
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight"), "the page still scrolls"
    assert page.evaluate(left) == with_bar
    browser.close()


def test_the_books_address_leads_to_its_first_page(chromium: Browser, site: str) -> None:
    context = chromium.new_context(java_script_enabled=False)
    watched = Watched(context, site)
    watched.page.goto(f"{site}/")
    watched.page.wait_for_url(f"{site}/book/index.html")
    assert_clean(watched)
    context.close()


def test_every_widget_of_the_library_is_on_a_page() -> None:
    assert set(shown.WIDGETS) == set().union(*shown.BY_PAGE.values())
    assert {one.__module__ for one in shown.CANVASES} == {one.__module__ for one in shown.WIDGETS.values()}


def test_each_page_holds_the_widgets_of_its_chapter_with_the_scripts_of_the_library(html: Path) -> None:
    for name in PAGES:
        if name not in shown.PAGES:
            assert "data-widgets=" not in (html / name).read_text(encoding="utf-8").partition("<head>")[0], name
            continue
        painting = shown.painting(json.loads(widget_state(html / name))["state"])
        assert {one.__module__ for one in painting} == {shown.WIDGETS[widget].__module__ for widget in shown.BY_PAGE[name]}, name
        for canvas, state in painting.items():
            assert state["_esm"] == canvas._esm, f"{name} runs other code than the library's"
            assert state["_css"] == canvas._css, f"{name} has another style than the library's"


def test_each_check_of_widgets_visits_every_page_that_shows_one() -> None:
    """In Firefox all are visited at once, and that test itself compares what it visited."""
    for check in (
        test_every_page_is_clean_accessible_and_light,
        test_sliders_work_from_a_file,
        test_without_javascript_a_still_picture_stands_in,
    ):
        (visited,) = (mark.args[1] for mark in check.pytestmark if mark.args[0] == "name")  # type: ignore[attr-defined]
        assert set(shown.PAGES) <= set(visited), check.__name__


def test_a_widget_that_a_chapter_shows_by_any_name_is_found(tmp_path: Path) -> None:
    sources = [
        "%matplotlib inline",
        "import vae_lib as lib\nlib.HoleWalk(1)",
        "from vae_lib import HeldNoise\nHeldNoise()",
        "x = 1",
    ]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]  # type: ignore[no-untyped-call]
    notebook = nbformat.v4.new_notebook(cells=cells)  # type: ignore[no-untyped-call]
    nbformat.write(notebook, tmp_path / "chapter.ipynb")  # type: ignore[no-untyped-call]
    assert shown.named_in(tmp_path / "chapter.md") == {"HoleWalk", "HeldNoise"}


@pytest.mark.parametrize("name", shown.PAGES)
def test_sliders_work_from_a_file(chromium: Browser, html: Path, name: str) -> None:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    watched = Watched(context, html.as_uri())
    move_every_slider(watched.open((html / name).as_uri()), name)
    assert_clean(watched)
    context.close()


def test_the_map_moves_the_sliders_and_the_sliders_the_map(watched: Watched, site: str) -> None:
    page = watched.open(f"{site}/book/latent-explorer.html")
    plane, handles = page.locator(".vae-explorer-map"), page.locator(".noUi-handle")
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    assert box is not None
    limit = state_of(HTML / "book" / "latent-explorer.html")["limit"]

    def values() -> list[float]:
        at_rest(page)
        return [float(handles.nth(i).get_attribute("aria-valuenow") or "nan") for i in (0, 1)]

    near = functools.partial(pytest.approx, abs=0.06)  # a slider's step, and a pixel
    plane.click(position={"x": box["width"] * 0.75, "y": box["height"] * 0.25})
    until(page, lambda: values() == near([limit / 2, limit / 2]), "the sliders follow a click on the map")
    x, y = values()
    plane.focus()
    page.keyboard.press("Shift+ArrowLeft")
    until(page, lambda: values() == near([x - 0.5, y]), "the sliders follow a key on the map")
    before = plane.evaluate(AS_PICTURE)
    handles.nth(1).focus()
    page.keyboard.press("ArrowDown")
    other_picture(plane, before)
    assert_clean(watched)


def state_of(path: Path) -> dict[str, Any]:
    """Return the explorer's state, with its buffers, as it is embedded in a page."""
    (canvas,) = (
        model for model in json.loads(widget_state(path))["state"].values() if "weights" in str(model.get("buffers", ""))
    )
    state = dict(canvas["state"])
    for buffer in canvas["buffers"]:
        assert buffer["encoding"] == "base64"
        state[buffer["path"][0]] = base64.b64decode(buffer["data"])
    return state


def test_the_browser_and_keras_agree_on_1000_latents(chromium: Browser, site: str) -> None:
    """The weights that a page holds and the JavaScript that it runs, against Keras, within 2e-3 for each pixel.

    On each page with two latent dimensions; the rounding of the weights is fitted to latents that are likely under the prior, and
    corners of more dimensions are not.
    """
    states = {name: state_of(HTML / name) for name in shown.pages_with("LatentExplorer")}
    plane = {name: state for name, state in states.items() if state["layers"][0]["inputs"] == 2}
    assert plane
    z = np.random.default_rng(0).standard_normal((1000, 2)).astype(np.float32)
    z[:4] = [[3.5, 3.5], [-3.5, 3.5], [3.5, -3.5], [-3.5, -3.5]]  # the sliders' corners as well
    expected = 1 / (1 + np.exp(-np.asarray(vae_lib.pretrained("mnist-2d").decoder(z), dtype=float)))
    page = chromium.new_page()
    page.goto(f"{site}/book/references.html")
    source = bundle("network.js")
    for name, state in plane.items():
        decoded = page.evaluate(
            """async ([source, shapes, weights, latents]) => {
              const network = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
              const bytes = Uint8Array.from(atob(weights), (c) => c.charCodeAt(0));
              const layers = network.unpackLayers(shapes, new DataView(bytes.buffer));
              return latents.map((z) => Array.from(network.forward(layers, z), network.sigmoid));
            }""",
            [source, state["layers"], base64.b64encode(state["weights"]).decode(), z.tolist()],
        )
        assert np.abs(np.asarray(decoded) - expected).max() < 2e-3, name
        assert source.split("export function forward")[1].split("\n}")[0] in state["_esm"], f"{name} runs other code"
    page.close()


def test_what_is_painted_is_what_keras_decodes(chromium: Browser, site: str) -> None:
    """Painted grey levels against Keras: 2e-3 of rounding in the weights, and half a grey level."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = Watched(context, site).open(f"{site}/book/latent-explorer.html")
    for _ in range(5):
        page.locator(".noUi-handle").first.focus()
        page.keyboard.press("ArrowRight")
    at_rest(page)
    caption = page.get_by_text("Decoded at z = ").inner_text().replace("−", "-")
    z = [[float(value) for value in re.findall(r"-?\d+\.\d+", caption)]]
    painted = np.asarray(page.locator(".vae-explorer-digit").evaluate(AS_PIXELS), dtype=float).reshape(784, 4)
    expected = 255 / (1 + np.exp(-np.asarray(vae_lib.pretrained("mnist-2d").decoder(np.float32(z)), dtype=float)))[0]
    assert np.abs(painted[:, 0] - expected).max() < 255 * 2e-3 + 0.5
    context.close()


@pytest.mark.parametrize("name", shown.PAGES)
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


@pytest.mark.parametrize("name", ["book/derivation.html", "book/notation.html"])
def test_without_javascript_formulas_are_typeset(chromium: Browser, site: str, name: str) -> None:
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, java_script_enabled=False, color_scheme="dark")
    page = context.new_page()
    page.goto(f"{site}/{name}")
    formulas = page.locator("article mjx-container")
    assert formulas.count() > 50
    box = formulas.first.bounding_box() or {}
    assert box["width"] > 5
    assert box["height"] > 5
    assert formulas.first.locator("mjx-assistive-mml math").count() == 1
    context.close()


def test_the_policy_blocks_other_servers(chromium: Browser, site: str, html: Path) -> None:
    """Each page forbids, and the browser obeys: no script, picture, style, connection or frame from elsewhere."""
    for name in ["index.html", *PAGES]:
        head = (html / name).read_text(encoding="utf-8").partition("</head>")[0]
        before, policy, _ = head.partition('http-equiv="Content-Security-Policy"')
        assert policy, name
        assert not re.search("<(script|link|style)", before), f"{name}: something comes before the policy"
    context = chromium.new_context()
    page = Watched(context, site).open(f"{site}/book/references.html")
    page.evaluate(
        """async () => {
          const other = "http://127.0.0.1:9/";
          for (const [name, attribute] of [["script", "src"], ["img", "src"], ["iframe", "src"]]) {
            document.body.append(Object.assign(document.createElement(name), { [attribute]: other + name }));
          }
          document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href: other + "link" }));
          await fetch(other + "fetch").catch(() => {});
        }"""
    )
    blocked = {"script-src-elem", "img-src", "frame-src", "style-src-elem", "connect-src"}
    until(page, lambda: blocked <= set(page.evaluate("seen.policy")), "all five are blocked")
    assert set(page.evaluate("seen.policy")) == blocked
    context.close()


def test_the_keyboard_comes_to_the_sliders_after_the_contents(chromium: Browser, site: str) -> None:
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    page = Watched(context, site).open(f"{site}/book/latent-explorer.html")
    order = tabbed(page, 60)
    names, roles = [str(name) for name, _, _ in order], [role for _, _, role in order]
    assert "slider" in roles, names
    assert all(seen for _, seen, _ in order), [name for name, seen, _ in order if not seen]
    assert names.index("Variational autoencoders, live") < roles.index("slider")
    context.close()


def test_the_colab_button_opens_the_notebook_of_the_repository(html: Path) -> None:
    url = re.search(r"^  url: (?:&\w+ )?https://github.com/(\S+)$", (ROOT / "_config.yml").read_text(), flags=re.MULTILINE)
    assert url is not None
    for name in (path.stem for path in notebooks.chapters()):
        page = (html / "book" / f"{name}.html").read_text(encoding="utf-8")
        assert f'href="https://colab.research.google.com/github/{url[1]}/blob/main/book/{name}.ipynb"' in page
        assert (ROOT / "book" / f"{name}.ipynb").exists()
