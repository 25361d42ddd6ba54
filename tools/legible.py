"""Whether the letters in a picture stand out from their ground, on a light page and on a dark one: WCAG 2.2's 4.5 to 1."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

LEAST = 4.5
SCHEMES = ("light", "dark", "inverted")


def as_seen(color: Any, scheme: str) -> list[float]:
    """Return a colour as a page shows it: light, or dark, where pictures are dimmed and charts inverted (book/front/book.css).

    Parameters
    ----------
    color
        Any that Matplotlib knows.
    scheme
        "light"; "dark", which is brightness(0.8) contrast(1.2); or "inverted", which is invert(0.93) hue-rotate(180deg).
    """
    rgb = np.array(to_rgb(color))
    if scheme == "dark":
        rgb = np.clip((0.8 * rgb - 0.5) * 1.2 + 0.5, 0, 1)
    if scheme == "inverted":  # the matrix is that of the W3C's filter effects
        parts = 1 - 0.93 + (2 * 0.93 - 1) * rgb
        rgb = np.clip(2 * np.array([0.213, 0.715, 0.072]) @ parts - parts, 0, 1)
    return [float(part) for part in rgb]


def luminance(rgb: list[float]) -> float:
    """Return the relative luminance, as WCAG 2 defines it.

    Parameters
    ----------
    rgb
        From 0 to 1.
    """
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(one: Any, other: Any, scheme: str = "light") -> float:
    """Return the contrast of two colours, 1 to 21.

    Parameters
    ----------
    one, other
        Any that Matplotlib knows.
    scheme
        As for `as_seen`.
    """
    dark, light = sorted(luminance(as_seen(color, scheme)) for color in (one, other))
    return (light + 0.05) / (dark + 0.05)


def ground(text: Text) -> tuple[float, float, float]:
    """Return the colour behind the middle of a text: its own box, an image, a bar or another shape, or the figure.

    Parameters
    ----------
    text
        In a figure that has been drawn.
    """
    figure, axes = text.get_figure(root=True), text.axes
    behind = [to_rgba(figure.get_facecolor() if figure is not None else "white")]
    box = text.get_window_extent()
    middle = ((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)
    if axes is not None and axes.patch.contains_point(middle):
        behind.append(to_rgba(axes.get_facecolor()))
        for image in axes.images:
            place: Any = SimpleNamespace(x=middle[0], y=middle[1])
            value: Any = image.get_cursor_data(place)
            if value is not None:
                behind.append(to_rgba(image.to_rgba(np.ma.atleast_1d(value))[0] if np.ndim(value) == 0 else value))
        behind += [to_rgba(patch.get_facecolor()) for patch in axes.patches if patch.contains_point(middle)]
    own = text.get_bbox_patch()
    if own is not None:
        behind.append(to_rgba(own.get_facecolor()))
    seen = np.ones(3)
    for *rgb, alpha in behind:
        seen = alpha * np.array(rgb) + (1 - alpha) * seen
    red, green, blue = map(float, seen)
    return red, green, blue


def faint(figure: Figure) -> list[str]:
    """Return the texts of a figure that do not stand out.

    Parameters
    ----------
    figure
        Is drawn.
    """
    figure.draw_without_rendering()
    found = []
    for text in figure.findobj(Text):
        if not (text.get_visible() and text.get_text().strip()):
            continue
        for scheme in SCHEMES:
            ratio = contrast(text.get_color(), ground(text), scheme)
            if ratio < LEAST:
                found.append(f"{text.get_text()!r} in {text.get_color()} on {ground(text)}, {scheme}: {ratio:.1f}")
    return found


def check_all() -> None:
    """Look at every figure of this process that is still there; IPython keeps those that cells have shown.

    Raises
    ------
    AssertionError
        If a text does not stand out; lists them.
    """
    figures = [thing for thing in gc.get_objects() if isinstance(thing, Figure)]
    found = [line for figure in figures for line in faint(figure)]
    assert not found, "\n".join(found)
    print(f"letters stand out in {len(figures)} figures")
