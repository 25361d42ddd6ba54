"""Markup in a widget's state, as if somebody had put it there, stays text: nothing of it runs."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import Watched, widget_state
from playwright.sync_api import Browser

MARKUP = "<img src=x onerror='window.injected = 1'><script>window.injected = 2</script>"


def test_markup_in_the_state_of_widgets_stays_text(chromium: Browser, site: str, html: Path) -> None:
    state = json.loads(widget_state(html / "book" / "kl-closed-form.html"))
    changed = 0
    for model in state["state"].values():
        for name in ("description", "tooltip", "description_tooltip"):
            if isinstance(model["state"].get(name), str) and model["state"][name]:
                model["state"][name] = MARKUP
                changed += 1
    assert changed
    body = f"globalThis.vaeWidgetState = {json.dumps(state)};"
    context = chromium.new_context()
    watched = Watched(context, site)
    watched.page.route("**/_static/widgets/*.js*", lambda route: route.fulfill(body=body, content_type="text/javascript"))
    page = watched.open(f"{site}/book/kl-closed-form.html")
    label = page.locator(".vae-widget-box .widget-label").first
    assert "<img" in label.inner_text(), "the changed state was not shown"
    # a later picture fails to load, as that of the markup would have before it
    page.evaluate("() => new Promise((done) => Object.assign(new Image(), { onerror: done, src: 'x' }))")
    assert page.evaluate("() => window.injected") is None
    assert page.locator(".vae-widget-box img[src=x]").count() == 0
    context.close()
