"""Photograph the latent explorer in the built book for the README: `make picture`."""

from __future__ import annotations

from pathlib import Path

import browser
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "_build" / "html" / "book" / "latent-explorer.html"
PICTURE = ROOT / "book" / "front" / "explorer.png"


def main() -> None:
    """Open the chapter from the disk, move the point onto the zeros, and save what the widget shows."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser.find(), args=browser.arguments())
        page = chromium.new_page(viewport={"width": 1280, "height": 900}, device_scale_factor=1.5)
        page.goto(PAGE.as_uri())
        widget = page.locator(".vae-explorer-box")
        widget.locator(".noUi-handle").nth(1).wait_for()
        plane = widget.locator(".vae-explorer-map")
        plane.focus()
        for _ in range(2):
            page.keyboard.press("Shift+ArrowRight")
        page.evaluate("document.activeElement.blur()")
        page.wait_for_timeout(300)
        widget.screenshot(path=PICTURE)
        chromium.close()
    print(f"· wrote {PICTURE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
