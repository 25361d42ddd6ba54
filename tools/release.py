"""Make a release: `make release VERSION=X.Y.Z` sets the version, dates the changelog, commits and tags. You push."""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def replaced(path: Path, pattern: str, new: str) -> None:
    """Replace the one place in a file that matches.

    Parameters
    ----------
    path
        The file.
    pattern
        A regular expression.
    new
        What comes there.

    Raises
    ------
    SystemExit
        If the file has no such place, or several.
    """
    text, count = re.subn(pattern, lambda _: new, path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    if count != 1:
        sys.exit(f"{path.name}: expected one line like {pattern!r}, got {count}; set the version by hand")
    path.write_text(text, encoding="utf-8")


def set_version(version: str, day: str, root: Path = ROOT) -> None:
    """Write the version where it stands, and give the changelog's entries their heading.

    Parameters
    ----------
    version
        Such as 1.2.0.
    day
        Such as 2026-12-01.
    root
        The tree.

    Raises
    ------
    SystemExit
        If the version is none, or the changelog has nothing unreleased.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        sys.exit(f"VERSION: expected three numbers such as 1.2.0, got {version!r}")
    if not re.search(r"^## Unreleased\n+- ", (root / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE):
        sys.exit("CHANGELOG.md: expected entries under '## Unreleased', found none; say there what is new")
    replaced(root / "pyproject.toml", r'^version = ".*"$', f'version = "{version}"')
    replaced(root / "vae_lib" / "__init__.py", r'^__version__ = ".*"$', f'__version__ = "{version}"')
    replaced(root / "CITATION.cff", r"^version: .*$", f"version: {version}")
    replaced(root / "CITATION.cff", r"^date-released: .*$", f"date-released: {day}")
    replaced(root / "CHANGELOG.md", r"^## Unreleased$", f"## Unreleased\n\n## {version}, {day}")


def main(version: str) -> None:
    """Set, commit and tag; stops before anything if the checkout is not clean."""
    git = ["git", "-C", str(ROOT)]
    if subprocess.run([*git, "status", "--porcelain"], capture_output=True, check=True).stdout:
        sys.exit("expected a checkout without changes, got some; commit them first, and run make test")
    set_version(version, datetime.datetime.now(tz=datetime.UTC).date().isoformat())
    subprocess.run([*git, "commit", "-qam", f"Release {version}"], check=True)
    subprocess.run([*git, "tag", f"v{version}"], check=True)
    print(f"· tagged v{version}. To publish it: git push && git push --tags")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "")
