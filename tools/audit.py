"""Look up known vulnerabilities of everything that is pinned, in Python's and npm's lists: `make audit`. Runs every week."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Run pip-audit, installed for the moment, and npm audit; exit code 1 if either finds anything."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([f"{folder}/bin/pip", "install", "-q", "pip-audit"], check=True)
        pinned = [f"{folder}/bin/pip-audit", "--disable-pip", "--require-hashes", "-r", "requirements.txt"]
        npm = [str(Path(sys.executable).parent / "npm"), "audit", "--audit-level=moderate"]
        codes = [subprocess.run(command, cwd=ROOT, check=False).returncode for command in (pinned, npm)]
    print(f"audit: {sum(code == 0 for code in codes)} passed, {sum(code != 0 for code in codes)} failed")
    sys.exit(1 if any(codes) else 0)


if __name__ == "__main__":
    main()
