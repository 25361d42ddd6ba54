"""Which browser libraries the published pages hold: version, licence, integrity, in vendor.json; checked at each build.

`vendor.py` writes the list again after versions have changed: `make lock`. npm and pip check the packages' own sums when they
install them; here the very files that go into the pages are compared, so that what was altered since is found too.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
LIST = ROOT / "tools" / "vendor.json"
_NPM = re.compile(r"(?:^|/)node_modules/((?:@[^/]+/)?[^/]+)/")


class VendorError(RuntimeError):
    """Files of a library that are not those of the list."""


def digest(files: Iterable[Path]) -> str:
    """Return the SHA-256 of files' contents, in the order of their sums, so that it does not depend on where they lie.

    Parameters
    ----------
    files
        Any files.
    """
    return hashlib.sha256("".join(sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)).encode()).hexdigest()


def npm_libraries(files: Iterable[Path]) -> dict[str, Any]:
    """Describe the npm packages to which files below node_modules belong.

    Parameters
    ----------
    files
        What goes into the pages.
    """
    lock = json.loads((ROOT / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    by_package: dict[str, list[Path]] = {}
    for file in files:
        if found := _NPM.search(file.as_posix()):
            by_package.setdefault(found[1], []).append(file)
    return {
        name: {
            "from": "npm",
            "version": lock[f"node_modules/{name}"]["version"],
            "license": lock[f"node_modules/{name}"].get("license", "see the package"),
            "integrity": lock[f"node_modules/{name}"]["integrity"],
            "files": digest(used),
        }
        for name, used in sorted(by_package.items())
    }


def pip_library(name: str, files: Iterable[Path], licence: str) -> dict[str, Any]:
    """Describe a Python package of which files go into the pages.

    Parameters
    ----------
    name
        Of the package.
    files
        What goes into the pages.
    licence
        Of these files.
    """
    version = importlib.metadata.version(name)
    return {"from": "PyPI", "version": version, "license": licence, "integrity": "requirements.txt", "files": digest(files)}


def verify(found: dict[str, Any], listed: dict[str, Any]) -> None:
    """Compare libraries with the list.

    Parameters
    ----------
    found
        What the packages hold now.
    listed
        What vendor.json says.

    Raises
    ------
    VendorError
        If anything differs; says what, and what to do.
    """
    for name in sorted(found.keys() | listed.keys()):
        if found.get(name) != listed.get(name):
            raise VendorError(
                f"{name}: expected {listed.get(name, 'no such library')}, got {found.get(name, 'none')}. Versions changed: "
                "run make lock; else the installed files were altered: delete node_modules and .venv, and run make again"
            )


def main() -> None:
    """Write the list of what is installed now."""
    import build

    build.VENDOR.mkdir(parents=True, exist_ok=True)
    LIST.write_text(json.dumps(build.vendor_libraries(build.VENDOR), indent=2) + "\n", encoding="utf-8")
    print(f"· wrote {LIST.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
