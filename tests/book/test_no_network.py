"""A newcomer without network: the book builds from the digits that scikit-learn brings, and says so on every page it concerns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BANNER = "This is not MNIST."


def uses_data(chapter: Path) -> bool:
    return "load_mnist(" in chapter.read_text(encoding="utf-8")


def test_the_book_builds_from_digits_with_a_banner_on_every_affected_page(
    copy_of_tree: Path, without_network: dict[str, str]
) -> None:
    """Also a build in a path with a space in it, from nothing but what a commit holds."""
    command = [sys.executable, "tools/build.py", "--strict"]
    environment = {**without_network, "PYTHONPATH": str(copy_of_tree)}  # its own library, not the installed one
    done = subprocess.run(command, cwd=copy_of_tree, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    assert "using scikit-learn's digits, not MNIST" in done.stdout
    chapters = sorted((copy_of_tree / "book").glob("*.md"))
    affected = {chapter.stem for chapter in chapters if uses_data(chapter)}
    assert {"keras-build", "mnist-results", "latent-explorer"} <= affected
    for chapter in chapters:
        page = (copy_of_tree / "_build" / "html" / "book" / f"{chapter.stem}.html").read_text(encoding="utf-8")
        assert (BANNER in page) == (chapter.stem in affected), chapter.stem
        assert "MNIST, verified" not in page
