"""Training in the browser: milliseconds of a step and of a picture in Node, and pictures and steps a second that come of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from report import write

NODE = Path(sys.executable).parent / "node"
SCRIPT = Path(__file__).with_suffix(".mjs")
SIZES = {"pixels": 196, "hidden": 64, "batch": 50, "images": 1000}
TRAINING_MS = 28  # between two pictures, as browser_training_worker.js has it


def main() -> None:
    """Measure, and say what a second brings once pictures are many steps apart."""
    given = json.dumps({**SIZES, "rounds": 21})
    measured = json.loads(subprocess.run([str(NODE), str(SCRIPT), given], capture_output=True, text=True, check=True).stdout)
    rows = []
    for kind in ("median", "fastest"):
        step, picture = measured["step"][kind], measured["picture"][kind]
        steps = max(1, round(TRAINING_MS / step))
        updates = 1000 / (steps * step + picture)
        rows.append(
            {
                "of_21_rounds": kind, "ms per step": round(step, 2), "ms per picture": round(picture, 2),
                "steps per second alone": round(1000 / step), "pictures per second": round(updates, 1),
                "steps per second with pictures": round(updates * steps),
            }
        )  # fmt: skip
    write("browser_training", rows, title="a VAE of 196-64-2-64-196 in JavaScript, batch 50, 1,000 images")


if __name__ == "__main__":
    main()
