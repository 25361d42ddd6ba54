"""The list of browser libraries: what is installed is what is listed, and what was altered is found."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import build  # noqa: E402 -- tools/ is no package
import vendor  # noqa: E402

LISTED = json.loads(vendor.LIST.read_text(encoding="utf-8"))


def test_what_goes_into_the_pages_is_what_is_listed(tmp_path: Path) -> None:
    found = build.vendor_libraries(tmp_path)
    vendor.verify(found, LISTED)
    assert {"mathjax", "anywidget", "@jupyter-widgets/base", "@jupyter-widgets/controls", "Font Awesome Free"} <= set(found)
    assert (tmp_path / "widgets.js").stat().st_size > 100_000


@pytest.mark.parametrize("name", sorted(LISTED))
def test_each_library_has_version_licence_and_integrity(name: str) -> None:
    entry = LISTED[name]
    assert entry["version"][0].isdigit()
    assert entry["license"] in ("Apache-2.0", "BSD-3-Clause", "CC BY 4.0", "ISC", "MIT")
    assert entry["integrity"].startswith("sha512-") or entry["integrity"] == "requirements.txt"
    assert len(entry["files"]) == 64


@pytest.mark.parametrize("key", ["version", "integrity", "files"])
def test_what_was_altered_is_named(key: str) -> None:
    altered = copy.deepcopy(LISTED)
    altered["mathjax"][key] = "another"
    with pytest.raises(vendor.VendorError, match=r"mathjax: expected .*, got .*another.*delete node_modules and .venv"):
        vendor.verify(altered, LISTED)


def test_a_library_too_much_or_too_few_is_named() -> None:
    fewer = {name: entry for name, entry in LISTED.items() if name != "mathjax"}
    with pytest.raises(vendor.VendorError, match=r"mathjax: expected no such library"):
        vendor.verify(LISTED, fewer)
    with pytest.raises(vendor.VendorError, match=r"mathjax: expected .* got none"):
        vendor.verify(fewer, LISTED)


def test_a_changed_byte_changes_the_sum(tmp_path: Path) -> None:
    files = [tmp_path / "a.js", tmp_path / "b.js"]
    for file in files:
        file.write_text("one")
    before = vendor.digest(files)
    files[1].write_text("two")
    assert vendor.digest(files) != before
    assert vendor.digest(reversed(files)) == vendor.digest(files)
