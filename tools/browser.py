"""Find or get the browsers in which the tests open the built pages; `browser.py` prints where they are."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

_COMMANDS = {
    "chromium": ("google-chrome", "google-chrome-stable", "chromium", "chromium-browser", "chrome"),
    "firefox": ("firefox", "firefox-esr"),
}
_APPLICATIONS = {
    "chromium": (
        "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        "/Applications/Chromium.app/Contents/MacOS/Chromium",
    ),
    "firefox": ("/Applications/Firefox.app/Contents/MacOS/firefox",),
}
_VARIABLES = {"chromium": "CHROME_PATH", "firefox": "FIREFOX_PATH"}
_SPOKEN = {"chromium": "Chrome or Chromium", "firefox": "Firefox"}
_DEBIAN = {"chromium": "chromium", "firefox": "firefox-esr"}


def _packages(name: str) -> dict[str, list[list[str]]]:
    """Return, for each package manager, the commands that install a browser."""
    return {
        "apt-get": [["apt-get", "update", "-q"], ["apt-get", "install", "-qy", "--no-install-recommends", _DEBIAN[name]]],
        "dnf": [["dnf", "install", "-qy", name]],
        "pacman": [["pacman", "-Sy", "--noconfirm", name]],
        "apk": [["apk", "add", name]],
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


def installed(name: str = "chromium") -> Iterator[str]:
    """Yield the browsers of a kind that may be installed, the best first."""
    if chosen := os.environ.get(_VARIABLES[name]):
        yield chosen
    yield from filter(None, map(shutil.which, _COMMANDS[name]))
    yield from filter(os.path.exists, _APPLICATIONS[name])
    if name == "chromium":  # Playwright's Firefox is a changed one, which only Playwright can drive
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


def find(name: str = "chromium") -> str:
    """Return a browser that starts: an installed one, else Playwright's download, else the system's package.

    Parameters
    ----------
    name
        "chromium" or "firefox".

    Raises
    ------
    SystemExit
        If none can be had; says what to install.
    """
    if path := next(filter(starts, installed(name)), None):
        return path
    if name == "chromium":
        _attempt([[sys.executable, "-m", "playwright", "install", name]])
        if path := next(filter(starts, installed(name)), None):
            return path
    manager = next(filter(shutil.which, _packages(name)), None)
    if manager and os.geteuid() == 0:
        _attempt(_packages(name)[manager])
        if path := next(filter(starts, installed(name)), None):
            return path
    sys.exit(
        f"No browser: the tests open the built pages in {_SPOKEN[name]}, found none, and could not install one.\n"
        f"Install it (on Debian: apt-get install {_DEBIAN[name]}), or set {_VARIABLES[name]} to one, and run make test again."
    )


if __name__ == "__main__":
    print(find("chromium"), find("firefox"), sep="\n")
