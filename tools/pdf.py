"""Print the built book into one PDF: `make pdf`.

Each page is printed by the browser without its scripts, so that still pictures stand for widgets and MathML for formulas;
folded cells and hints are unfolded. In front stands a table of contents; links between chapters lead inside the file.
"""

from __future__ import annotations

import argparse
import html
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import browser
import page_extension
import state
import yaml
from playwright.sync_api import Page, PdfMargins, sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, DictionaryObject, NameObject

from vae_lib.files import replacing

ROOT = Path(__file__).parent.parent
HTML = ROOT / "_build" / "html"
_MARGIN: PdfMargins = {"top": "16mm", "bottom": "20mm", "left": "16mm", "right": "16mm"}
_STYLE = "body{font-family:sans-serif} li{margin:.45em 0} a{color:inherit;text-decoration:none} .n{float:right}"


def chapters(root: Path = ROOT) -> list[str]:
    """Return the names of the book's pages in their order.

    Parameters
    ----------
    root
        The tree.
    """
    contents = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    return [contents["root"], *(entry["file"] for entry in contents["chapters"])]


def print_page(page: Page, source: Path) -> bytes:
    """Print one page with all that is folded unfolded.

    Parameters
    ----------
    page
        Of a browser that runs no scripts of pages.
    source
        The .html file.
    """
    page.goto(source.as_uri())
    page.evaluate("() => { for (const fold of document.querySelectorAll('details')) fold.open = true; }")
    page.evaluate("() => Promise.all([...document.images].map((image) => { image.loading = 'eager'; return image.decode(); }))")
    printed: bytes = page.pdf(format="A4", margin=_MARGIN, tagged=True)
    return printed


def title_of(source: Path) -> str:
    """Return a page's title, without the book's.

    Parameters
    ----------
    source
        The .html file.
    """
    found = re.search(r"<title>(.*?)</title>", source.read_text(encoding="utf-8"), flags=re.DOTALL)
    return html.unescape(found[1]).split(" — ")[0].strip() if found else source.stem


def contents_page(page: Page, titles: list[str], starts: list[int]) -> bytes:
    """Print the table of contents.

    Parameters
    ----------
    page
        Of a browser.
    titles
        Of the chapters.
    starts
        The number of the page on which each begins, from 1.
    """
    entries = "".join(f'<li><span class="n">{n}</span>{html.escape(t)}</li>' for t, n in zip(titles, starts, strict=True))
    page.set_content(f"<style>{_STYLE}</style><h1>{html.escape(titles[0])}</h1><h2>Contents</h2><ol>{entries}</ol>")
    printed: bytes = page.pdf(format="A4", margin=_MARGIN, tagged=True)
    return printed


def page_numbers(page: Page, count: int) -> PdfReader:
    """Print as many empty pages as the book has, each with its number.

    Parameters
    ----------
    page
        Of a browser.
    count
        How many.
    """
    style = "body{margin:0} div{height:100vh;break-after:page} div:last-child{break-after:auto}"
    page.set_content(f"<style>{style}</style>" + "<div></div>" * count)
    number = '<div style="font-size:9px;width:100%;text-align:center"><span class="pageNumber"></span></div>'
    printed = page.pdf(format="A4", display_header_footer=True, header_template="<span></span>", footer_template=number)
    return PdfReader(io.BytesIO(printed))


def lead_links_inside(writer: PdfWriter, starts: dict[str, int]) -> None:
    """Turn links to files of this machine into links to pages of the document; those that lead nowhere in it are dropped.

    Parameters
    ----------
    writer
        The whole document.
    starts
        For each page's file name the index of the document's page on which it begins.
    """
    for sheet in writer.pages:
        kept = ArrayObject()
        for annotation in sheet.get("/Annots") or ():
            action = annotation.get_object().get("/A", DictionaryObject())
            url = urlsplit(str(action.get("/URI", "")))
            if url.scheme == "file":
                index = starts.get(Path(unquote(url.path)).name)
                if index is None:
                    continue
                place = ArrayObject([writer.pages[index].indirect_reference, NameObject("/Fit")])
                annotation.get_object()[NameObject("/A")] = DictionaryObject(
                    {NameObject("/S"): NameObject("/GoTo"), NameObject("/D"): place}
                )
            kept.append(annotation)
        if "/Annots" in sheet:
            sheet[NameObject("/Annots")] = kept


def bind(page: Page, printed: list[bytes], titles: list[str], names: list[str]) -> PdfWriter:
    """Bind the printed pages to one document with contents, bookmarks and page numbers.

    Parameters
    ----------
    page
        Of a browser.
    printed
        Each page's PDF.
    titles, names
        Each page's title and file name.
    """
    lengths = [len(PdfReader(io.BytesIO(part)).pages) for part in printed]
    front = len(PdfReader(io.BytesIO(contents_page(page, titles, lengths))).pages)
    firsts = [front + sum(lengths[:i]) for i in range(len(lengths))]  # indices, from 0
    writer = PdfWriter()
    for part in [contents_page(page, titles, [first + 1 for first in firsts]), *printed]:
        writer.append(io.BytesIO(part), import_outline=False)
    for title, first in zip(titles, firsts, strict=True):
        writer.add_outline_item(title=title, page_number=first)
    lead_links_inside(writer, dict(zip(names, firsts, strict=True)))
    for sheet, number in zip(writer.pages, page_numbers(page, len(writer.pages)).pages, strict=True):
        sheet.merge_page(number)
    writer.metadata = None
    writer.add_metadata({"/Title": titles[0]})
    writer.compress_identical_objects()
    return writer


def offer(folder: Path) -> None:
    """Put a link to the PDF where each page keeps its place.

    Parameters
    ----------
    folder
        The pages.
    """
    for path in folder.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        up = "../" * len(path.relative_to(folder).parts[1:])
        link = f'<span class="vae-pdf"> · <a href="{up}{page_extension.PDF}" download>the whole book, to print (PDF)</a></span>'
        if page_extension.PDF_PLACE in text:
            path.write_text(text.replace(page_extension.PDF_PLACE, link), encoding="utf-8")


def sources(folder: Path, names: list[str]) -> Iterator[Path]:
    """Yield the pages to print; stop with what to do if one is missing.

    Parameters
    ----------
    folder
        The pages.
    names
        Which, such as book/derivation.
    """
    for name in names:
        path = folder / f"{name}.html"
        if not path.is_file():
            sys.exit(f"expected the built page {path}, found none; run make book first")
        yield path


def main() -> None:
    """Print the pages that are named, or all of the table of contents; bind them, and offer the file on the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", help="such as book/derivation; by default all")
    parser.add_argument("--folder", type=Path, default=HTML, help="where the built pages are")
    arguments = parser.parse_args()
    folder = arguments.folder
    pages = list(sources(folder, arguments.pages or chapters()))
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser.find(), args=browser.arguments())
        page = chromium.new_context(java_script_enabled=False, reduced_motion="reduce").new_page()  # folds open at once
        printed = []
        for source in pages:
            print(f"· printing {source.stem}", flush=True)
            printed.append(print_page(page, source))
        document = bind(page, printed, [title_of(source) for source in pages], [source.name for source in pages])
        chromium.close()
    target = folder / page_extension.PDF
    target.parent.mkdir(exist_ok=True)
    with replacing(target) as file:
        document.write(file)
    offer(folder)
    if folder == HTML:
        state.record()  # the next build is not to take the link for damage
    print(f"· wrote {target}: {len(document.pages)} pages, {target.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
