"""All benchmarks, one after the other: `make bench`. Fetches what they compare with, beside the book's own environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from report import summarise

HERE = Path(__file__).parent
EXTRA = HERE.parent / "_build" / "bench"


def fetch() -> None:
    """Install the other frameworks where only the benchmarks find them."""
    wanted = (HERE / "requirements.txt").read_text()
    stamp = EXTRA / "installed"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print("· fetching JAX and PyTorch, for comparison", flush=True)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--upgrade", "--target", str(EXTRA)]
    subprocess.run([*pip, "-r", str(HERE / "requirements.txt")], check=True)
    stamp.write_text(wanted)


def main() -> None:
    """Run every benchmark; each writes to results/."""
    fetch()
    environment = {**os.environ, "PYTHONPATH": str(EXTRA), "TF_CPP_MIN_LOG_LEVEL": "3"}
    for name in ("training", "parts", "startup", "evaluation", "browser_training"):
        print(f"\n━━ {name}", flush=True)
        subprocess.run([sys.executable, str(HERE / f"{name}.py")], env=environment, check=True)
    summarise()


if __name__ == "__main__":
    main()
