"""The page that names the tests names tests that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMED = re.findall(r"`(tests/[\w/.]+)::([^`]+)`", (ROOT / "book" / "how-this-book-is-tested.md").read_text(encoding="utf-8"))


def test_the_page_names_tests_of_every_kind():
    files = {file for file, _ in NAMED}
    assert len(NAMED) >= 50
    assert any(file.startswith("tests/js/") for file in files)
    assert any(file.startswith("tests/book/") for file in files)


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED)), ids=lambda part: part)
def test_every_test_that_the_page_names_exists(file, name):
    source = (ROOT / file).read_text(encoding="utf-8")
    definition = f'test("{name}"' if file.endswith(".js") else f"\ndef {name}("
    assert definition in source


def test_whatever_looks_like_a_test_on_the_page_is_checked():
    page = (ROOT / "book" / "how-this-book-is-tested.md").read_text(encoding="utf-8")
    assert page.count("tests/") == len(NAMED)
