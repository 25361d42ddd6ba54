"""Pages under hostile conditions: missing files, wrong states, injected markup, forbidden storage, forced colours."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser as browser_tool
import pytest
from conftest import LIMIT_S, Watched, until, widget_state
from playwright.sync_api import Browser, Page, Playwright, Route, expect

CHAPTER = "kl-closed-form"  # one widget
PLACE = ".widget-subarea"
SENTENCE = "This widget could not be loaded; here is a still picture of it."

# ---- what a page says where the files of its widgets do not arrive --------------------------------------------------------

FILES = {"state": "**/_static/widgets/*.js*", "manager": "**/_static/vendor/widgets.js*", "page script": "**/_static/page.js*"}


def damaged(route: Route, how: str) -> None:
    """Answer a request for a script as a broken server would."""
    if how == "missing":
        route.fulfill(status=404, body="not found", content_type="text/plain")
    elif how == "HTML":
        route.fulfill(body="<!DOCTYPE html><html><body>Please log in</body></html>", content_type="text/html")
    elif how == "refused":
        route.abort()
    else:
        text = route.fetch().text()
        route.fulfill(body=text[: len(text) // 2], content_type="text/javascript")


@pytest.mark.parametrize("how", ["missing", "cut short", "HTML", "refused"])
@pytest.mark.parametrize("file", FILES)
def test_a_file_that_does_not_arrive_leaves_the_still_picture_and_a_sentence(
    chromium: Browser, site: str, file: str, how: str
) -> None:
    context = chromium.new_context(viewport={"width": 1000, "height": 900})
    page = context.new_page()
    page.route(FILES[file], lambda route: damaged(route, how))
    page.goto(f"{site}/book/{CHAPTER}.html")
    page.keyboard.press("Shift")
    place = page.locator(PLACE)
    expect(place.locator("p")).to_have_text(SENTENCE)
    assert place.locator("img").evaluate("(img) => img.decode().then(() => img.naturalWidth)") > 100
    sizes = [place.bounding_box(), place.locator(".vae-still").bounding_box()]
    assert abs(sizes[0]["height"] - sizes[1]["height"]) < 40, "a hole beside the picture"
    context.close()


def with_state(page: Page, state: Any) -> None:
    """Give a page another state of its widgets."""
    body = f"globalThis.vaeWidgetState = {json.dumps(state)};"
    page.route(FILES["state"], lambda route: route.fulfill(body=body, content_type="text/javascript"))


def canvas_of(state: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the identifier and the entry of the model that paints."""
    return next((name, model) for name, model in state["state"].items() if "_esm" in model["state"])


def without_canvas(state: dict[str, Any]) -> None:
    del state["state"][canvas_of(state)[0]]


def of_an_unknown_class(state: dict[str, Any]) -> None:
    canvas_of(state)[1]["model_module"] = "nobody-knows"


def with_a_broken_module(state: dict[str, Any]) -> None:
    canvas_of(state)[1]["state"]["_esm"] = "export default {"


def with_a_module_that_is_html(state: dict[str, Any]) -> None:
    canvas_of(state)[1]["state"]["_esm"] = "<!DOCTYPE html><p>Please log in</p>"


def of_another_version(state: dict[str, Any]) -> None:
    state["version_major"] = 9


def without_models(state: dict[str, Any]) -> None:
    state["state"] = {}


DAMAGE = [
    without_canvas,
    of_an_unknown_class,
    with_a_broken_module,
    with_a_module_that_is_html,
    of_another_version,
    without_models,
]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_state_from_which_no_widget_can_be_made(chromium: Browser, site: str, html: Path, damage: Any) -> None:
    state = json.loads(widget_state(html / "book" / f"{CHAPTER}.html"))
    damage(state)
    context = chromium.new_context()
    page = context.new_page()
    with_state(page, state)
    page.goto(f"{site}/book/{CHAPTER}.html")
    page.keyboard.press("Shift")
    expect(page.locator(f"{PLACE} .vae-still p")).to_have_text(SENTENCE, timeout=1000 * LIMIT_S)
    assert page.locator(f"{PLACE} img").is_visible()
    context.close()


def test_one_widget_without_a_state_does_not_take_the_others_with_it(chromium: Browser, site: str, html: Path) -> None:
    page_html = (html / "book" / f"{CHAPTER}.html").read_text(encoding="utf-8")
    view = re.search(r'<div class="widget-subarea.*?</noscript>', page_html, re.DOTALL)
    assert view is not None
    unknown = re.sub(r"(?<=\"model_id\": \")[0-9a-f]{32}", "0" * 32, view[0])
    context = chromium.new_context()
    page = context.new_page()
    page.route(f"**/{CHAPTER}.html", lambda route: route.fulfill(
        body=page_html.replace(view[0], unknown + view[0], 1), content_type="text/html"
    ))  # fmt: skip
    page.goto(f"{site}/book/{CHAPTER}.html")
    page.keyboard.press("Shift")
    expect(page.locator(PLACE).first.locator(".vae-still p")).to_have_text(SENTENCE)
    expect(page.locator(PLACE).nth(1).locator(".vae-widget canvas")).to_be_visible()
    assert page.locator(PLACE).nth(1).locator(".vae-still").count() == 0
    context.close()


def test_a_widget_that_comes_late_takes_the_place_of_its_still_picture(chromium: Browser, site: str) -> None:
    context = chromium.new_context()
    page = context.new_page()
    held: list[Route] = []  # the manager, kept back until the still picture stands
    page.route(FILES["manager"], lambda route: held.append(route))
    page.goto(f"{site}/book/{CHAPTER}.html")
    page.evaluate(f"vaeStill(document.querySelector('{PLACE}'))")
    expect(page.locator(f"{PLACE} .vae-still")).to_be_visible()
    page.keyboard.press("Shift")
    until(page, lambda: held, "the page asks for the widgets' manager")
    held[0].continue_()
    expect(page.locator(f"{PLACE} .vae-widget canvas")).to_be_visible()
    expect(page.locator(f"{PLACE} .vae-still")).to_have_count(0)
    context.close()


# ---- states that a widget cannot be drawn from ----------------------------------------------------------------------------

HARNESS = r"""async ({ esm, css, plain, buffers }) => {
  document.head.insertAdjacentHTML("beforeend", "<style></style>");
  document.head.lastChild.textContent = css;
  const url = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
  const widget = (await import(url)).default;
  const view = (data) => new DataView(Uint8Array.from(atob(data), (c) => c.charCodeAt(0)).buffer);
  window.troubles = [];
  window.addEventListener("error", ({ message }) => /^ResizeObserver loop/.test(message) || troubles.push(`error: ${message}`));
  window.addEventListener("unhandledrejection", (event) => troubles.push(`rejected: ${event.reason}`));
  window.makeModel = (changes) => {
    const values = structuredClone(plain);
    for (const [name, data] of Object.entries(buffers)) values[name] = view(data);
    Object.assign(values, changes);
    const heard = new Map();
    return {
      get: (name) => values[name],
      set(name, value) {
        for (const [key, next] of Object.entries(typeof name === "string" ? { [name]: value } : name)) {
          values[key] = next;
          for (const callback of heard.get(`change:${key}`) ?? []) callback();
        }
      },
      save_changes() {},
      on: (name, callback) => heard.set(name, [...(heard.get(name) ?? []), callback]),
      off: (name, callback) => heard.set(name, (heard.get(name) ?? []).filter((one) => one !== callback)),
    };
  };
  // Draw a widget; {message, painted, visible} are its message, how often it was painted, and how many canvases are seen.
  window.draw = (model) => {
    const box = document.createElement("div");
    box.className = "vae-widget-box";
    const el = document.createElement("div");
    box.append(el);
    document.body.append(box);
    const stop = widget.render({ model, el });
    const look = () => ({
      message: el.querySelector(".vae-widget-error")?.textContent ?? "",
      painted: Number(el.dataset.painted ?? 0),
      visible: [...el.querySelectorAll("canvas")].filter((canvas) => canvas.checkVisibility()).length,
    });
    return { el, look, end() { stop?.(); box.remove(); } };
  };
  const cut = (buffer, length) => new DataView(buffer.buffer.slice(0, length));
  // Every trait, one after the other, with values that it must not have.
  window.tryAll = () => {
    const results = [];
    for (const name of [...Object.keys(plain), ...Object.keys(buffers)]) {
      const bad = {
        null: null, "an empty list": [], "an object": {}, "a text": "a text", "a half": 2.5, negative: -3, huge: 1e17,
        "huge list": [1e300, -1e300],
      };
      if (name in buffers) {
        const whole = view(buffers[name]);
        const lengths = { empty: 0, "cut short": whole.byteLength >> 1, "a byte short": Math.max(0, whole.byteLength - 1) };
        for (const [what, length] of Object.entries(lengths)) bad[what] = cut(whole, length);
      }
      for (const [what, value] of Object.entries(bad)) {
        try {
          const drawn = draw(makeModel({ [name]: value }));
          results.push({ name, what, ...drawn.look() });
          drawn.end();
        } catch (error) {
          results.push({ name, what, thrown: String(error) });
        }
      }
    }
    return results;
  };
}"""
UNUSED = re.compile(r"^_|^(layout|tabbable|tooltip|seed)$")


def painters(html: Path) -> dict[str, dict[str, Any]]:
    """Return, for each kind of widget in the built pages, the painting model with the largest state."""
    found: dict[str, dict[str, Any]] = {}
    for file in sorted((html / "_static" / "widgets").glob("*.js")):
        state = json.loads(file.read_text(encoding="utf-8").removeprefix("globalThis.vaeWidgetState = ").rstrip(";\n"))
        for model in state["state"].values():
            if "_esm" in model["state"]:
                kind = model["state"]["_anywidget_id"].rpartition(".")[2]
                if len(json.dumps(model)) > len(json.dumps(found.get(kind, {}))):
                    found[kind] = model
    return found


@pytest.fixture
def blank(chromium: Browser) -> Iterator[Page]:
    """An empty page."""
    context = chromium.new_context(viewport={"width": 1000, "height": 900}, reduced_motion="reduce")
    yield context.new_page()
    context.close()


def prepare(page: Page, model: dict[str, Any]) -> None:
    """Put a widget's module and its state into an empty page."""
    state = model["state"]
    plain = {name: value for name, value in state.items() if not UNUSED.search(name) or name == "seed"}
    buffers = {one["path"][0]: one["data"] for one in model.get("buffers", [])}
    page.set_content("<!DOCTYPE html><html><head></head><body></body></html>")
    page.evaluate(HARNESS, {"esm": state["_esm"], "css": state.get("_css", ""), "plain": plain, "buffers": buffers})


def test_every_kind_of_widget_says_what_is_wrong_with_its_state(blank: Page, html: Path) -> None:
    bad: list[str] = []
    kinds = painters(html)
    assert kinds
    for kind, model in kinds.items():
        prepare(blank, model)
        blank.evaluate("() => { window.well = draw(makeModel({})).look() }")
        well = blank.evaluate("well")
        assert well["message"] == "", kind
        assert well["painted"] >= 1, kind
        blank.evaluate("() => { setTimeout(() => { window.results = tryAll() }) }")
        results = blank.wait_for_function("() => window.results", timeout=5000 * LIMIT_S).json_value()
        for result in results:
            case = f"{kind}.{result['name']} {result['what']}: {result}"
            if "thrown" in result:
                bad.append(case)
            elif result["message"]:
                good = result["message"].startswith("This widget cannot be shown: expected ")
                bad += [case] if not good or result["visible"] else []
            elif not result["painted"]:
                bad.append(case)
        told = [result for result in results if result.get("message")]
        assert len(told) > len(results) / 4, f"{kind}: few of {len(results)} wrong states were noticed"
        bad += [f"{kind}: {trouble}" for trouble in blank.evaluate("troubles")]
    assert not bad, "\n".join(bad)


WRONG = {  # as they were found; a half-painted widget without a word, or a page that hangs
    "no colours": ("LatentCanvas", {"colors": []}),
    "a shape in fractions": ("LatentCanvas", {"image_shape": [78.4, 10]}),
    "no start": ("LatentCanvas", {"start": None}),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_state_is_told_in_the_widgets_place(blank: Page, html: Path, name: str) -> None:
    kind, changes = WRONG[name]
    prepare(blank, painters(html)[kind])
    drawn = blank.evaluate("(changes) => draw(makeModel(changes)).look()", changes)
    assert drawn["message"].startswith("This widget cannot be shown: expected ")
    assert drawn["visible"] == 0


def test_a_state_that_becomes_well_again_is_painted_again(blank: Page, html: Path) -> None:
    kinds = painters(html)
    prepare(blank, next(model for kind, model in kinds.items() if "mu" in model["state"]))
    blank.evaluate("() => { window.model = makeModel({ mu: null }); window.drawn = draw(model); }")
    assert "expected a finite number as mu, got null" in blank.evaluate("drawn.look().message")
    blank.evaluate("() => { model.set('mu', 0.5) }")
    blank.wait_for_function("() => !drawn.look().message && drawn.look().visible")
    blank.evaluate("() => { model.set('mu', 'much') }")
    blank.wait_for_function("() => drawn.look().message && !drawn.look().visible")


@pytest.mark.parametrize("limit", [1e-6, 1e6, 1e17, 1e30])
def test_a_map_of_any_size_is_painted_at_once(blank: Page, html: Path, limit: float) -> None:
    prepare(blank, painters(html)["LatentCanvas"])
    blank.evaluate(
        "(limit) => { setTimeout(() => { const began = performance.now(); const drawn = draw(makeModel({ limit })); "
        "window.result = { ...drawn.look(), took: performance.now() - began }; }) }",
        limit,
    )
    result = blank.wait_for_function("() => window.result", timeout=1000 * LIMIT_S).json_value()
    assert (result["message"], result["painted"]) == ("", 1)


def test_a_q_of_huge_variance_hangs_no_close_up(blank: Page, html: Path) -> None:
    """The head for log σ² gives 80 whatever comes in: σ = 2e17, in a close-up of eight σ."""
    prepare(blank, painters(html)["LatentCanvas"])
    blank.evaluate(
        """() => {
        const model = makeModel({});
        const layers = model.get("encoder_layers").map((layer) => ({ ...layer, rounded: false }));
        const sizes = layers.map(({ inputs, outputs }) => (inputs + 1) * outputs);
        const weights = new DataView(new ArrayBuffer(2 * sizes.reduce((a, b) => a + b)));
        const outputs = layers.at(-1).outputs;
        for (let j = 0; j < outputs; j++) weights.setUint16(weights.byteLength - 2 * (j + 1), 0x5500, true); // 80 in float16
        window.model = makeModel({ encoder_layers: layers, encoder_weights: weights });
        window.drawn = draw(window.model);
        const tab = [...document.querySelectorAll("button")].find((button) => button.textContent.startsWith("Encode"));
        setTimeout(() => tab.click());
        }"""
    )
    expect(blank.locator(".vae-explorer-encode .vae-readout")).to_contain_text("σ = (2.354e17, 2.354e17)", timeout=1000 * LIMIT_S)
    painted = int(blank.locator(".vae-explorer").get_attribute("data-painted") or 0)
    blank.evaluate("() => { model.set('z0', 0.25) }")
    blank.wait_for_function("(before) => drawn.look().painted > before", arg=painted, timeout=1000 * LIMIT_S)


# ---- markup that somebody puts into a page --------------------------------------------------------------------------------


class Scripts(html.parser.HTMLParser):
    """Collects a page's policy, its scripts without a source, and its event handlers."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.policy = ""
        self.texts: list[str] = []
        self.handlers: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "meta" and values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"] or ""
        self.handlers += [name for name in values if name.startswith("on")]
        self.handlers += [value for value in values.values() if value and value.lstrip().lower().startswith("javascript:")]
        self._inside = tag == "script" and "src" not in values and "json" not in (values.get("type") or "")
        if self._inside:
            self.texts.append("")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = False


def test_every_page_allows_its_own_scripts_and_no_others(html: Path) -> None:
    pages = [path for path in sorted(html.rglob("*.html")) if "_static" not in path.parts]
    assert {"index.html", "search.html", "genindex.html"} <= {path.name for path in pages}
    for path in pages:
        seen = Scripts()
        seen.feed(path.read_text(encoding="utf-8"))
        (allowed,) = [part.split()[1:] for part in seen.policy.split("; ") if part.startswith("script-src ")]
        assert "'unsafe-inline'" not in allowed, path.name
        assert "'unsafe-hashes'" not in allowed, path.name
        wanted = {f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in seen.texts}
        assert set(allowed) == {"'self'", "blob:"} | wanted, path.name
        assert not seen.handlers, path.name


@pytest.mark.parametrize("scheme", ["http", "file"])
@pytest.mark.parametrize("name", ["index", "search", "genindex", f"book/{CHAPTER}"])
def test_a_pages_own_scripts_run_under_its_policy(chromium: Browser, site: str, html: Path, name: str, scheme: str) -> None:
    root = site if scheme == "http" else html.as_uri()
    context = chromium.new_context()
    watched = Watched(context, root)
    page = watched.open(f"{root}/{name}.html")
    page.wait_for_load_state("load")
    assert page.evaluate("typeof vaeStill") == "function", "early.js did not run"
    assert page.evaluate("document.documentElement.dataset.page") == "runs"
    assert page.evaluate("seen.policy") == []
    assert watched.troubles == []
    assert watched.foreign == []
    context.close()


INJECTED = """<script>window.injected = "script"</script><img src="data:," onerror="window.injected = 'handler'">
<svg onload="window.injected = 'svg'"></svg><a id="press" href="javascript:void(window.injected = 'address')">press</a>
<iframe srcdoc="<script>parent.injected = 'frame'</script>"></iframe><p id="after">after</p>"""


@pytest.mark.parametrize("name", ["search", f"book/{CHAPTER}"])
def test_injected_markup_runs_nothing(chromium: Browser, site: str, html: Path, name: str) -> None:
    text = (html / f"{name}.html").read_text(encoding="utf-8")
    place = text.index("<article") if "<article" in text else text.index("<body")
    at = text.index(">", place) + 1
    context = chromium.new_context()
    page = Watched(context, site).page
    page.route(f"**/{name}.html", lambda route: route.fulfill(body=text[:at] + INJECTED + text[at:], content_type="text/html"))
    page.goto(f"{site}/{name}.html")
    expect(page.locator("#after")).to_be_attached()
    page.locator("#press").dispatch_event("click")
    page.wait_for_function("() => seen.policy.length >= 4")  # each attempt was seen, and refused
    assert page.evaluate("window.injected") is None
    assert page.evaluate("document.documentElement.dataset.page") == "runs"
    context.close()


def test_buttons_of_the_theme_work_without_code_in_attributes(chromium: Browser, site: str) -> None:
    context = chromium.new_context(viewport={"width": 1200, "height": 900})
    page = Watched(context, site).open(f"{site}/book/{CHAPTER}.html")
    page.evaluate("() => { window.toggleFullScreen = () => { window.pressed = true; } }")
    page.locator("[data-action=fullscreen]").click()
    assert page.evaluate("window.pressed") is True
    assert page.evaluate("seen.policy") == []
    context.close()


# ---- search for the names that every object has ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word", ["constructor", "__proto__", "hasOwnProperty", "toString valueOf", "__proto__ elbo", "divergence"]
)
def test_search_for_any_word_ends_with_results_or_none(chromium: Browser, site: str, word: str) -> None:
    context = chromium.new_context()
    watched = Watched(context, site)
    page = watched.page
    page.goto(f"{site}/search.html?q={word}")
    expect(page.locator("#search-results h2")).to_have_text("Search Results")
    summary = page.locator("#search-results p.search-summary")
    expect(summary).to_have_text(re.compile(r"found \d+ page|did not match any"))
    results = page.locator("#search-results ul.search > li")
    if "did not match" not in summary.inner_text():
        expect(results.first).to_be_visible()
    assert "undefined" not in page.locator("#search-results").inner_text()
    if word == "divergence":
        assert results.count() > 0
    assert watched.troubles == []
    context.close()


# ---- a browser that stores nothing ----------------------------------------------------------------------------------------


def test_without_site_data_the_theme_switch_works(playwright: Playwright, site: str, tmp_path: Path) -> None:
    profile = tmp_path / "profile"
    (profile / "Default").mkdir(parents=True)
    settings = {"profile": {"default_content_setting_values": {"cookies": 2}}}  # "block all site data", as the settings page does
    (profile / "Default" / "Preferences").write_text(json.dumps(settings), encoding="utf-8")
    context = playwright.chromium.launch_persistent_context(
        str(profile), executable_path=browser_tool.find(), args=browser_tool.arguments(), headless=True
    )
    context.set_default_timeout(1000 * LIMIT_S)
    watched = Watched(context, site)  # type: ignore[arg-type]
    page = watched.open(f"{site}/book/{CHAPTER}.html")
    probe = """() => {
        const frame = document.createElement("iframe"); // its window has no memory that stands in
        document.body.append(frame);
        try { return frame.contentWindow.localStorage; } catch (error) { return error.name; }
    }"""
    assert page.evaluate(probe) == "SecurityError", "the browser does store site data: nothing was tested"
    modes = []
    for _ in range(3):
        page.locator(".theme-switch-button:visible").first.click()
        modes.append(page.evaluate("document.documentElement.dataset.mode"))
    assert sorted(modes) == ["auto", "dark", "light"]
    page.goto(f"{site}/search.html?q=elbo")
    expect(page.locator("#search-results h2")).to_have_text("Search Results")
    assert watched.troubles == []
    context.close()


# ---- high contrast --------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["light", "dark"])
def high_contrast(request: pytest.FixtureRequest, chromium: Browser, site: str) -> Iterator[Page]:
    """The explorer's chapter in forced colours."""
    context = chromium.new_context(viewport={"width": 1000, "height": 1000}, forced_colors="active", color_scheme=request.param)
    yield Watched(context, site).open(f"{site}/book/latent-explorer.html")
    context.close()


def pixels(page: Page, selector: str, grow: int = 0) -> list[list[int]]:
    """Return the colours of an element on the screen, [red, green, blue] each."""
    element = page.locator(selector).first
    element.scroll_into_view_if_needed()
    box = element.bounding_box()
    assert box is not None
    clip = {"x": box["x"] - grow, "y": box["y"] - grow, "width": box["width"] + 2 * grow, "height": box["height"] + 2 * grow}
    shot = base64.b64encode(page.screenshot(clip=clip)).decode()
    colours: list[list[int]] = page.evaluate(
        """async (png) => {
        const image = new Image();
        image.src = `data:image/png;base64,${png}`;
        await image.decode();
        const canvas = new OffscreenCanvas(image.width, image.height);
        const context = canvas.getContext("2d");
        context.drawImage(image, 0, 0);
        const { data } = context.getImageData(0, 0, image.width, image.height);
        return Array.from({ length: data.length / 4 }, (_, i) => [...data.slice(4 * i, 4 * i + 3)]);
        }""",
        shot,
    )
    return colours


def contrast(colours: list[list[int]]) -> float:
    """Return the largest contrast between two of some colours, 1 to 21 (WCAG 2.2)."""

    def luminance(colour: list[int]) -> float:
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in (c / 255 for c in colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    all_of_them = [luminance(colour) for colour in colours]
    return (max(all_of_them) + 0.05) / (min(all_of_them) + 0.05)


def test_in_high_contrast_a_sliders_track_is_seen(high_contrast: Page) -> None:
    high_contrast.evaluate(
        "() => document.querySelectorAll('.noUi-handle, .noUi-connect').forEach((one) => (one.style.visibility = 'hidden'))"
    )
    assert contrast(pixels(high_contrast, ".widget-slider .noUi-target", grow=2)) >= 3


def test_in_high_contrast_an_open_tab_differs_from_a_closed_one(high_contrast: Page) -> None:
    tabs = high_contrast.locator(".vae-explorer-tabs button")
    tabs.first.click()
    expect(tabs.first).to_have_attribute("aria-expanded", "true")
    high_contrast.mouse.move(0, 0)
    high_contrast.evaluate("document.activeElement.blur()")
    style = """(button) => {
        const { outlineStyle, outlineWidth, textDecorationLine } = getComputedStyle(button);
        return [outlineStyle, outlineWidth, textDecorationLine];
    }"""
    opened, closed = (tabs.nth(i).evaluate(style) for i in range(2))
    assert opened[:2] == ["solid", "3px"]
    assert opened[2] == "underline"
    assert closed[0] == "none"
    assert closed[2] == "none"
    chosen, other = (
        high_contrast.locator(f".vae-explorer-grid button[aria-checked={value}]").first.evaluate(style)
        for value in ("true", "false")
    )
    assert chosen != other


def test_in_high_contrast_the_maps_letters_stand_out(high_contrast: Page) -> None:
    """The numbers on the map have a halo in the paper's colour: on a dark page of high contrast that must be dark too."""
    assert contrast(pixels(high_contrast, ".vae-explorer-digit")) >= 3
    ink, paper = high_contrast.locator(".vae-explorer").evaluate(
        "(el) => { const { color, backgroundColor } = getComputedStyle(el); return [color, backgroundColor]; }"
    )
    colours = [[int(value) for value in re.findall(r"\d+", one)[:3]] for one in (ink, paper)]
    assert contrast(colours) >= 7
    corner = high_contrast.locator(".vae-explorer-map").evaluate(
        "(map) => [...map.getContext('2d').getImageData(0, 0, map.width, map.height).data]"
    )
    drawn = {tuple(corner[i : i + 3]) for i in range(0, len(corner), 4) if corner[i + 3] == 255}
    assert tuple(colours[1]) in drawn, "no halo in the paper's colour"
