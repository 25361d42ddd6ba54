"""The Sphinx extension for what surrounds a chapter in the published book: downloads, address, sitemap.

- A line below each page offers the chapter as a notebook, and the whole book to take along.
- Outputs beyond any screen are cut, with a warning, so that no page becomes too heavy for a phone.
"""

from __future__ import annotations

import html
import re
import shutil
import time
import zipfile
from os import environ
from pathlib import Path
from typing import Any

from myst_nb.core import render
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging

ROOT = Path(__file__).parent.parent
ARCHIVE = "downloads/variational-autoencoders-live.zip"
PDF = "downloads/variational-autoencoders-live.pdf"
MOST_CHARACTERS = 20_000  # of one output
PDF_PLACE = '<span class="vae-pdf"></span>'
_LOGGER = logging.getLogger(__name__)


def pages_address(repository: str) -> str:
    """Return where GitHub Pages publishes a repository.

    Parameters
    ----------
    repository
        Its address, such as https://github.com/ACCOUNT/NAME.
    """
    account, name = repository.rstrip("/").split("/")[-2:]
    return f"https://{account.lower()}.github.io/" + ("" if name.lower() == f"{account.lower()}.github.io" else f"{name}/")


def set_address(_app: Sphinx, config: Config) -> None:
    """Derive the published address from that of the repository, which stands in one place only."""
    address = pages_address(config.html_theme_options["repository_url"])
    config.html_baseurl = config.ogp_site_url = address


def whole_streams(outputs: list[Any]) -> list[Any]:
    """Join what a cell prints as it came: in how many messages depends on the moment, and MyST-NB begins a line with each.

    Parameters
    ----------
    outputs
        Of one cell.
    """
    joined: list[Any] = []
    first: dict[str, Any] = {}
    for output in outputs:
        name = output.get("name") if output.get("output_type") == "stream" else None
        if name in first:
            first[name]["text"] += output["text"]
            continue
        joined.append(output)
        if name is not None:
            first[name] = output
    return joined


def cut_long_outputs(app: Sphinx) -> None:
    """Cut what a cell prints beyond all measure before it is rendered, and warn, which a strict build does not let pass.

    MyST-NB has no hook before its own joining of streams, which takes hours for a line of a megabyte; so that is wrapped.
    """
    join = render.coalesce_streams

    def join_short(outputs: list[Any]) -> Any:
        outputs = whole_streams(outputs)
        for output in outputs:
            text = output.get("text", "")
            if output.get("name") == "stdout" and len(text) > MOST_CHARACTERS:
                half = MOST_CHARACTERS // 2
                output["text"] = f"{text[:half]}\n[… {len(text) - 2 * half:,} characters are left out …]\n{text[-half:]}"
                _LOGGER.warning("%s: a cell prints %d characters; the page shows %d", app.env.docname, len(text), MOST_CHARACTERS)
        return join(outputs)

    render.coalesce_streams = join_short


def add_footer(_app: Sphinx, pagename: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Offer the chapter's notebook and the whole book below each page."""
    up = "../" * pagename.count("/")
    links = [f'<a href="{up}{ARCHIVE}" download>the whole book, to read offline (zip)</a>{PDF_PLACE}']
    notebook = ROOT / f"{pagename}.ipynb"
    if notebook.exists():
        links.insert(0, f'<a href="{up}downloads/{notebook.name}" download>this chapter as a notebook</a>')
    context["theme_extra_footer"] = f'<p class="vae-forms">Take along: {" · ".join(links)}</p>'


def use_description(_app: Sphinx, _pagename: str, _template: str, context: dict[str, Any], _doctree: Any) -> None:
    """Put the description that stands at a page's head on its card too, where else its first sentences would stand."""
    tags = context.get("metatags", "")
    if found := re.search(r'<meta content="([^"]*)" name="description"', tags):
        context["metatags"] = re.sub(r'(?<=<meta property="og:description" content=")[^"]*', lambda _: found[1], tags)


def write_sitemap(folder: Path, address: str) -> None:
    """List the pages for search engines, by https://www.sitemaps.org/protocol.html.

    Parameters
    ----------
    folder
        The pages.
    address
        Where they will be published.
    """
    names = sorted(path.relative_to(folder).as_posix() for path in folder.glob("book/*.html"))
    entries = "".join(f"<url><loc>{html.escape(address + name)}</loc></url>\n" for name in names)
    start = '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
    (folder / "sitemap.xml").write_text(f"{start}{entries}</urlset>\n", encoding="utf-8")
    (folder / "robots.txt").write_text(f"User-agent: *\nAllow: /\nSitemap: {address}sitemap.xml\n", encoding="utf-8")


def write_archive(folder: Path) -> None:
    """Pack all pages into one archive, whose bytes depend on them alone, or on SOURCE_DATE_EPOCH.

    Parameters
    ----------
    folder
        The pages.
    """
    epoch = max(int(environ.get("SOURCE_DATE_EPOCH") or 0), 315532800)  # zip knows no time before 1980
    moment = time.gmtime(epoch)[:6]
    target = folder / ARCHIVE
    temporary = target.with_suffix(".partial")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder)
            if path.is_file() and name.parts[0] != "downloads" and name.name != ".buildinfo":
                entry = zipfile.ZipInfo(f"variational-autoencoders-live/{name.as_posix()}", moment)
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                archive.writestr(entry, path.read_bytes())
    temporary.replace(target)


def finish(app: Sphinx, exception: Exception | None) -> None:
    """After the last page is finished: write downloads and sitemap."""
    if exception or app.builder.format != "html":
        return
    folder = Path(app.outdir)
    write_sitemap(folder, app.config.html_baseurl)
    downloads = folder / "downloads"
    downloads.mkdir(exist_ok=True)
    for docname in sorted(app.env.found_docs):
        if (notebook := ROOT / f"{docname}.ipynb").exists():
            shutil.copyfile(notebook, downloads / notebook.name)
    write_archive(folder)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("config-inited", set_address)
    cut_long_outputs(app)
    app.connect("html-page-context", add_footer)
    app.connect("html-page-context", use_description, priority=900)  # after the cards' extension
    app.connect("build-finished", finish, priority=950)  # after the pages are finished
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
