"""Build the book twice, from nothing, in two folders, and compare every file: `make reproducible`.

What differs is named, with the first line that differs. Nothing of a page is excused: none carries a date, and identifiers that
the execution makes up are replaced by finish_pages.py. Sphinx's own note of its settings is left out: it depends on the folder.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def copy_tree(target: Path) -> None:
    """Copy what a commit of this tree would hold.

    Parameters
    ----------
    target
        A folder that is not there yet.
    """
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    (target / "node_modules").symlink_to(ROOT / "node_modules")


def keep_chapters(tree: Path, names: list[str]) -> None:
    """Leave only some chapters in a copy's table of contents.

    Parameters
    ----------
    tree
        The copy.
    names
        Of chapters, beside the index.
    """
    contents = ["format: jb-book", "root: book/index", "chapters:", *(f"  - file: book/{name}" for name in names)]
    (tree / "_toc.yml").write_text("\n".join(contents) + "\n", encoding="utf-8")


def build(tree: Path) -> Path:
    """Build a copy with its own library; return its pages.

    Parameters
    ----------
    tree
        The copy.

    Raises
    ------
    SystemExit
        If the build fails; shows what it printed.
    """
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    command = [sys.executable, "tools/build.py"]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the build in {tree} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return tree / "_build" / "html"


def differences(first: Path, second: Path) -> list[str]:
    """Return what differs between two folders, one line a file.

    Parameters
    ----------
    first, second
        The folders.
    """
    files = [
        {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.name != ".buildinfo"}
        for folder in (first, second)
    ]
    found = [f"{name}: in one build only" for name in sorted(files[0] ^ files[1])]
    for name in sorted(files[0] & files[1]):
        one, other = (first / name).read_bytes(), (second / name).read_bytes()
        if one != other:
            found.append(f"{name}: {_first_difference(one, other)}")
    return found


def _first_difference(one: bytes, other: bytes) -> str:
    lines = [content.decode("utf-8", errors="replace").splitlines() for content in (one, other)]
    for a, b in zip(*lines, strict=False):
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
            return f"…{a[max(0, at - 60) : at + 60]}… against …{b[max(0, at - 60) : at + 60]}…"
    return f"{len(one)} and {len(other)} bytes"


def main() -> None:
    """Build twice and report; exit code 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chapters", nargs="*", help="names such as derivation; by default the whole book")
    names = parser.parse_args().chapters
    with tempfile.TemporaryDirectory() as folder:
        trees = [Path(folder) / "first", Path(folder) / "second build"]
        pages = []
        for tree in trees:
            copy_tree(tree)
            if names:
                keep_chapters(tree, names)
            print(f"· building {names or 'the book'} in {tree.name}", flush=True)
            pages.append(build(tree))
        found = differences(*pages)
        count = sum(path.is_file() for path in pages[0].rglob("*"))
    print("\n".join(found) or f"two builds gave the same {count} files")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
