"""The page that names the tests names tests that exist; and the tests of pages wait for states, never for a time."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMED = re.findall(r"`(tests/[\w/.]+)::([^`]+)`", (ROOT / "book" / "how-this-book-is-tested.md").read_text(encoding="utf-8"))
PAGE_TESTS = sorted((ROOT / "tests" / "book").glob("*.py"))
PAUSE = re.compile(r"setTimeout\((?:[^()]|\([^()]*\))*,\s*\d[\d_]*\s*\)")  # in JavaScript, of so many milliseconds


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


def fixed_waits(source):
    """Return the lines of a test that wait for a time: in Python, or in a script of the page that it hands to the browser."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("wait_for_timeout", "sleep"):
            found.add(node.lineno)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and PAUSE.search(node.value):
            found.add(node.lineno)
    return sorted(found)


@pytest.mark.parametrize("path", PAGE_TESTS, ids=lambda path: path.stem)
def test_no_test_of_a_page_waits_for_a_fixed_time(path):
    """What is there after a fifth of a second on one machine is not yet there on another."""
    assert fixed_waits(path.read_text(encoding="utf-8")) == []


def test_firefox_is_not_waited_for_either():
    assert not PAUSE.search((ROOT / "tests" / "book" / "firefox.mjs").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "line",
    [
        "page.wait_for_timeout(200)",
        "time.sleep(1)",
        "from time import sleep\nsleep(1)",
        "page.evaluate('new Promise((done) => setTimeout(done, 120))')",
        "page.evaluate('() => setTimeout(() => look(), 1_000)')",
    ],
)
def test_fixed_waits_are_found(line):
    assert fixed_waits(line)
    assert not fixed_waits("page.wait_for_function('() => window.ready')\nexpect(button).to_be_visible()")
