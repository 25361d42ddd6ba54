"""The conditional explorer and the ten sliders in their chapters: keyboard, pointer, what is drawn, and how heavy it is."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import shown
from conftest import AS_PICTURE, Watched, at_rest, other_picture, until, widget_state
from playwright.sync_api import Browser, Page, expect

MOST_BYTES = 2_000_000  # of a page's widget state, gzipped


@pytest.fixture(scope="module", params=[320, 1280])
def page(request: pytest.FixtureRequest, chromium: Browser, site: str) -> Iterator[Page]:
    context = chromium.new_context(viewport={"width": request.param, "height": 900})
    watched = Watched(context, site)
    yield watched.open(f"{site}/{shown.page_with('ConditionalExplorer')}")
    assert watched.foreign == watched.troubles == []
    context.close()


def test_the_first_slider_picks_the_digit_and_leaves_the_hand(page: Page) -> None:
    caption, picture = page.locator(".vae-conditional figcaption").first, page.locator(".vae-conditional-picture")
    strip, handle = page.locator(".vae-conditional-strip"), page.locator(".noUi-handle").first
    expect(handle).to_have_attribute("aria-label", "Digit, the label")
    handle.focus()
    page.keyboard.press("Home")
    expect(caption).to_have_text(re.compile("^Label 0,"))
    at_rest(page)
    before, hand = picture.evaluate(AS_PICTURE), caption.inner_text().split(",", 1)[1]
    page.keyboard.press("ArrowRight")
    expect(caption).to_have_text(f"Label 1,{hand}")
    other_picture(picture, before)
    expect(strip).to_have_attribute("aria-label", re.compile("1 is chosen"))


def test_the_other_sliders_move_all_ten(page: Page) -> None:
    strip, handle = page.locator(".vae-conditional-strip"), page.locator(".noUi-handle").nth(1)
    before = strip.evaluate(AS_PICTURE)
    handle.focus()
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    other_picture(strip, before)
    expect(handle).to_have_attribute("aria-label", "Latent coordinate z₁")


def test_a_press_on_one_of_the_ten_chooses_it_and_moves_the_slider(page: Page) -> None:
    strip = page.locator(".vae-conditional-strip")
    strip.scroll_into_view_if_needed()
    box = strip.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= page.evaluate("document.documentElement.clientWidth")
    strip.click(position={"x": box["width"] - 8, "y": box["height"] - 24})  # the last picture, in one row or in two
    expect(page.locator(".vae-conditional figcaption").first).to_have_text(re.compile("^Label 9,"))
    slider = page.locator(".noUi-handle").first
    until(page, lambda: float(slider.get_attribute("aria-valuenow") or "nan") == 9, "the slider follows")


@pytest.mark.parametrize("name", shown.PAGES)
def test_the_state_of_a_pages_widgets_is_light(html: Path, name: str) -> None:
    assert len(gzip.compress(widget_state(html / name).encode())) < MOST_BYTES


def test_ten_sliders_move_the_digit(chromium: Browser, site: str) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 900})
    opened = Watched(context, site).open(f"{site}/book/dimensions.html")
    digit = opened.locator(".vae-explorer-digit")
    expect(opened.locator(".noUi-handle")).to_have_count(10)
    for slider in (0, 9):
        before = digit.evaluate(AS_PICTURE)
        opened.locator(".noUi-handle").nth(slider).focus()
        for _ in range(8):
            opened.keyboard.press("PageUp" if slider else "PageDown")
        other_picture(digit, before)
    context.close()
