"""The conditional explorer and the ten sliders in their chapters: keyboard, pointer, what is drawn, and how heavy it is."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import widget_state
from playwright.sync_api import Browser, Page

MOST_BYTES = 2_000_000  # of a page's widget state, gzipped
AS_PICTURE = "canvas => canvas.toDataURL()"


@pytest.fixture(scope="module", params=[320, 1280])
def page(request: pytest.FixtureRequest, chromium: Browser, site: str) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": request.param, "height": 900})
    opened = context.new_page()
    opened.goto(f"{site}/book/conditional.html")
    opened.locator(".vae-conditional-strip").wait_for(timeout=30_000)
    opened.locator(".noUi-handle").nth(2).wait_for(timeout=30_000)
    yield opened
    context.close()


def test_the_first_slider_picks_the_digit_and_leaves_the_hand(page: Page) -> None:
    caption, picture = page.locator(".vae-conditional figcaption").first, page.locator(".vae-conditional-picture")
    strip, handle = page.locator(".vae-conditional-strip"), page.locator(".noUi-handle").first
    assert handle.get_attribute("aria-label") == "Digit, the label"
    handle.focus()
    page.keyboard.press("Home")
    page.wait_for_timeout(200)
    before, hand = picture.evaluate(AS_PICTURE), caption.inner_text().split(",", 1)[1]
    assert caption.inner_text().startswith("Label 0,")
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(200)
    assert caption.inner_text() == f"Label 1,{hand}"
    assert picture.evaluate(AS_PICTURE) != before
    assert "1 is chosen" in (strip.get_attribute("aria-label") or "")


def test_the_other_sliders_move_all_ten(page: Page) -> None:
    strip, handle = page.locator(".vae-conditional-strip"), page.locator(".noUi-handle").nth(1)
    before = strip.evaluate(AS_PICTURE)
    handle.focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(200)
    assert strip.evaluate(AS_PICTURE) != before
    assert handle.get_attribute("aria-label") == "Latent coordinate z₁"


def test_a_press_on_one_of_the_ten_chooses_it_and_moves_the_slider(page: Page) -> None:
    strip = page.locator(".vae-conditional-strip")
    strip.scroll_into_view_if_needed()
    box = strip.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= page.evaluate("document.documentElement.clientWidth")
    strip.click(position={"x": box["width"] - 8, "y": box["height"] - 24})  # the last picture, in one row or in two
    page.wait_for_timeout(200)
    assert page.locator(".vae-conditional figcaption").first.inner_text().startswith("Label 9,")
    assert float(page.locator(".noUi-handle").first.get_attribute("aria-valuenow") or "nan") == 9


@pytest.mark.parametrize("name", ["conditional", "dimensions"])
def test_a_decoder_is_light_enough_for_a_page(html: Path, name: str) -> None:
    assert len(gzip.compress(widget_state(html / "book" / f"{name}.html").encode())) < MOST_BYTES


def test_ten_sliders_move_the_digit(chromium: Browser, site: str) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 900})
    opened = context.new_page()
    opened.goto(f"{site}/book/dimensions.html")
    opened.locator(".noUi-handle").nth(9).wait_for(timeout=30_000)
    digit = opened.locator(".vae-explorer-digit")
    for slider in (0, 9):
        before = digit.evaluate(AS_PICTURE)
        opened.locator(".noUi-handle").nth(slider).focus()
        for _ in range(8):
            opened.keyboard.press("PageUp" if slider else "PageDown")
        opened.wait_for_timeout(300)
        assert digit.evaluate(AS_PICTURE) != before
    context.close()
