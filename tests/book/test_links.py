"""Each link inside the book leads to a page and, where it names one, to a place on that page. Addresses outside: `make links`."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import links
import pytest
from bs4 import BeautifulSoup
from conftest import HTML

PAGES = sorted(path for path in HTML.rglob("*.html") if "_static" not in path.parts)


@cache
def parsed(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@cache
def places(path: Path) -> frozenset[str]:
    return frozenset(str(node[name]) for name in ("id", "name") for node in parsed(path).find_all(attrs={name: True}))


def dead_links(path: Path, folder: Path) -> list[str]:
    dead = []
    for node, name in [(n, a) for a in ("href", "src") for n in parsed(path).find_all(attrs={a: True})]:
        url = urlsplit(str(node[name]))
        if url.scheme or url.netloc:
            continue
        target = (path.parent / unquote(url.path)).resolve() if url.path else path
        target = target / "index.html" if target.is_dir() else target
        if not target.is_file() or folder.resolve() not in target.resolve().parents:
            dead.append(f"{node[name]}: no such file")
        elif url.fragment and target.suffix == ".html" and unquote(url.fragment) not in places(target):
            dead.append(f"{node[name]}: no such place on the page")
    return dead


def test_there_are_pages() -> None:
    assert len(PAGES) >= 15


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_no_link_inside_the_book_is_dead(path: Path) -> None:
    assert dead_links(path, HTML) == []


def test_dead_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<a href="gone.html"></a><a href="#gone"></a><img src="gone.png"><a href="#here" id="here"></a>')
    assert len(dead_links(page, tmp_path)) == 3


def test_addresses_that_do_not_answer_are_reported(tmp_path: Path) -> None:
    statuses = ["working", "broken", "redirected", "timeout", "ignored"]
    entries = [
        {"filename": "a.md", "lineno": 1, "uri": f"https://{status}.example", "status": status, "info": ""} for status in statuses
    ]
    (tmp_path / "output.json").write_text("\n".join(map(json.dumps, entries)))
    assert [line.split()[1] for line in links.broken(tmp_path / "output.json")] == [
        "https://broken.example:",
        "https://timeout.example:",
    ]
