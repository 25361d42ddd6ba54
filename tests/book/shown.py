"""Which page shows which widget: by the library's classes and the chapters' cells, so that no list of them is kept by hand.

A widget that is added to the library and to a chapter is in every check of pages with widgets by that alone.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets
import nbformat
import notebooks

import vae_lib
import vae_lib.widgets

ROOT = Path(__file__).parents[2]


def _defined() -> list[type[ipywidgets.Widget]]:
    """Return the classes of widgets that the modules of vae_lib.widgets define."""
    names = [found.name for found in pkgutil.iter_modules(vae_lib.widgets.__path__)]
    modules = [importlib.import_module(f"vae_lib.widgets.{name}") for name in names]
    return [
        one
        for module in modules
        for _, one in inspect.getmembers(module, inspect.isclass)
        if one.__module__ == module.__name__ and issubclass(one, ipywidgets.Widget)
    ]


WIDGETS = {one.__name__: one for one in _defined() if one.__name__ in dir(vae_lib)}
"""The library's widgets, by their public names."""
CANVASES = [one for one in _defined() if issubclass(one, anywidget.AnyWidget) and "_esm" in vars(one)]
"""What paints in the browser: each has a script of its own, and belongs to the widget of its module."""


def named_in(chapter: Path) -> set[str]:
    """Return the widgets that the cells of a chapter name."""
    cells = nbformat.read(chapter.with_suffix(".ipynb"), as_version=4).cells  # type: ignore[no-untyped-call]
    sources = [cell.source for cell in cells if cell.cell_type == "code"]
    code = "\n".join(line for source in sources for line in source.splitlines() if not line.lstrip().startswith(("%", "!")))
    names = {node.attr for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Attribute)}
    return (names | {node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name)}) & set(WIDGETS)


BY_PAGE = {f"book/{chapter.stem}.html": names for chapter in notebooks.chapters() if (names := named_in(chapter))}
"""The widgets of each page that shows any."""
PAGES = sorted(BY_PAGE)


def pages_with(widget: str) -> list[str]:
    """Return the pages that show a widget."""
    found = [page for page in PAGES if widget in BY_PAGE[page]]
    assert found, f"no page shows {widget}"
    return found


def page_with(widget: str) -> str:
    """Return the only page that shows a widget."""
    (page,) = pages_with(widget)
    return page


def painting(models: dict[str, Any]) -> dict[type[ipywidgets.Widget], dict[str, Any]]:
    """Return, of the models in a page's state, those that paint, by their classes."""
    by_name = {f"{one.__module__}.{one.__name__}": one for one in CANVASES}
    states = [model["state"] for model in models.values()]
    return {by_name[state["_anywidget_id"]]: state for state in states if "_anywidget_id" in state}
