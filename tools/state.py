"""What an earlier build left in _build: is it whole, and of this book? What is not is removed, and what can be kept is kept.

The executed chapters, which took minutes, are kept whenever they can be read; pages are made again in seconds. A finished build
writes down the sum of each file that it made, so that the next one notices what was cut, deleted or changed since.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import platform
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vae_lib.files import replacing

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
            if not isinstance(json.loads(notebook.read_bytes()), dict):
                return False
    except (OSError, ValueError, RecursionError, sqlite3.Error):
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
        reason = _reason(root, strict=strict)
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


def sums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder, by its path from there.

    Parameters
    ----------
    folder
        Any folder; one that is missing holds no file.

    Returns
    -------
    dict
        In the order of the paths.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def damage(folder: Path, expected: dict[str, str]) -> list[str]:
    """Return which files below a folder are missing or not what they were; files that have come since do not matter.

    Parameters
    ----------
    folder
        The folder.
    expected
        What `sums` returned.

    Returns
    -------
    list of str
        Their paths from the folder.
    """
    found = sums(folder)
    return [name for name, value in expected.items() if found.get(name) != value]


@contextlib.contextmanager
def marked(root: Path = ROOT, *, strict: bool = False) -> Iterator[dict[str, bool]]:
    """Mark _build as unfinished while a build is under way; note at its end what it made.

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
    outcome = {"finished": False, "strict": strict}
    _write(root, outcome)
    yield outcome
    _write(root, outcome)


def record(root: Path = ROOT) -> None:
    """Note what the pages are now, after something has been added to those of a finished build.

    Parameters
    ----------
    root
        The tree.
    """
    note = _read(root)
    if note.get("finished") is True:
        _write(root, {name: note[name] is True for name in ("finished", "strict") if name in note})


def _write(root: Path, outcome: dict[str, bool]) -> None:
    """Write the note of a build."""
    folder = root / "_build"
    folder.mkdir(parents=True, exist_ok=True)
    note: dict[str, Any] = {**outcome, "key": key(root), "outputs": sums(folder / "html") if outcome["finished"] else {}}
    with replacing(folder / "state.json") as file:
        file.write(json.dumps(note, indent=1).encode())


def _read(root: Path) -> dict[str, Any]:
    """Return the note of the last build; empty if there is none, or none of the form that `_write` gives it."""
    try:
        note = json.loads((root / "_build" / "state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    outputs = note.get("outputs") if isinstance(note, dict) else None
    good = isinstance(outputs, dict) and all(isinstance(value, str) for value in outputs.values())
    return note if good else {}


def _reason(root: Path, *, strict: bool) -> str:
    """Say why the pages cannot be built upon; empty if they can."""
    note = _read(root)
    if not note:
        return "an earlier build left no note of itself"
    if note.get("key") != key(root):
        return "an earlier build was of other settings or versions"
    if note.get("finished") is not True:
        return "an earlier build did not end well"
    if strict and not note.get("strict"):
        return "an earlier build let warnings pass"
    if changed := damage(root / "_build" / "html", note["outputs"]):
        return (
            f"{len(changed)} of the {len(note['outputs'])} files of an earlier build were damaged or deleted, {changed[0]} first"
        )
    return ""
