"""A newcomer without network: the book builds from the digits that scikit-learn brings, and says so on every page it concerns.

Of some chapters here; tools/alone.py executes all of them without a network.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import reproducible

BANNER = "This is not MNIST."
CHAPTERS = ["index", "intuition", "keras-build", "latent-explorer", "notation"]


def uses_data(chapter: Path) -> bool:
    return "load_mnist(" in chapter.read_text(encoding="utf-8")


def test_the_book_builds_from_digits_with_a_banner_on_every_affected_page(
    copy_of_tree: Path, without_network: dict[str, str]
) -> None:
    """Also a build in a path with a space in it, from nothing but what a commit holds."""
    reproducible.keep_chapters(copy_of_tree, CHAPTERS[1:])
    command = [sys.executable, "tools/build.py"]  # not strict: links lead to chapters that are left out
    environment = {**without_network, "PYTHONPATH": str(copy_of_tree)}  # its own library, not the installed one
    done = subprocess.run(command, cwd=copy_of_tree, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert "using scikit-learn's digits, not MNIST" in done.stdout
    affected = {name for name in CHAPTERS if uses_data(copy_of_tree / "book" / f"{name}.md")}
    assert {"index", "keras-build", "latent-explorer"} <= affected
    assert not {"intuition", "notation"} & affected
    for name in CHAPTERS:
        page = (copy_of_tree / "_build" / "html" / "book" / f"{name}.html").read_text(encoding="utf-8")
        assert (BANNER in page) == (name in affected), name
        assert "MNIST, verified" not in page
