"""The book's own Sphinx extension: what `_config.yml` cannot say.

- The execution cache's place holds the hash of all that outputs depend on besides the chapter itself: the library, the pinned
  requirements, the Python, and which data there is. Sphinx sees the changed setting and reads every chapter again.
- Each widget is followed by a static picture for readers without JavaScript.
- Formulas, and each page as a whole, are finished once they are written: see finish_pages.py.
- A Markdown link reaches a term of the glossary, which MyST allows for headings only.
- On the page of the library, each argument has the type that its source gives it, in a word or two.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import platform
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import finish_pages
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.ext.mathjax import html_visit_displaymath, html_visit_math
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.inspect import stringify_signature

ROOT = Path(__file__).parent.parent
DATA_VARIABLE = "VAE_BOOK_DATA"  # set by build.py: "mnist" or "digits"
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"


def execution_key() -> str:
    """Return the hash of everything but the chapter that its outputs depend on."""
    total = hashlib.sha256(f"{platform.python_version()} {os.environ.get(DATA_VARIABLE, '')}".encode())
    library = [path for path in (ROOT / "vae_lib").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    for path in [*sorted(library), ROOT / "requirements.txt"]:
        total.update(path.relative_to(ROOT).as_posix().encode())
        total.update(path.read_bytes())
    return total.hexdigest()[:16]


def set_cache_path(_app: Sphinx, config: Config) -> None:
    """Give each state of the library its own execution cache."""
    config.nb_execution_cache_path = str(ROOT / "_build" / ".jupyter_cache" / execution_key())


class StaticPictures(SphinxPostTransform):
    """Put a widget's picture, and a note, where a browser without JavaScript shows them."""

    default_priority = 3  # before myst-nb drops all but one form of each output

    def run(self, **_: Any) -> None:
        """Wrap the picture of each output that is also a widget in a noscript element."""
        for bundle in self.document.findall(nodes.container):
            forms = {form.get("mime_type"): form for form in bundle.children if isinstance(form, nodes.container)}
            if WIDGET_MIME not in forms:
                continue
            note = '<p class="vae-noscript">With JavaScript, this is an interactive widget; here is a still picture of it.</p>'
            forms[WIDGET_MIME] += nodes.raw("", f"<noscript>{note}", format="html")
            for picture in forms["image/png"].findall(nodes.image) if "image/png" in forms else ():
                still = picture.deepcopy()
                still["alt"] = "Still picture of this widget"
                forms[WIDGET_MIME] += still
            forms[WIDGET_MIME] += nodes.raw("", "</noscript>", format="html")


def let_links_reach_terms(app: Sphinx, document: nodes.document) -> None:
    """List a glossary's terms beside the headings, where MyST looks up `[ELBO](notation.md#term-ELBO)`.

    A role would do without, but shows raw in Colab.
    """
    places = app.env.metadata[app.env.docname].setdefault("myst_slugs", {})
    for term in document.findall(nodes.term):
        places.update({name: (term.line, name, term.astext()) for name in term["ids"]})


def show_real_arguments(
    _app: Sphinx, what: str, _name: str, thing: Any, _options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Show what a class is made with where autodoc sees no more than its base's (*args, **kwargs)."""
    if what != "class" or signature != "(*args, **kwargs)":
        return signature, returns
    found = inspect.signature(thing.__init__)
    own = found.replace(parameters=list(found.parameters.values())[1:])
    return stringify_signature(own, show_annotation=False, show_return_annotation=False), returns


def short_type(annotation: str, names: Mapping[str, Any]) -> str:
    """Return a type in few words, such as NDArray[float32] or 'relu' | 'tanh'; nothing for what may be anything.

    Parameters
    ----------
    annotation
        As the source has it.
    names
        What is defined there: names of types are looked up in it.
    """

    def spelled(found: re.Match[str]) -> str:
        alias = names.get(found[0])
        if get_origin(alias) is Literal:
            return f"Literal{list(get_args(alias))}"
        if found[0] != "NDArray" and getattr(get_origin(alias), "__name__", "") == "ndarray":
            return f"NDArray[{get_args(get_args(alias)[1])[0].__name__}]"
        return {"ArrayLike": "array", "Tensor": "tensor"}.get(found[0], found[0])

    if "Any" in annotation:
        return ""
    text = re.sub(r"\b[A-Z]\w*", spelled, re.sub(r"\b[a-z]\w*\.(?=\w)", "", annotation))  # np.float32 is float32
    return re.sub(r"Literal\[(.*?)\]", lambda found: found[1].replace(", ", " | "), text)


def name_types(_app: Sphinx, what: str, _name: str, thing: Any, _options: Any, lines: list[str]) -> None:
    """Put the types of arguments into a docstring, once for those that share a line, and link what it returns.

    A type that the docstring gives itself, as it has to where an annotation is Any, stays.
    """
    if what not in ("class", "function", "method"):
        return
    library = sys.modules["vae_lib"]
    arguments = inspect.signature(thing.__init__ if what == "class" else thing).parameters.values()
    names = vars(sys.modules[thing.__module__])
    types = {one.name: short_type(one.annotation, names) for one in arguments if isinstance(one.annotation, str)}
    section = ""
    for i, line in enumerate(lines):
        if i + 1 < len(lines) and lines[i + 1].startswith("---"):
            section = line
        elif not line or line.startswith((" ", "---")):
            continue
        elif section == "Parameters" and " : " not in line:
            found = {types.get(name, "") for name in line.split(", ")}
            lines[i] += f" : {found.pop()}" if len(found) == 1 and found != {""} else ""
        elif section == "Returns" and line in library.__all__:
            lines[i] = f":class:`~vae_lib.{line}`"


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Finish the pages that were written, and the one that leads to the first of them."""
    if exception is not None or app.builder.name != "html":
        return
    folder = Path(app.outdir)
    finish_pages.finish(folder, logging.getLogger(__name__).warning)
    index = folder / "index.html"
    if app.config.root_doc != "index":
        index.write_text(finish_pages.redirect(f"{app.config.root_doc}.html", app.config.html_title), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("config-inited", set_cache_path)
    app.connect("doctree-read", let_links_reach_terms)
    app.connect("autodoc-process-signature", show_real_arguments)
    app.connect("autodoc-process-docstring", name_types, priority=400)  # before napoleon reads it
    app.connect("build-finished", finish, priority=850)  # after those who write pages, before those who pack them
    app.add_html_math_renderer("typeset", (html_visit_math, None), (html_visit_displaymath, None))
    app.add_post_transform(StaticPictures)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
