"""The book in other forms: an archive that works offline, a PDF that cuts nothing, notebooks; what search engines read."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree
import zipfile
from pathlib import Path

import nbformat
import notebooks
import page_extension
import pdf
import pytest
import yaml
from bs4 import BeautifulSoup
from conftest import HTML, ROOT, Watched
from PIL import Image
from playwright.sync_api import Browser
from pypdf import PdfReader

PAGES = [f"{name}.html" for name in pdf.chapters()]


def test_the_archive_holds_the_whole_book_and_works_from_the_disk(chromium: Browser, html: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(html / page_extension.ARCHIVE) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path)
    folder = tmp_path / "variational-autoencoders-live"
    expected = {path.relative_to(html) for path in html.rglob("*") if path.is_file() and "downloads" not in path.parts}
    assert {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()} == expected - {Path(".buildinfo")}
    context = chromium.new_context()
    watched = Watched(context, folder.as_uri())
    page = watched.open((folder / "index.html").as_uri())
    page.wait_for_url("**/book/index.html")
    page.locator(".vae-widget canvas").first.wait_for()
    assert watched.foreign == watched.troubles == []
    context.close()


def test_the_archive_depends_on_the_pages_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for epoch in (None, None, "1700000000"):
        folder = tmp_path / f"pages {len(made)}"
        (folder / "downloads").mkdir(parents=True)
        (folder / "a.html").write_text("a page")
        if epoch:
            monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
        page_extension.write_archive(folder)
        made.append(folder / page_extension.ARCHIVE)
    assert made[0].read_bytes() == made[1].read_bytes()
    with zipfile.ZipFile(made[2]) as archive:
        assert archive.infolist()[0].date_time == (2023, 11, 14, 22, 13, 20)


def test_each_chapter_offers_its_notebook(html: Path) -> None:
    for chapter in notebooks.chapters():
        page = BeautifulSoup((html / "book" / f"{chapter.stem}.html").read_text(encoding="utf-8"), "html.parser")
        link = page.find("a", href=f"../downloads/{chapter.stem}.ipynb")
        assert link is not None
        nbformat.validate(nbformat.read(html / "downloads" / f"{chapter.stem}.ipynb", as_version=4))


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three chapters, printed; the whole book is printed where it is published."""
    folder = tmp_path_factory.mktemp("printed") / "html"
    shutil.copytree(HTML, folder, ignore=shutil.ignore_patterns("downloads"))
    tool = [sys.executable, str(ROOT / "tools" / "pdf.py"), "--folder", str(folder)]
    command = [*tool, "book/index", "book/kl-closed-form", "book/notation"]
    subprocess.run(command, check=True)
    return folder


def test_the_pdf_has_contents_bookmarks_and_links_inside(printed: Path) -> None:
    document = PdfReader(printed / page_extension.PDF)
    front = document.pages[0].extract_text()
    titles = [pdf.title_of(printed / "book" / f"{name}.html") for name in ("index", "kl-closed-form", "notation")]
    assert [entry.title for entry in document.outline] == titles  # type: ignore[union-attr]
    for title, entry in zip(titles, document.outline, strict=True):
        number = document.get_destination_page_number(entry) + 1  # type: ignore[arg-type]
        assert title in front
        assert str(number) in front.split()  # the numbers stand in a column of their own
        assert title.split()[0] in document.pages[number - 1].extract_text()
    actions = [a.get_object().get("/A", {}) for sheet in document.pages for a in sheet.get("/Annots") or ()]
    assert not [action for action in actions if str(action.get("/URI", "")).startswith("file:")]
    assert [action for action in actions if action.get("/S") == "/GoTo"]


def test_the_pdf_cuts_no_code_and_shows_solutions_and_stills(printed: Path) -> None:
    text = "".join(sheet.extract_text() for sheet in PdfReader(printed / page_extension.PDF).pages)
    squeezed = re.sub(r"\s+", "", text)
    chapter = nbformat.read(ROOT / "book" / "kl-closed-form.ipynb", as_version=4)
    hidden = {"remove-cell"}
    for cell in chapter.cells:
        if cell.cell_type == "code" and not hidden & set(cell.metadata.get("tags", [])):
            for line in cell.source.splitlines():
                assert re.sub(r"\s+", "", line) in squeezed, line
    assert "Withdiagonalcovariance" not in squeezed  # the search itself can fail
    assert sum(len(sheet.images) for sheet in PdfReader(printed / page_extension.PDF).pages) >= 4


def test_the_pages_offer_the_pdf_once_it_is_there(printed: Path, html: Path) -> None:
    link = f"../{page_extension.PDF}"
    assert link in (printed / "book" / "errata.html").read_text(encoding="utf-8")
    assert (link in (html / "book" / "errata.html").read_text(encoding="utf-8")) == (html / page_extension.PDF).exists()


@pytest.mark.parametrize("name", PAGES)
def test_each_page_has_a_description_and_a_card(html: Path, name: str) -> None:
    page = BeautifulSoup((html / name).read_text(encoding="utf-8"), "html.parser")
    tags = {str(tag.get("property") or tag.get("name")): str(tag["content"]) for tag in page.find_all("meta", content=True)}
    assert 50 <= len(tags["description"]) <= 200
    assert {"og:title", "og:type", "og:url", "og:description", "og:image", "og:image:alt", "og:site_name"} <= set(tags)
    assert tags["og:url"].endswith(name)
    assert len(page.find_all("meta", attrs={"name": "description"})) == 1
    canonical = page.find("link", rel="canonical")
    assert canonical is not None
    assert canonical["href"] == tags["og:url"]


def test_descriptions_differ(html: Path) -> None:
    pages = [BeautifulSoup((html / name).read_text(encoding="utf-8"), "html.parser") for name in PAGES]
    found = {page.find("meta", attrs={"name": "description"})["content"] for page in pages}  # type: ignore[index]
    assert len(found) == len(PAGES)


def test_the_card_is_of_the_size_that_networks_show(html: Path) -> None:
    with Image.open(html / "_static" / "social-card.png") as card:
        assert card.size == (1200, 630)


def test_the_sitemap_lists_every_chapter_at_the_published_address(html: Path) -> None:
    repository = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]
    address = page_extension.pages_address(repository)
    tree = xml.etree.ElementTree.parse(html / "sitemap.xml")
    listed = {node.text for node in tree.iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")}
    assert listed == {address + name for name in PAGES}
    assert f"Sitemap: {address}sitemap.xml" in (html / "robots.txt").read_text()


@pytest.mark.parametrize(
    ("repository", "address"),
    [
        ("https://github.com/Account/name", "https://account.github.io/name/"),
        ("https://github.com/account/account.github.io", "https://account.github.io/"),
    ],
)
def test_the_published_address_follows_from_the_repository(repository: str, address: str) -> None:
    assert page_extension.pages_address(repository) == address


def test_the_citation_is_complete() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "version", "license", "repository-code", "date-released"} <= set(
        citation
    )
    assert citation["version"] == __import__("vae_lib").__version__
    assert citation["repository-code"] == yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]
