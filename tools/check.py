"""All checks of the project, one after the other: `make test`. Goes on after a failure, and fails at the end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import browser

ROOT = Path(__file__).parent.parent
TWO, THREE = ["-n", "2"], ["-n", "3"]  # processes: most tests keep less than one core busy, and browsers often wait


def steps() -> dict[str, list[str]]:
    """Return each check's name and command."""
    python = [sys.executable, "-m"]
    return {
        "ruff check": [*python, "ruff", "check", "."],
        "ruff format": [*python, "ruff", "format", "--check", "."],
        "spelling": [*python, "codespell_lib"],
        "mypy": [*python, "mypy"],
        "what earlier tests covered is forgotten": [*python, "coverage", "erase"],
        "unit tests": [*python, "coverage", "run", "-m", "pytest", "tests", "--ignore=tests/book", *TWO],
        "coverage of all processes joined": [*python, "coverage", "combine", "--quiet"],
        "branch coverage of vae_lib": [*python, "coverage", "report"],
        "a tenth of the unit tests with Keras on JAX and on PyTorch": [sys.executable, "tools/backends.py"],
        "JavaScript unit tests": [
            str(Path(sys.executable).parent / "node"), "--import", "./tests/js/limit.mjs", "--test", "tests/js/*.test.js",
        ],
        "nbval: every cell of every chapter, each alone, as on Colab, without network": [sys.executable, "tools/alone.py"],
        "the strict build of the book": [sys.executable, "tools/build.py", "--strict"],
        "the built pages in browsers, faults, other forms, without network": [
            *python, "pytest", "tests/book", "-m", "not alone", *THREE, "--dist", "loadgroup",
        ],
        "what is measured, with nothing else running": [*python, "pytest", "tests/book", "-m", "alone"],
    }  # fmt: skip


def git_status() -> str:
    """Return what git sees as changed; empty outside a checkout."""
    return subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=False).stdout


def children_seconds() -> float:
    """Return the processor time of all children so far, theirs included: what a step left idle could be used."""
    times = os.times()
    return times.children_user + times.children_system


def main() -> None:
    """Run every check and report."""
    before = git_status()
    environment = {**os.environ, "CHROME_PATH": browser.find(), "FIREFOX_PATH": browser.find("firefox"), "PYTHONUNBUFFERED": "1"}
    results: dict[str, tuple[bool, float, float]] = {}
    for name, command in steps().items():
        print(f"\n━━ {name}", flush=True)
        start, busy = time.monotonic(), children_seconds()
        code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        results[name] = (code == 0, time.monotonic() - start, children_seconds() - busy)
    changed = git_status()
    results["git status as before"] = (changed == before, 0.0, 0.0)
    if changed != before:
        print(f"\nbefore:\n{before}\nafter:\n{changed}")
    print("\n━━ summary")
    for name, (good, seconds, busy) in results.items():
        cores = f"{busy / seconds:4.1f} cores busy" if seconds else ""
        print(f"{'passed' if good else 'FAILED'}  {seconds:6.1f} s  {cores:15}  {name}")
    failed = sum(not good for good, *_ in results.values())
    print(f"checks: {len(results) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nInterrupted.")
