"""The latent explorer in its chapter, by pointer, finger and keys: map, layers, encoder, drawing, ledger, walk, bad states."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from conftest import AS_PICTURE, HTML, Watched, at_rest, other_picture, slow_motion, until, violations, widget_state
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

import vae_lib
from vae_lib.gaussian import gaussian_kl
from vae_lib.objective import bernoulli_log_prob

CHAPTER = "book/latent-explorer.html"
AS_PIXELS = """canvas => {
  const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  return Array.from(context.getImageData(0, 0, copy.width, copy.height).data);
}"""
TOO_SMALL = """[...document.querySelectorAll(".vae-widget button, .vae-widget input")].filter((target) => target.checkVisibility()
  && Math.min(target.offsetWidth, target.offsetHeight) < 24).map((target) => target.outerHTML)"""


@pytest.fixture(scope="module")
def watched(chromium: Browser, site: str) -> Iterator[Watched]:
    """One page for most tests; each leaves it as it finds it, with all panels closed."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1000}, reduced_motion="reduce", has_touch=True)
    opened = Watched(context, site)
    opened.open(f"{site}/{CHAPTER}")
    yield opened
    context.close()


@pytest.fixture
def page(watched: Watched) -> Iterator[Page]:
    yield watched.page
    close_panels(watched.page)
    watched.page.get_by_role("button", name="Whole map").click()
    watched.page.get_by_role("button", name="Codes", exact=True).click()
    assert watched.foreign == []
    assert watched.troubles == []


def close_panels(page: Page) -> None:
    for button in page.locator(".vae-explorer-tabs button[aria-expanded=true]").all():
        button.click()


def open_panel(page: Page | Locator, name: str) -> Locator:
    page.locator(".vae-explorer-tabs").get_by_role("button", name=name).click()
    return page.get_by_role("region", name=name)


def numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.\d+", text.replace("−", "-"))]


def point(page: Page) -> list[float]:
    """Where z is by the caption, and the sliders agree, which tell one decimal."""
    at_rest(page)
    z = numbers(page.get_by_text("Decoded at z = ").inner_text())
    handles = page.locator(".vae-widget-box .noUi-handle")
    assert z == pytest.approx([float(handle.get_attribute("aria-valuenow") or "nan") for handle in handles.all()], abs=0.051)
    return z


def comes_to(page: Page, z: list[float], within: float) -> list[float]:
    """Wait until the point is where it should go, and return where it is exactly."""
    until(page, lambda: point(page) == pytest.approx(z, abs=within), f"the point comes to {z}")
    return point(page)


def limit_of(page: Page) -> float:
    return float(page.locator(".noUi-handle").first.get_attribute("aria-valuemax") or "nan")


def place_on(canvas: Locator, across: float, down: float) -> tuple[float, float]:
    """Page coordinates of a place on a canvas, given in shares of its sides."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    return box["x"] + float(across) * box["width"], box["y"] + float(down) * box["height"]


def test_mouse_finger_and_keys_move_the_point(page: Page) -> None:
    plane, limit = page.locator(".vae-explorer-map"), limit_of(page)
    page.mouse.click(*place_on(plane, 0.75, 0.25))
    comes_to(page, [limit / 2, limit / 2], 0.03)
    page.touchscreen.tap(*place_on(plane, 0.25, 0.5))
    comes_to(page, [-limit / 2, 0], 0.03)
    page.mouse.move(*place_on(plane, 0.25, 0.5))
    page.mouse.down()
    page.mouse.move(*place_on(plane, 0.5, 0.75), steps=5)
    page.mouse.up()
    before = comes_to(page, [0, -limit / 2], 0.03)
    for key, move in {
        "ArrowRight": (0.05, 0),
        "ArrowDown": (0, -0.05),
        "Shift+ArrowLeft": (-0.5, 0),
        "Shift+ArrowUp": (0, 0.5),
    }.items():
        plane.press(key)
        before = comes_to(page, [before[0] + move[0], before[1] + move[1]], 0.011)
    assert numbers(plane.get_attribute("aria-label") or "") == before


def test_zoom_by_buttons_keys_and_wheel_and_pan(page: Page) -> None:
    plane, limit = page.locator(".vae-explorer-map"), limit_of(page)
    page.mouse.click(*place_on(plane, 0.5, 0.5))
    comes_to(page, [0, 0], 0.03)
    before = plane.evaluate(AS_PICTURE)
    page.get_by_role("button", name="Zoom in").click()
    enlarged = other_picture(plane, before)
    plane.press("+")
    assert other_picture(plane, enlarged) != before
    page.mouse.click(*place_on(plane, 1, 0.5))  # 1.5² times enlarged around the origin
    comes_to(page, [limit / 2.25, 0], 0.03)
    before_pan = point(page)
    page.keyboard.down("Shift")
    page.mouse.move(*place_on(plane, 0.75, 0.5))
    page.mouse.down()
    page.mouse.move(*place_on(plane, 0.25, 0.5), steps=3)
    page.mouse.up()
    page.keyboard.up("Shift")
    assert point(page) == before_pan
    page.mouse.click(*place_on(plane, 0.5, 0.5))  # half of the map further to the right
    comes_to(page, [limit / 2.25, 0], 0.03)
    plane.press("0")
    x, y = place_on(plane, 0.5, 0.5)
    page.mouse.move(x, y)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -400)
    page.keyboard.up("Control")
    page.mouse.click(*place_on(plane, 1, 0.5))
    comes_to(page, [limit / np.exp(2), 0], 0.03)


def test_arrow_keys_take_the_map_along(page: Page) -> None:
    plane = page.locator(".vae-explorer-map")
    page.mouse.click(*place_on(plane, 0.5, 0.5))
    for _ in range(6):
        plane.press("+")
    for _ in range(8):
        plane.press("Shift+ArrowRight")
    x, _ = point(page)
    page.mouse.click(*place_on(plane, 0.5, 0.5))
    assert abs(point(page)[0] - x) < 0.5  # the point is still on the map, whose half side is 0.4


def test_two_fingers_zoom(page: Page) -> None:
    plane, limit = page.locator(".vae-explorer-map"), limit_of(page)
    page.mouse.click(*place_on(plane, 0.5, 0.5))
    session = page.context.new_cdp_session(page)

    def fingers(kind: str, *shares: float) -> None:
        places = [place_on(plane, share, 0.5) for share in shares]
        touches = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})

    fingers("touchStart", 0.4)
    fingers("touchStart", 0.4, 0.6)
    for step in (0.05, 0.1, 0.2):
        fingers("touchMove", 0.4 - step, 0.6 + step)
    fingers("touchEnd")
    page.mouse.click(*place_on(plane, 1, 0.5))
    comes_to(page, [limit / 3, 0], 0.15)  # the fingers are three times as far apart


def test_layers_show_the_plane_in_four_ways(page: Page) -> None:
    plane = page.locator(".vae-explorer-map")
    seen = set()
    for name in ("Codes", "Decoded", "Density", "Certainty"):
        button = page.get_by_role("button", name=name, exact=True)
        button.click()
        expect(button).to_have_attribute("aria-pressed", "true")
        at_rest(page)  # the decoded plane comes over many frames
        seen.add(plane.evaluate(AS_PICTURE))
    assert len(seen) == 4


def test_decoded_tiles_are_what_keras_decodes(page: Page) -> None:
    page.get_by_role("button", name="Decoded", exact=True).click()
    page.mouse.click(*place_on(page.locator(".vae-explorer-map"), 0.02, 0.02))  # out of the way
    at_rest(page)
    tiles, limit = 16, limit_of(page)
    row, column = 12, 11  # away from circles and numbers; a tile has 25 × 25 pixels
    z = np.array([[(2 * (column + 0.5) / tiles - 1) * limit, (1 - 2 * (row + 0.5) / tiles) * limit]], np.float32)
    tile = page.locator(".vae-explorer-map").evaluate(
        "(canvas, [x, y]) => Array.from(canvas.getContext('2d').getImageData(x, y, 25, 25).data)", [25 * column, 25 * row]
    )
    tile = np.asarray(tile, dtype=float).reshape(25, 25, 4)[..., 0]
    expected = 255 / (1 + np.exp(-np.asarray(vae_lib.pretrained("mnist-2d").decoder(z))[0].reshape(28, 28)))
    assert abs(tile.mean() - expected.mean()) < 6
    assert np.corrcoef(tile.ravel(), _shrunk(expected, 25).ravel())[0, 1] > 0.97


def _shrunk(image: np.ndarray[Any, Any], side: int) -> np.ndarray[Any, Any]:
    """The same picture in another number of pixels, by linear interpolation along both axes."""
    at = (np.arange(side) + 0.5) * len(image) / side - 0.5
    rows = np.stack([np.interp(at, np.arange(len(image)), column) for column in image.T], axis=1)
    return np.stack([np.interp(at, np.arange(image.shape[1]), row) for row in rows])


def test_the_pointer_finds_the_image_of_a_code(page: Page) -> None:
    data, limit = vae_lib.load_mnist(), limit_of(page)
    codes = np.asarray(vae_lib.pretrained("mnist-2d").encoder(data.x_test[:2000])[0])
    apart = np.linalg.norm(codes[:, None] - codes[None], axis=-1) + 99 * np.eye(len(codes))  # (images, images)
    lonely = int(np.where(np.abs(codes).max(axis=1) < limit - 0.5, apart.min(axis=1), 0).argmax())
    across, down = (codes[lonely] / limit + 1) / 2
    page.mouse.move(*place_on(page.locator(".vae-explorer-map"), across, 1 - down))
    hover = page.locator(".vae-explorer-hover")
    expect(hover).to_be_visible()
    expect(hover).to_have_text(f"test image {lonely}: a {data.y_test[lonely]}")
    shown = np.asarray(hover.locator("canvas").evaluate(AS_PIXELS)).reshape(784, 4)[:, 0] / 255
    assert np.abs(shown - data.x_test[lonely]).max() <= 1 / 6 + 0.01  # four levels of grey
    page.mouse.move(*place_on(page.locator(".vae-explorer-map"), 0.98, 0.98))
    expect(hover).to_be_hidden()


def test_the_nearest_image_is_named_for_every_point(page: Page) -> None:
    data = vae_lib.load_mnist()
    codes = np.asarray(vae_lib.pretrained("mnist-2d").encoder(data.x_test[:2000])[0])
    page.mouse.click(*place_on(page.locator(".vae-explorer-map"), 0.75, 0.6))
    z = point(page)
    nearest = int(np.hypot(*(codes - z).T).argmin())
    near = f"Nearest test image: a {data.y_test[nearest]}, {np.hypot(*(codes[nearest] - z)):.2f} away"
    expect(page.locator(".vae-explorer-nearest")).to_have_text(near)


def test_a_picked_image_is_encoded_as_keras_encodes_it(page: Page) -> None:
    vae, data = vae_lib.pretrained("mnist-2d"), vae_lib.load_mnist()
    region = open_panel(page, "Encode an image")
    options = page.get_by_role("radio")
    expect(options).to_have_count(40)
    options.nth(5).click()
    for key in ("ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    chosen = page.locator("[role=radio][aria-checked=true]")
    expect(chosen).to_have_count(1)
    name = chosen.get_attribute("aria-label") or ""
    index, digit = (int(number) for number in re.findall(r"\d+", name))
    assert digit == data.y_test[index] == 6
    at_rest(page)
    mu, log_var = (np.asarray(part)[0] for part in vae.encoder(data.x_test[index : index + 1]))
    said = numbers(region.locator(".vae-readout").inner_text())
    np.testing.assert_allclose(said[:2], mu, atol=0.005 + 2e-3)
    np.testing.assert_allclose(said[2:4], np.exp(log_var / 2), atol=0.0005 + 2e-3)
    comes_to(page, mu.tolist(), 0.011)
    pictures = region.locator("canvas")
    original = np.asarray(pictures.nth(0).evaluate(AS_PIXELS)).reshape(784, 4)[:, 0]
    np.testing.assert_allclose(original, 255 * data.x_test[index], atol=0.51)
    reconstruction = np.asarray(pictures.nth(1).evaluate(AS_PIXELS)).reshape(784, 4)[:, 0] / 255
    expected = 1 / (1 + np.exp(-np.asarray(vae.decoder(mu[None]))[0]))
    assert np.abs(reconstruction - expected).max() < 0.01  # of rounded weights, twice, and of grey levels
    before = pictures.nth(2).evaluate(AS_PICTURE)
    region.get_by_role("button", name="New samples").click()
    other_picture(pictures.nth(2), before)


def draw(page: Page, *corners: tuple[float, float]) -> None:
    pad = page.locator(".vae-explorer-pad canvas")
    page.mouse.move(*place_on(pad, *corners[0]))
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*place_on(pad, *corner), steps=6)
    page.mouse.up()
    at_rest(page)


def expect_digit(page: Page, digit: int) -> None:
    expect(page.locator(".vae-explorer-nearest")).to_contain_text(f"a {digit},")


def test_a_drawn_digit_is_encoded(page: Page) -> None:
    region = open_panel(page, "Encode an image")
    page.get_by_role("button", name="Draw a digit").click()
    draw(page, (0.3, 0.25), (0.7, 0.25), (0.5, 0.55), (0.45, 0.85))
    expect(region.locator(".vae-readout")).to_contain_text("your drawing")
    expect_digit(page, 7)
    page.get_by_role("button", name="Clear").click()
    draw(page, (0.5, 0.2), (0.3, 0.35), (0.28, 0.6), (0.45, 0.8), (0.65, 0.7), (0.72, 0.4), (0.5, 0.2))
    expect_digit(page, 0)
    at_rest(page)
    image = np.asarray(region.locator("canvas").nth(0).evaluate(AS_PIXELS), dtype=float).reshape(28, 28, 4)[..., 0]
    rows, columns = np.nonzero(image)
    assert max(int(np.ptp(rows)), int(np.ptp(columns))) + 1 == 20  # MNIST's box
    centre = [(image * np.arange(28)[:, None]).sum() / image.sum(), (image * np.arange(28)).sum() / image.sum()]
    np.testing.assert_allclose(centre, 14, atol=1)  # and its centre of mass
    page.get_by_role("button", name="Test images").click()


def test_a_digit_can_be_drawn_by_keys_by_finger_and_with_a_pen(page: Page) -> None:
    region = open_panel(page, "Encode an image")
    page.get_by_role("button", name="Draw a digit").click()
    page.get_by_role("button", name="Clear").click()
    pad = page.locator(".vae-explorer-pad canvas")
    pad.focus()
    for key in [*["ArrowUp"] * 8, "Space", *["ArrowDown"] * 16, "Space", "ArrowLeft"]:
        page.keyboard.press(key)
    expect(pad).to_have_attribute("aria-label", re.compile(r"1 stroke\. Pen up"))
    expect(region.locator(".vae-readout")).to_contain_text("your drawing")
    expect_digit(page, 1)
    page.keyboard.press("Backspace")
    expect(pad).to_have_attribute("aria-label", re.compile("0 strokes"))
    session, path = page.context.new_cdp_session(page), [(0.3, 0.3), (0.5, 0.3), (0.7, 0.3), (0.55, 0.6), (0.45, 0.85)]
    for kind, share in zip(["touchStart", *["touchMove"] * 4], path, strict=True):
        x, y = place_on(pad, *share)
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(pad).to_have_attribute("aria-label", re.compile(r"1 stroke\."))
    expect_digit(page, 7)
    page.get_by_role("button", name="Clear").click()
    expect(pad).to_have_attribute("aria-label", re.compile("0 strokes"))
    for kind, share in zip(["mousePressed", *["mouseMoved"] * 4, "mouseReleased"], [*path, path[-1]], strict=True):
        x, y = place_on(pad, *share)
        held = {"pointerType": "pen", "button": "left", "buttons": 1, "clickCount": 1, "force": 0.5}
        session.send("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, **held})
    expect(pad).to_have_attribute("aria-label", re.compile(r"1 stroke\."))
    expect_digit(page, 7)
    page.get_by_role("button", name="Test images").click()


def elbo_of(x: np.ndarray[Any, Any], mu: np.ndarray[Any, Any], log_var: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Reconstruction and KL of vae_lib for any Gaussian q, with 40 × 40 points of the Gauss–Hermite rule. Nats."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    eps = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
    z = (mu + np.exp(log_var / 2) * eps).astype(np.float32)
    same = np.broadcast_to(x, (len(z), x.size)).astype(np.float32)
    log_lik = np.asarray(bernoulli_log_prob(same, vae_lib.pretrained("mnist-2d").decoder(z)), dtype=float)
    reconstruction = -np.outer(weights, weights).ravel() @ log_lik / (2 * np.pi)
    return float(reconstruction), float(np.asarray(gaussian_kl(mu[None].astype("f4"), log_var[None].astype("f4")))[0])


def shown_sums(region: Locator, *, other_than: str = "") -> tuple[str, list[float]]:
    """The ledger's line of numbers, once it is there: reconstruction, KL, −ELBO, −log p(x), gap."""
    line = region.locator(".vae-explorer-sums")
    at_rest(line.page)  # for the last one to go, if it is another image's
    expect(line).to_contain_text("gap")
    expect(line).not_to_have_text(other_than)
    text = line.inner_text()
    return text, numbers(text)


def test_the_ledger_is_that_of_the_library(page: Page) -> None:
    vae, data = vae_lib.pretrained("mnist-2d"), vae_lib.load_mnist()
    region = open_panel(page, "Ledger")
    text = ""
    for option in (0, 14, 29):
        page.get_by_role("radio").nth(option).click()
        text, (reconstruction, kl, minus_elbo, minus_log_px, gap) = shown_sums(region, other_than=text)
        index = int(re.findall(r"test image (\d+)", region.locator(".vae-readout").first.inner_text())[0])
        x = data.x_test[index : index + 1]
        mu, log_var = (np.asarray(part, dtype=float)[0] for part in vae.encoder(x))
        expected = elbo_of(x, mu, log_var)
        assert kl == pytest.approx(expected[1], abs=0.01 + 0.005)
        assert minus_elbo == pytest.approx(sum(expected), abs=0.1)
        assert minus_log_px == pytest.approx(-vae_lib.exact_log_px(vae, x).log_px[0], abs=0.1)
        assert reconstruction + kl == pytest.approx(minus_elbo, abs=0.011)
        assert minus_log_px + gap == pytest.approx(minus_elbo, abs=0.011)
        assert gap > 0


def test_a_moved_q_changes_all_but_log_px(page: Page) -> None:
    vae, data = vae_lib.pretrained("mnist-2d"), vae_lib.load_mnist()
    region = open_panel(page, "Ledger")
    page.get_by_role("radio").nth(0).click()
    text, own = shown_sums(region)
    bars = region.locator(".vae-explorer-ledger")
    before = bars.evaluate(AS_PICTURE)
    page.locator(".vae-explorer-map").press("Shift+ArrowUp")
    text, moved = shown_sums(region, other_than=text)
    assert moved[3] == pytest.approx(own[3], abs=0.02)
    assert moved[4] > own[4]
    assert bars.evaluate(AS_PICTURE) != before
    assert "q is centred at the point" in region.locator(".vae-readout").first.inner_text()
    index = int(re.findall(r"test image (\d+)", region.locator(".vae-readout").first.inner_text())[0])
    x = data.x_test[index : index + 1]
    log_var = np.asarray(vae.encoder(x)[1], dtype=float)[0]
    assert moved[2] == pytest.approx(sum(elbo_of(x, np.array(point(page)), log_var)), abs=0.1)
    region.get_by_role("button", name="Back to the encoder's mean").click()
    assert shown_sums(region, other_than=text)[1] == own
    assert "q is the encoder's own" in region.locator(".vae-readout").first.inner_text()


def test_a_walk_goes_from_one_image_to_the_other(page: Page) -> None:
    region = open_panel(page, "Walk")
    slider = region.get_by_role("slider")
    expect(slider).to_have_value("0")
    at_rest(page)
    expect(slider).to_have_value("0")  # under reduced motion nothing plays by itself
    region.get_by_role("button", name="A: from").click()
    page.get_by_role("radio").nth(2).click()
    start = point(page)
    region.get_by_role("button", name="B: to").click()
    page.get_by_role("radio").nth(7).click()
    end = point(page)
    expect(slider).to_have_value("1")
    slider.focus()
    for _ in range(50):
        page.keyboard.press("ArrowLeft")
    comes_to(page, np.mean([start, end], axis=0).tolist(), 0.011)
    pictures = [np.asarray(region.locator("canvas").nth(i).evaluate(AS_PIXELS), dtype=float) for i in range(4)]
    assert np.abs(pictures[2] - (pictures[0] + pictures[3]) / 2).max() <= 1.01  # the fade, half way
    assert np.abs(pictures[1] - pictures[2]).max() > 100
    with slow_motion(page):
        region.get_by_role("button", name="Play").click()
        until(page, lambda: float(slider.input_value()) > 0.5, "the walk plays")
        region.get_by_role("button", name="Pause").click()
        at_rest(page)  # which it would not come to if it went on
    assert 0.5 < float(slider.input_value()) < 1
    expect(region.get_by_role("button", name="Play")).to_be_visible()


def test_a_walk_begins_at_a_before_anything_is_painted(harness: Page) -> None:
    """In one task of the page, between whose lines no frame can come."""
    value = harness.evaluate(
        """() => {
          const { box } = show(makeModel());
          [...box.querySelectorAll("button")].find((button) => button.textContent === "Walk").click();
          return box.querySelector("input[type=range]").value;
        }"""
    )
    assert value == "0"


def test_without_reduced_motion_a_walk_begins_to_play(chromium: Browser, site: str) -> None:
    context = chromium.new_context(viewport={"width": 1280, "height": 1000}, reduced_motion="no-preference")
    watched = Watched(context, site)
    page = watched.open(f"{site}/{CHAPTER}")
    region = open_panel(page, "Walk")
    expect(region.get_by_role("button", name="Play again")).to_be_visible()
    expect(region.get_by_role("slider")).to_have_value("1")
    assert watched.troubles == []
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_each_panel_is_accessible_with_large_targets_on_a_narrow_page(chromium: Browser, site: str, scheme: Any) -> None:
    """320 CSS pixels are also what a window of 640 has at a zoom of 200 %."""
    context = chromium.new_context(viewport={"width": 320, "height": 900}, color_scheme=scheme, reduced_motion="reduce")
    watched = Watched(context, site)
    page = watched.open(f"{site}/{CHAPTER}")
    for name in ("Encode an image", "Ledger", "Walk"):
        region = open_panel(page, name)
        if name == "Ledger":
            shown_sums(region)
        at_rest(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        assert page.evaluate(TOO_SMALL) == []
        assert violations(page) == []
    assert watched.troubles == []
    context.close()


def canvas_state(name: str = CHAPTER) -> tuple[dict[str, Any], str, str]:
    """The state of the explorer in a page, with its buffers in base 64, its JavaScript and its style sheet."""
    models = json.loads(widget_state(HTML / name))["state"].values()
    (canvas,) = (model for model in models if "weights" in str(model.get("buffers", "")))
    state = {name: value for name, value in canvas["state"].items() if not name.startswith("_")}
    buffers = {buffer["path"][0]: buffer["data"] for buffer in canvas["buffers"]}
    return {"plain": state, "bytes": buffers}, canvas["state"]["_esm"], canvas["state"]["_css"]


HARNESS = """async ([state, source, css]) => {
  document.head.append(Object.assign(document.createElement("style"), { textContent: css }));
  const { default: widget } = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  window.makeModel = (changes = {}) => {
    const values = { ...state.plain };
    for (const [name, data] of Object.entries(state.bytes)) {
      values[name] = new DataView(Uint8Array.from(atob(data), (c) => c.charCodeAt(0)).buffer);
    }
    Object.assign(values, changes);
    const heard = new Map();
    return {
      heard,
      get: (name) => values[name],
      set(name, value) {
        const all = typeof name === "string" ? { [name]: value } : name;
        for (const [key, next] of Object.entries(all)) {
          if (values[key] === next) continue;
          values[key] = next;
          for (const callback of heard.get(`change:${key}`) ?? []) callback();
        }
      },
      save_changes() {},
      on: (name, callback) => heard.set(name, [...(heard.get(name) ?? []), callback]),
      off: (name, callback) => heard.set(name, (heard.get(name) ?? []).filter((one) => one !== callback)),
    };
  };
  window.show = (model) => {
    const box = document.createElement("div");
    box.className = "vae-widget-box";
    const [el, place] = [document.createElement("div"), document.createElement("div")];
    place.className = "vae-explorer-place";
    box.append(el, place);
    document.querySelector("article").append(box);
    return { box, stop: widget.render({ model, el }) };
  };
}"""


@pytest.fixture
def harness(chromium: Browser, site: str) -> Iterator[Page]:
    """A page without widgets, on which the explorer's JavaScript runs with any state."""
    context: BrowserContext = chromium.new_context(viewport={"width": 1000, "height": 900}, reduced_motion="reduce")
    page = Watched(context, site).open(f"{site}/book/references.html")
    page.evaluate(HARNESS, list(canvas_state()))
    yield page
    context.close()


BAD = {
    "no weights": ("{ weights: new DataView(new ArrayBuffer(0)) }", "expected the weights of 2 layers"),
    "weights cut short": ("{ weights: new DataView(new ArrayBuffer(1000)) }", "got 1000 bytes"),
    "weights that are missing": ("{ weights: null }", "expected the weights of"),
    "no layers": ("{ layers: [] }", "expected the weights of 0 layers"),
    "another image shape": ("{ image_shape: [28, 27] }", "expected an image shape of 784 pixels, got [28,27]"),
    "codes cut short": ("{ codes: new DataView(new ArrayBuffer(8)) }", "expected 2000 pairs of codes"),
    "spreads cut short": ("{ spreads: new DataView(new ArrayBuffer(8)) }", "expected 2000 pairs of log-variances"),
    "small images cut short": ("{ thumbs: new DataView(new ArrayBuffer(8)) }", "expected 2000 small images"),
    "examples cut short": ("{ examples: new DataView(new ArrayBuffer(8)) }", "expected 40 images of 784 pixels, got 8 bytes"),
    "no encoder weights": ("{ encoder_weights: new DataView(new ArrayBuffer(0)) }", "expected the weights of"),
    "a limit of 0": ("{ limit: 0 }", "expected a limit above 0, got 0"),
    "NaN as a coordinate": ("{ z0: NaN }", "expected a number as coordinate 1 of z, got NaN"),
    "null as a coordinate": ("{ z1: null }", "expected a number as coordinate 2 of z, got null"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_state_is_told_in_the_widgets_place(harness: Page, name: str) -> None:
    changes, message = BAD[name]
    harness.evaluate(f"show(makeModel({changes}))")
    told = harness.locator("[role=alert]")
    expect(told).to_have_count(1)
    expect(told).to_be_visible()
    expect(told).to_contain_text(message)
    assert told.inner_text().startswith("This widget cannot be shown: ")
    assert harness.locator(".vae-explorer canvas:visible").count() == 0


def test_a_coordinate_that_becomes_nan_is_told_and_forgotten_once_it_is_well(harness: Page) -> None:
    harness.evaluate("window.model = makeModel(); window.shown = show(model)")
    harness.evaluate("model.set('z0', NaN)")
    expect(harness.locator("[role=alert]")).to_be_visible()
    expect(harness.locator(".vae-explorer-map")).to_be_hidden()
    harness.evaluate("model.set('z0', 0.5)")
    expect(harness.locator("[role=alert]")).to_have_count(0)
    expect(harness.locator(".vae-explorer-map")).to_be_visible()


def test_two_explorers_on_a_page_keep_apart(harness: Page) -> None:
    harness.evaluate("window.models = [makeModel(), makeModel()]; models.forEach(show)")
    boxes = harness.locator(".vae-widget-box")
    at_rest(harness)
    before, other = (boxes.nth(i).locator(".vae-explorer-digit").evaluate(AS_PICTURE) for i in (1, 0))
    boxes.nth(0).get_by_role("button", name="Encode an image").click()
    boxes.nth(0).get_by_role("radio").nth(8).click()
    other_picture(boxes.nth(0).locator(".vae-explorer-digit"), other)
    assert boxes.nth(1).locator(".vae-explorer-digit").evaluate(AS_PICTURE) == before
    assert boxes.nth(1).get_by_role("radio").count() == 0
    assert harness.evaluate("models.map((model) => model.get('z0'))")[1] == canvas_state()[0]["plain"]["z0"]


REMEMBERED = "decoder ? likelihoodOf(decoder).remembered.size : 0"  # points that a ledger's worker has decoded
PLANE = 49**2 + 65**2 - 33**2  # points of the two coarsest lattices, of which some are the same


def test_the_plane_is_decoded_before_the_ledger_is_opened(harness: Page) -> None:
    harness.evaluate("window.shown = [makeModel(), makeModel()].map(show)")
    tabs = harness.locator(".vae-explorer-tabs")
    harness.locator(".vae-explorer-map").first.click()
    at_rest(harness)
    assert harness.workers == [], "a worker that no panel needs yet"
    with harness.expect_worker() as started:
        tabs.first.hover()
    worker = started.value
    until(harness, lambda: worker.evaluate(REMEMBERED) >= PLANE, "the plane is decoded")
    assert worker.evaluate(REMEMBERED) == PLANE
    assert shown_sums(open_panel(harness.locator(".vae-widget-box").first, "Ledger"))[1][4] > 0
    assert harness.workers == [worker], "the ledger's worker is the one that was prepared"
    assert worker.evaluate(REMEMBERED) < 1.2 * PLANE, "the plane was decoded again"
    with harness.expect_worker():  # of the other explorer, by keyboard
        tabs.nth(1).get_by_role("button").first.focus()
    harness.evaluate("shown.forEach(({ stop }) => stop())")
    until(harness, lambda: not harness.workers, "both workers end")


def test_twenty_runs_leave_nothing_behind(harness: Page) -> None:
    session = harness.context.new_cdp_session(harness)

    def counted() -> tuple[int, int]:
        session.send("HeapProfiler.collectGarbage")
        sizes = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
        return int(sizes["Nodes"]), int(sizes["JSEventListeners"])

    session.send("Performance.enable")
    once = """async () => {
      const model = makeModel();
      const { box, stop } = show(model);
      const painted = async (more) => {
        for (let i = 0; i < more; i++) await new Promise(requestAnimationFrame);
        if (!(box.querySelector(".vae-explorer").dataset.painted > 0)) throw new Error("it was not painted");
      };
      await painted(6);
      for (const button of box.querySelectorAll(".vae-explorer-tabs button")) button.click();
      await painted(3);
      stop();
      box.remove();
      return [...model.heard.values()].flat().length;
    }"""
    for _ in range(3):
        assert harness.evaluate(once) == 0, "callbacks of the model that were never taken back"
    nodes, listeners = counted()
    for _ in range(20):
        assert harness.evaluate(once) == 0

    def let_go() -> bool:  # the browser takes its time to forget what nobody holds any more
        now = counted()
        return now[1] <= listeners + 5 and now[0] <= nodes + 100 and not harness.workers

    until(harness, let_go, f"at most {nodes + 100} nodes, {listeners + 5} listeners and no worker are left")


def test_the_state_of_the_page_is_as_light_as_promised() -> None:
    state, source, _ = canvas_state()
    weights = b"".join(base64.b64decode(state["bytes"][name]) for name in ("weights", "encoder_weights"))
    assert len(gzip.compress(weights)) < 900_000
    assert len(gzip.compress(source.encode())) < 40_000
    first_page = canvas_state("book/index.html")[0]["bytes"]
    assert {name for name, data in first_page.items() if data} == {"weights"}  # the decoder, and nothing else


def state_of(explorer: vae_lib.LatentExplorer) -> dict[str, Any]:
    """The same of an explorer that is on no page."""
    values = {name: getattr(explorer._canvas, name) for name in explorer._canvas.keys if not name.startswith("_")}
    plain = {
        name: value
        for name, value in values.items()
        if not isinstance(value, bytes) and name not in ("layout", "tabbable", "tooltip")
    }
    buffers = {name: base64.b64encode(value).decode() for name, value in values.items() if isinstance(value, bytes)}
    return {"plain": plain, "bytes": buffers}


def test_more_dimensions_and_other_shapes(harness: Page) -> None:
    """Three dimensions and images of 64 × 48: all but log p(x), which is a sum over the plane."""
    vae = vae_lib.build_vae(vae_lib.TrainConfig(input_dim=64 * 48, latent_dim=3, hidden=(16,)))
    images = np.random.default_rng(0).random((30, 64 * 48))
    explorer = vae_lib.LatentExplorer(vae, images=images, labels=np.arange(30) % 10, image_shape=(64, 48))
    harness.evaluate(HARNESS, [state_of(explorer), *canvas_state()[1:]])
    harness.evaluate("window.model = makeModel(); show(model)")
    region = open_panel(harness, "Ledger")
    harness.get_by_role("radio").nth(13).click()
    mu, log_var = (np.asarray(part)[0] for part in vae.encoder(images[13:14].astype(np.float32)))
    z = harness.evaluate("[0, 1, 2].map((i) => model.get(`z${i}`))")
    np.testing.assert_allclose(z, mu, atol=0.0051)
    line = region.locator(".vae-explorer-sums")
    expect(line).to_contain_text("−ELBO")
    reconstruction, kl, minus_elbo = numbers(line.inner_text())
    assert "only where the latent space has two dimensions" in line.inner_text()
    assert kl == pytest.approx(float(np.asarray(gaussian_kl(mu[None], log_var[None]))[0]), abs=0.01)
    assert reconstruction + kl == pytest.approx(minus_elbo, abs=0.011)
    assert harness.locator(".vae-explorer-digit").evaluate("canvas => [canvas.height, canvas.width]") == [64, 48]
    region = open_panel(harness, "Walk")
    region.get_by_role("slider").fill("0.5")
    expect(region.locator(".vae-readout")).to_contain_text("50 % of the way")


def test_an_image_from_python_is_shown(harness: Page) -> None:
    """What `LatentExplorer.encode` sets, arriving in the browser."""
    x = np.round(255 * vae_lib.load_mnist().x_test[11]).astype(np.uint8)
    harness.evaluate("window.model = makeModel(); show(model)")
    harness.evaluate("levels => model.set('given', new DataView(Uint8Array.from(levels).buffer))", x.tolist())
    region = harness.get_by_role("region", name="Encode an image")
    expect(region).to_contain_text("the image from Python")
    at_rest(harness)
    original = np.asarray(region.locator("canvas").first.evaluate(AS_PIXELS)).reshape(784, 4)[:, 0]
    np.testing.assert_allclose(original, x, atol=0.51)
