"""Pin the newest versions that pyproject.toml admits, for all supported Pythons: `make lock` rewrites requirements.txt."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
HEADER = "# Every version pinned, for the book and its tests. Made by `make lock` from pyproject.toml; do not edit by hand.\n"


def main() -> None:
    """Let uv, installed for the moment, solve; keep the library itself editable."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--target", folder, "uv"], check=True)
        solve = [
            f"{folder}/bin/uv",
            "pip",
            "compile",
            "--universal",
            "--python-version",
            "3.11",
            "--extra",
            "book",
            "--extra",
            "test",
        ]
        options = ["--no-annotate", "--no-header", "--quiet", "--upgrade", "pyproject.toml"]
        solved = subprocess.run([*solve, *options], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    (ROOT / "requirements.txt").write_text(HEADER + solved + "-e .\n", encoding="utf-8")
    print("· wrote requirements.txt; run make test before committing it")


if __name__ == "__main__":
    main()
