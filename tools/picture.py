"""Photograph the latent explorer in the built book for the README and for the social card: `make picture`."""

from __future__ import annotations

import base64
from pathlib import Path

import browser
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "_build" / "html" / "book" / "latent-explorer.html"
PICTURE = ROOT / "book" / "front" / "explorer.png"
CARD = ROOT / "book" / "front" / "social-card.png"
CARD_SIZE = (1200, 630)  # what networks show
CARD_STYLE = """
body { margin: 0; width: 1200px; height: 630px; display: flex; align-items: center; font-family: sans-serif; background: white; }
div { flex: 0 0 500px; padding-left: 56px; } h1 { margin: 0 0 24px; font-size: 60px; line-height: 1.1; }
p { margin: 0; font-size: 30px; line-height: 1.4; color: #333; }
img { flex: 1; height: 600px; min-width: 0; padding: 0 40px; object-fit: cover; object-position: top left; }
"""
CARD_TEXT = "An interactive book: its numbers are checked by cells that run, its pictures move."


def draw_card(page: Page) -> None:
    """Set the picture below the book's title, in the size that social networks show.

    Parameters
    ----------
    page
        Of a browser.
    """
    data = base64.b64encode(PICTURE.read_bytes()).decode("ascii")
    page.set_viewport_size({"width": CARD_SIZE[0], "height": CARD_SIZE[1]})
    body = f'<div><h1>Variational autoencoders, live</h1><p>{CARD_TEXT}</p></div><img src="data:image/png;base64,{data}">'
    page.set_content(f"<style>{CARD_STYLE}</style>{body}", wait_until="load")
    page.screenshot(path=CARD, scale="css")
    print(f"· wrote {CARD.relative_to(ROOT)}")


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
        print(f"· wrote {PICTURE.relative_to(ROOT)}")
        draw_card(page)
        chromium.close()


if __name__ == "__main__":
    main()
