"""The training scrubber in its chapter: slider and button move it, reduced motion is respected, and it is light enough."""

from __future__ import annotations

import gzip
from pathlib import Path

from conftest import widget_state
from playwright.sync_api import Page

MOST_BYTES = 600_000  # of the widget's state, gzipped
WIDGET = "mnist-results", ".vae-scrubber", 390
AS_PICTURE = "canvas => canvas.toDataURL()"


def said(page: Page) -> str:
    return page.locator(".vae-scrubber .vae-readout").inner_text()


def test_the_slider_moves_codes_and_readout(widget_page: tuple[Page, str]) -> None:
    opened, _ = widget_page
    canvas, handle = opened.locator(".vae-scrubber canvas"), opened.locator(".noUi-handle").first
    before = canvas.evaluate(AS_PICTURE)
    assert said(opened).startswith("Before training")
    handle.focus()
    for _ in range(5):
        opened.keyboard.press("ArrowRight")
    opened.wait_for_timeout(200)
    assert said(opened).startswith("≈")
    assert canvas.evaluate(AS_PICTURE) != before
    assert (canvas.get_attribute("aria-label") or "").startswith(said(opened))
    assert handle.get_attribute("aria-label") == "Position in the training"
    opened.keyboard.press("End")
    opened.wait_for_timeout(200)
    assert said(opened).startswith("After ")


def test_the_button_plays_or_jumps(widget_page: tuple[Page, str]) -> None:
    opened, motion = widget_page
    button, handle = opened.locator(".vae-scrubber button"), opened.locator(".noUi-handle").first
    box = button.bounding_box()
    assert box is not None
    assert box["height"] >= 32
    if motion == "reduce":
        assert button.inner_text() == "Jump to the end"
        button.click()
        opened.wait_for_timeout(200)
        assert said(opened).startswith("After ")
        assert handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax")
        assert button.inner_text() == "Back to the start"
        return
    assert button.inner_text() == "Play"
    button.click()
    opened.wait_for_function("() => document.querySelector('.vae-scrubber .vae-readout').innerText.startsWith('≈')")
    assert button.inner_text() == "Pause"
    handle.focus()
    opened.keyboard.press("ArrowRight")  # whoever takes the slider takes over
    opened.wait_for_timeout(300)
    stopped = said(opened)
    opened.wait_for_timeout(300)
    assert (button.inner_text(), said(opened)) == ("Play", stopped)


def test_a_record_is_light(html: Path) -> None:
    assert len(gzip.compress(widget_state(html / "book" / "mnist-results.html").encode())) < MOST_BYTES
