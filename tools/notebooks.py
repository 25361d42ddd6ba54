"""Keep the notebooks in step: `notebooks.py sync` writes book/X.ipynb from book/X.md; `repository URL` sets the book's address.

The address stands for good in _config.yml. Colab's set-up cell, which is the same in every chapter, and the texts that name the
address hold copies; `repository` rewrites all of them, and a test finds any that differ.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
_TEXTS = {".cff", ".ipynb", ".json", ".md", ".py", ".toml", ".txt", ".yml", ".yaml"}


def chapters(root: Path = ROOT) -> list[Path]:
    """Return the book's text notebooks: the .md files that have a kernel."""
    return [path for path in sorted((root / "book").glob("*.md")) if "\nkernelspec:" in path.read_text(encoding="utf-8")]


def sync(root: Path = ROOT) -> None:
    """Write each chapter's notebook, without outputs; untouched if nothing has changed."""
    import jupytext
    import nbformat
    from jupytext.combine import combine_inputs_with_outputs
    from jupytext.config import load_jupytext_config

    config = load_jupytext_config(str(root / "book"))
    for text in chapters(root):
        notebook = jupytext.read(text, config=config)
        target = text.with_suffix(".ipynb")
        if target.exists():  # keeps the ids of cells that stay
            notebook = combine_inputs_with_outputs(notebook, jupytext.read(target), fmt={"extension": ".ipynb"})
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        notebook.metadata.pop("jupytext", None)
        new: str = nbformat.writes(notebook) + "\n"  # type: ignore[no-untyped-call]
        if not target.exists() or target.read_text(encoding="utf-8") != new:
            target.write_text(new, encoding="utf-8")
            print(f"· wrote {target.relative_to(root)}")


def repository_url(root: Path = ROOT) -> str:
    """Return the address of the repository, from _config.yml."""
    return str(yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"])


def set_repository(url: str, root: Path = ROOT) -> None:
    """Rewrite the address everywhere in the tracked texts, then the notebooks."""
    url = url.removesuffix("/").removesuffix(".git")
    if not re.fullmatch(r"https://[\w.-]+/[\w.-]+/[\w.-]+", url):
        sys.exit(f"URL: expected an address such as https://github.com/ACCOUNT/REPOSITORY, got {url!r}")
    old = repository_url(root)
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        path = root / name
        if path.suffix not in _TEXTS or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        if old in text:
            path.write_text(text.replace(old, url), encoding="utf-8")
            print(f"· {name}")
    sync(root)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("sync", help="write the .ipynb of each chapter")
    commands.add_parser("repository", help="set the address of the repository").add_argument("url")
    arguments = parser.parse_args()
    if arguments.command == "sync":
        sync()
    else:
        set_repository(arguments.url)


if __name__ == "__main__":
    main()
