"""Photograph the latent explorer in the built book for the README: `make picture`."""

from __future__ import annotations

from pathlib import Path

import browser
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "_build" / "html" / "book" / "latent-explorer.html"
PICTURE = ROOT / "book" / "front" / "explorer.png"


def main() -> None:
    """Open the chapter from the disk, put an image's q a little beside its mean in the ledger, and save what the widget shows."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser.find(), args=browser.arguments())
        page = chromium.new_page(viewport={"width": 1280, "height": 900}, device_scale_factor=1.5)
        page.goto(PAGE.as_uri())
        widget = page.locator(".vae-widget-box").first
        widget.locator(".noUi-handle").nth(1).wait_for()
        widget.get_by_role("button", name="Ledger").click()
        widget.get_by_text("gap KL").wait_for(timeout=60_000)
        for _ in range(4):
            widget.locator(".vae-explorer-map").press("ArrowRight")
        page.evaluate("document.activeElement.blur()")
        page.add_style_tag(content=".bd-header-article, .pst-skip-link, .skip-link { display: none !important }")
        page.wait_for_timeout(2000)
        widget.screenshot(path=PICTURE)
        chromium.close()
    print(f"· wrote {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
