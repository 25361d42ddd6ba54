"""Pin the newest versions that pyproject.toml admits, for all supported Pythons: `make lock` rewrites requirements.txt.

`lock.py --keep` leaves the versions that are pinned already and adds what has come to pyproject.toml.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import vendor

ROOT = Path(__file__).parent.parent
HEADER = "# Every version pinned, with its hashes. Made by `make lock` from pyproject.toml; do not edit by hand.\n"


def main() -> None:
    """Let uv, installed for the moment, solve. The library itself is not in the list: pip would want a hash of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true", help="change no version that is pinned already")
    keep = parser.parse_args().keep
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--target", folder, "uv"], check=True)
        solve = [f"{folder}/bin/uv", "pip", "compile", "--universal", "--python-version", "3.11", "--generate-hashes"]
        options = ["--extra", "book", "--extra", "test", "--no-annotate", "--no-header", "--quiet"]
        old = Path(folder) / "requirements.txt"  # where uv looks for the versions to keep
        if keep:
            old.write_text((ROOT / "requirements.txt").read_text(encoding="utf-8").replace("-e .\n", ""), encoding="utf-8")
        kept = ["--output-file", str(old)] if keep else ["--upgrade"]
        solved = subprocess.run([*solve, *options, *kept, "pyproject.toml"], cwd=ROOT, check=True, capture_output=True, text=True)
        text = old.read_text(encoding="utf-8") if keep else solved.stdout
    (ROOT / "requirements.txt").write_text(HEADER + text, encoding="utf-8")
    print("· wrote requirements.txt; run make lock again after make bootstrap if it changed, and make test before committing it")
    vendor.main()


if __name__ == "__main__":
    main()
