"""The ELBO balance in its chapter: sliders and buttons move it, the sum stands still, reduced motion is respected."""

from __future__ import annotations

import re

import pytest
from conftest import AS_PICTURE, at_rest, other_picture
from playwright.sync_api import Page, expect

WIDGET = "ElboBalance", 320
# The climb goes from one timer to the next: kept, it stands after its first step; let go, what was kept and all that comes runs.
KEEP_TIMERS = """() => {
  const real = window.setTimeout;
  window.kept = [];
  window.setTimeout = (call) => kept.push(call);
  window.letGo = () => {
    window.setTimeout = real;
    for (const call of kept.splice(0)) call();
  };
}"""


def numbers(page: Page, line: int) -> list[float]:
    """The numbers in one line of the read-out: 0 has q and the slope, 1 has ELBO, KL and log p(x)."""
    text = page.locator(".vae-elbo .vae-readout > div").nth(line).inner_text().replace("−", "-")
    return [float(number) for number in re.findall(r"-?\d+\.\d+", text)]


def assert_in_balance(page: Page) -> None:
    elbo, gap, log_px = numbers(page, 1)
    assert log_px == -1.162
    assert elbo + gap == pytest.approx(log_px, abs=0.0021)  # three numbers rounded to three digits


def test_each_slider_moves_the_picture_and_not_the_sum(widget_page: tuple[Page, str]) -> None:
    opened, _ = widget_page
    canvas, handles = opened.locator(".vae-elbo canvas"), opened.locator(".noUi-handle")
    for i, name in enumerate(("Mean of q", "Log-variance of q")):
        before, elbo = canvas.evaluate(AS_PICTURE), numbers(opened, 1)[0]
        handles.nth(i).focus()
        for _ in range(5):
            opened.keyboard.press("ArrowRight")
        other_picture(canvas, before)
        assert numbers(opened, 1)[0] != elbo
        assert_in_balance(opened)
        expect(handles.nth(i)).to_have_attribute("aria-label", name)
        expect(canvas).to_have_attribute("aria-label", re.compile(r"KL\(q‖posterior\)"))


def test_one_step_climbs_and_moves_the_sliders(widget_page: tuple[Page, str]) -> None:
    opened, _ = widget_page
    before, picture = numbers(opened, 1)[0], opened.locator(".vae-elbo canvas").evaluate(AS_PICTURE)
    opened.get_by_role("button", name="One step uphill").click()
    other_picture(opened.locator(".vae-elbo canvas"), picture)
    assert numbers(opened, 1)[0] > before
    assert_in_balance(opened)
    mu = float(opened.locator(".noUi-handle").first.get_attribute("aria-valuenow") or "nan")
    assert mu == pytest.approx(numbers(opened, 0)[0], abs=0.06)


def test_the_button_finds_the_best_q(widget_page: tuple[Page, str]) -> None:
    opened, motion = widget_page
    opened.evaluate(KEEP_TIMERS)
    opened.get_by_role("button", name="Find the best q").click()
    at_rest(opened)
    expect(opened.get_by_role("button", name="Stop")).to_have_count(0 if motion == "reduce" else 1)
    opened.evaluate("letGo()")
    expect(opened.get_by_role("button", name="Find the best q")).to_be_visible()
    at_rest(opened)
    assert numbers(opened, 0) == [1.09, -1.45, 0.0, 0.0]
    assert numbers(opened, 1)[1] == 0.066
    assert_in_balance(opened)
    for button in opened.locator(".vae-elbo button").all():
        box = button.bounding_box()
        assert box is not None
        assert box["height"] >= 32


def test_whoever_takes_a_slider_takes_over(widget_page: tuple[Page, str]) -> None:
    opened, motion = widget_page
    if motion == "reduce":
        return  # nothing to interrupt
    opened.evaluate(KEEP_TIMERS)
    opened.get_by_role("button", name="Find the best q").click()
    expect(opened.get_by_role("button", name="Stop")).to_be_visible()
    opened.locator(".noUi-handle").nth(1).focus()
    for _ in range(40):
        opened.keyboard.press("ArrowRight")
    at_rest(opened)
    held = numbers(opened, 1)
    assert opened.evaluate("kept.length") >= 1, "the climb waits for its next step"
    opened.evaluate("letGo()")
    expect(opened.get_by_role("button", name="Find the best q")).to_be_visible()
    at_rest(opened)
    assert numbers(opened, 1) == held
    assert_in_balance(opened)
