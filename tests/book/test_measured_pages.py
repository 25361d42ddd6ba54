"""The widgets of the chapters that measure, in their pages: sliders move picture and words, numbers keep their laws."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import shown
from conftest import AS_PICTURE, Watched, at_rest, other_picture, widget_state
from playwright.sync_api import Browser, Page, expect

MOST_BYTES = 600_000  # of a page's widget state, gzipped
SLIDERS = {
    "PosteriorGap": ["Which image", "From the encoder's q to the best"],
    "BetaScrubber": ["Which beta, from the smallest to the largest"],
    "HoleWalk": ["How far along both ways"],
}


@pytest.fixture(scope="module", params=SLIDERS)
def page(request: pytest.FixtureRequest, chromium: Browser, site: str) -> Iterator[tuple[Page, str]]:
    context = chromium.new_context(viewport={"width": 390, "height": 900})
    watched = Watched(context, site)
    yield watched.open(f"{site}/{shown.page_with(request.param)}"), request.param
    assert watched.foreign == watched.troubles == []
    context.close()


def press(page: Page, slider: int, *keys: str) -> list[str]:
    """Press keys on a slider and return the lines of the read-out."""
    page.locator(".noUi-handle").nth(slider).focus()
    for key in keys:
        page.keyboard.press(key)
    at_rest(page)
    return said(page)


def said(page: Page) -> list[str]:
    return [line.inner_text().replace("−", "-") for line in page.locator(".vae-elbo .vae-readout > div").all()]


def numbers(line: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.\d+", line)]


def test_every_slider_moves_picture_and_words(page: tuple[Page, str]) -> None:
    opened, name = page
    canvas = opened.locator(".vae-elbo canvas")
    for i, spoken in enumerate(SLIDERS[name]):
        press(opened, i, "Home")
        before, words = canvas.evaluate(AS_PICTURE), said(opened)
        assert press(opened, i, "ArrowRight", "ArrowRight") != words
        other_picture(canvas, before)
        expect(opened.locator(".noUi-handle").nth(i)).to_have_attribute("aria-label", spoken)
        assert said(opened)[0] in (canvas.get_attribute("aria-label") or "").replace("−", "-")
    box = canvas.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 390


def test_the_numbers_keep_their_laws(page: tuple[Page, str]) -> None:
    opened, name = page
    if name == "PosteriorGap":
        evidence = set()
        for share in ("Home", "End"):
            (elbo, log_px), (missing, to_best, left) = map(numbers, press(opened, 1, share))
            assert elbo + missing == pytest.approx(log_px, abs=0.011)
            assert to_best + left == pytest.approx(missing, abs=0.011)
            evidence.add(log_px)
        assert len(evidence) == 1  # q has moved, log p(x) has not
    elif name == "BetaScrubber":
        first, last = press(opened, 0, "Home"), press(opened, 0, "End")
        assert numbers(first[0].split(":")[1])[0] > 5
        assert last[0].startswith("β = 784: rate 0.0 nats")
    else:
        for end in ("Home", "End"):
            straight, around = (numbers(line) for line in press(opened, 0, end))
            assert straight == around  # both ways begin and end together


def test_the_record_is_light(page: tuple[Page, str], html: Path) -> None:
    assert len(gzip.compress(widget_state(html / shown.page_with(page[1])).encode())) < MOST_BYTES
