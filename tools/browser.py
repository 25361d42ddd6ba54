"""Find or get the browser in which the tests open the built pages; `browser.py` prints where it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_COMMANDS = ("google-chrome", "google-chrome-stable", "chromium", "chromium-browser", "chrome")
_APPLICATIONS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
_PACKAGES = {
    "apt-get": [["apt-get", "update", "-q"], ["apt-get", "install", "-qy", "--no-install-recommends", "chromium"]],
    "dnf": [["dnf", "install", "-qy", "chromium"]],
    "pacman": [["pacman", "-Sy", "--noconfirm", "chromium"]],
    "apk": [["apk", "add", "chromium"]],
}
_DOWNLOAD_LIMIT_S = 600


def arguments() -> list[str]:
    """Return Chromium's options: no traffic of its own, and no sandbox for root, who cannot have one."""
    quiet = [
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-quic",
        "--no-first-run",
    ]
    return [*quiet, "--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]


def starts(path: str) -> bool:
    """Tell whether a browser is there and runs: some distributions install a command that only says where to get it."""
    try:
        return subprocess.run([path, "--version"], capture_output=True, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def installed() -> Iterator[str]:
    """Yield the browsers that may be installed, the best first."""
    if chosen := os.environ.get("CHROME_PATH"):
        yield chosen
    yield from filter(None, map(shutil.which, _COMMANDS))
    yield from filter(os.path.exists, _APPLICATIONS)
    yield from _playwrights_own()


def _playwrights_own() -> Iterator[str]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    if Path(path).exists():
        yield path


def _attempt(commands: list[list[str]]) -> None:
    for command in commands:
        print("· " + " ".join(command), flush=True)
        try:
            subprocess.run(command, check=True, timeout=_DOWNLOAD_LIMIT_S, stdin=subprocess.DEVNULL)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"  did not work: {error}", flush=True)
            return


def find() -> str:
    """Return a browser that starts: an installed one, else Playwright's download, else the system's package.

    Raises
    ------
    SystemExit
        If none can be had; says what to install.
    """
    if path := next(filter(starts, installed()), None):
        return path
    _attempt([[sys.executable, "-m", "playwright", "install", "chromium"]])
    if path := next(filter(starts, installed()), None):
        return path
    manager = next(filter(shutil.which, _PACKAGES), None)
    if manager and os.geteuid() == 0:
        _attempt(_PACKAGES[manager])
        if path := next(filter(starts, installed()), None):
            return path
    sys.exit(
        "No browser: the tests open the built pages in Chrome or Chromium, found none, and could not install one.\n"
        "Install either (on Debian: apt-get install chromium), or set CHROME_PATH to one, and run make test again."
    )


if __name__ == "__main__":
    print(find())
