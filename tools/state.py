"""What an earlier build left in _build: is it whole, and of this book? What is not is removed, and what can be kept is kept.

The executed chapters, which took minutes, are kept whenever they can be read; pages are made again in seconds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
_KEPT_CACHES = 3  # states of the library whose outputs are kept


def key(root: Path = ROOT) -> str:
    """Return the hash of what every page depends on: with another, pages of an earlier build are stale.

    Parameters
    ----------
    root
        The tree.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    total = hashlib.sha256(f"{root} {platform.python_version()}".encode())
    names = ["_config.yml", "_toc.yml", "requirements.txt", "package-lock.json"]
    # pages name their style sheets and scripts by the hash of what is in them
    folders = [*sorted((root / "tools").glob("*.py")), *sorted((root / "book" / "front").glob("*"))]
    for path in [*(root / name for name in names), *folders]:
        total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()


def whole(cache: Path) -> bool:
    """Tell whether an execution cache can be read: its data base, and every notebook in it.

    Parameters
    ----------
    cache
        A folder that jupyter-cache wrote.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"file:{cache / 'global.db'}?mode=ro", uri=True)) as connection:
            if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                return False
            connection.execute("SELECT count(*) FROM nbcache").fetchone()
        for notebook in cache.glob("executed/*/base.ipynb"):
            json.loads(notebook.read_bytes())
    except (OSError, ValueError, sqlite3.Error):
        return False
    return True


def clean_up(root: Path = ROOT, *, strict: bool = False) -> None:
    """Before a build: remove what a killed build left, what belongs to another state of the book, and caches that are damaged.

    Parameters
    ----------
    root
        The tree.
    strict
        Whether warnings are errors: pages that were built without that are made again, for a page that is read warns but once.
    """
    folder = root / "_build"
    if (folder / "html").exists() or (folder / ".doctrees").exists():
        reason = _reason(folder / "state.json", key(root), strict=strict)
        if reason:
            print(f"· {reason}: the pages are written anew", flush=True)
            remove_pages(root)
    caches = [path for path in (folder / ".jupyter_cache").glob("*") if path.is_dir()]
    for cache in caches:
        if not whole(cache):
            print("· the execution cache was damaged: its chapters are executed again", flush=True)
            shutil.rmtree(cache)
            remove_pages(root)
    for cache in sorted(filter(Path.exists, caches), key=lambda path: path.stat().st_mtime)[:-_KEPT_CACHES]:
        shutil.rmtree(cache)


def remove_pages(root: Path = ROOT) -> None:
    """Remove pages and Sphinx's notes; executed chapters stay.

    Parameters
    ----------
    root
        The tree.
    """
    for name in ("html", ".doctrees"):
        shutil.rmtree(root / "_build" / name, ignore_errors=True)


@contextlib.contextmanager
def marked(root: Path = ROOT, *, strict: bool = False) -> Iterator[dict[str, bool]]:
    """Mark _build as unfinished while a build is under way.

    Parameters
    ----------
    root
        The tree.
    strict
        Whether warnings are errors in it.

    Yields
    ------
    dict
        Set its "finished" to true at the end of a good build.
    """
    stamp = root / "_build" / "state.json"
    stamp.parent.mkdir(parents=True, exist_ok=True)
    outcome = {"finished": False, "strict": strict}
    _write(stamp, outcome, root)
    yield outcome
    _write(stamp, outcome, root)


def _write(stamp: Path, outcome: dict[str, bool], root: Path) -> None:
    temporary = stamp.with_suffix(f".{os.getpid()}.partial")
    temporary.write_text(json.dumps({**outcome, "key": key(root)}), encoding="utf-8")
    temporary.replace(stamp)


def _reason(stamp: Path, wanted: str, *, strict: bool) -> str:
    """Say why the pages cannot be built upon; empty if they can."""
    try:
        found = json.loads(stamp.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "an earlier build left no note of itself"
    if found.get("key") != wanted:
        return "an earlier build was of other settings or versions"
    if found.get("finished") is not True:
        return "an earlier build did not end well"
    return "an earlier build let warnings pass" if strict and not found.get("strict") else ""
