"""Ask every address outside the book whether it still answers: `make links`. Needs the network: no part of `make test`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import build

ROOT = Path(__file__).parent.parent
_GONE = ("broken", "timeout")


def broken(output: Path) -> list[str]:
    """Return a line for each address that does not answer.

    Parameters
    ----------
    output
        The output.json of Sphinx's linkcheck: a JSON object a line.
    """
    found = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    return [f"{link['filename']}:{link['lineno']}: {link['uri']}: {link['info']}" for link in found if link["status"] in _GONE]


def main() -> None:
    """Build, so that no chapter is executed twice; check; exit code 1 if anything is gone."""
    if code := build.build(strict=False):
        sys.exit(code)
    subprocess.run(
        [*build.COMMAND, "--builder", "linkcheck"], cwd=ROOT, env=build.environment(), check=False
    )  # its exit code does not tell broken from redirected
    gone = broken(ROOT / "_build" / "linkcheck" / "output.json")
    print("\n".join(gone) or "every address outside the book answers")
    sys.exit(1 if gone else 0)


if __name__ == "__main__":
    main()
