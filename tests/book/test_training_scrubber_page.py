"""The training scrubber in its chapter: slider and button move it, reduced motion is respected, and it is light enough."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import shown
from conftest import AS_PICTURE, at_rest, other_picture, slow_motion, widget_state
from playwright.sync_api import Page, expect

MOST_BYTES = 600_000  # of the widget's state, gzipped
WIDGET = "TrainingScrubber", 390
READOUT = ".vae-scrubber .vae-readout"


def test_the_slider_moves_codes_and_readout(widget_page: tuple[Page, str]) -> None:
    opened, _ = widget_page
    canvas, handle = opened.locator(".vae-scrubber canvas"), opened.locator(".noUi-handle").first
    before, readout = canvas.evaluate(AS_PICTURE), opened.locator(READOUT)
    expect(readout).to_have_text(re.compile("^Before training"))
    handle.focus()
    for _ in range(5):
        opened.keyboard.press("ArrowRight")
    expect(readout).to_have_text(re.compile("^≈"))
    other_picture(canvas, before)
    assert (canvas.get_attribute("aria-label") or "").startswith(readout.inner_text())
    expect(handle).to_have_attribute("aria-label", "Position in the training")
    opened.keyboard.press("End")
    expect(readout).to_have_text(re.compile("^After "))


def test_the_button_plays_or_jumps(widget_page: tuple[Page, str]) -> None:
    opened, motion = widget_page
    button, handle = opened.locator(".vae-scrubber button"), opened.locator(".noUi-handle").first
    readout, box = opened.locator(READOUT), button.bounding_box()
    assert box is not None
    assert box["height"] >= 32
    if motion == "reduce":
        expect(button).to_have_text("Jump to the end")
        button.click()
        expect(readout).to_have_text(re.compile("^After "))
        expect(handle).to_have_attribute("aria-valuenow", handle.get_attribute("aria-valuemax") or "")
        expect(button).to_have_text("Back to the start")
        return
    expect(button).to_have_text("Play")
    with slow_motion(opened):
        button.click()
        expect(readout).to_have_text(re.compile("^≈"))
        expect(button).to_have_text("Pause")
        handle.focus()
        opened.keyboard.press("ArrowRight")  # whoever takes the slider takes over
        expect(button).to_have_text("Play")
        at_rest(opened)  # which it would not come to if it went on
    expect(readout).to_have_text(re.compile("^≈"))


def test_a_record_is_light(html: Path) -> None:
    assert len(gzip.compress(widget_state(html / shown.page_with("TrainingScrubber")).encode())) < MOST_BYTES
