"""On a phone, every formula can be read without scrolling it sideways; and every picture that a cell draws has its caption."""

from __future__ import annotations

import pytest
import yaml
from conftest import ROOT, Watched
from playwright.sync_api import Browser

_TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [_TOC["root"], *(entry["file"] for entry in _TOC["chapters"])]

# The formulas that are wider than their place: a displayed one than the line beside its number, one in a sentence than its text.
TOO_WIDE = """() => [...document.querySelectorAll("article mjx-container")].filter((formula) => {
  if (!formula.checkVisibility()) return false;
  let place = formula;
  while (getComputedStyle(place).display.startsWith("inline")) place = place.parentElement;
  const { left, width } = place.getBoundingClientRect();
  return formula.querySelector("mjx-math").getBoundingClientRect().right > left + width + 1;
}).map((formula) => `${formula.closest("section").id}: ${formula.querySelector("mjx-assistive-mml").textContent}`)"""


# A picture that a cell draws, other than what stands in for a widget, and no figure with a caption around it.
WITHOUT_CAPTION = """() => [...document.querySelectorAll("article .cell_output img")]
  .filter((image) => image.alt !== "Still picture of this widget" && !image.closest("figure")?.querySelector("figcaption"))
  .map((image) => image.outerHTML.slice(0, 200))"""


@pytest.mark.parametrize("name", PAGES)
def test_formulas_fit_a_phone_and_pictures_have_captions(chromium: Browser, site: str, name: str) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 900})
    page = Watched(context, site).open(f"{site}/{name}.html")
    page.evaluate("window.MathJax?.startup.promise")
    inside = page.locator("article .math").count()
    assert page.locator("article mjx-container").count() == inside, "formulas that are not typeset"
    assert page.evaluate(TOO_WIDE) == []
    assert page.evaluate(WITHOUT_CAPTION) == []
    context.close()
