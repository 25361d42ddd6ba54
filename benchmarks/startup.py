"""What a user waits for and pays in memory before and while training: imports, the first epoch, peak memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

from report import write

ROUNDS = 5
IMPORT = """
import time
start = time.perf_counter()
import vae_lib
{use}
print(time.perf_counter() - start)
"""
# no TensorFlow behind these
LIGHT = "vae_lib.load_digits, vae_lib.LatentExplorer, vae_lib.plots.latent_scatter, vae_lib.binarize"
TRAIN = """
import json, resource, time
import numpy as np
import vae_lib
x = np.random.default_rng(0).random((60_000, 784), dtype=np.float32)
vae = vae_lib.build_vae()
history = vae_lib.train(vae, x, config=vae_lib.TrainConfig(epochs=4), progress=False)
later = sorted(history.seconds[1:])[1]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(json.dumps([history.seconds[0] - later, peak]))
"""


def run(code: str) -> float | list[float]:
    """Run code in a fresh process and return what it prints last."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    value: float | list[float] = json.loads(done.stdout.splitlines()[-1])
    return value


def main() -> None:
    """Measure."""
    bare = [run(IMPORT.format(use="")) for _ in range(ROUNDS)]
    light = [run(IMPORT.format(use=LIGHT)) for _ in range(ROUNDS)]
    overhead, peak = run(TRAIN)  # type: ignore[misc]
    rows = [
        {"what": "import vae_lib", "value": round(statistics.median(bare), 3), "unit": "s"},
        {"what": "import vae_lib, and use data, plots, widgets", "value": round(statistics.median(light), 3), "unit": "s"},
        {"what": "first epoch: tracing and compiling", "value": round(overhead, 2), "unit": "s"},
        {"what": "peak memory of train on 60,000 images", "value": round(peak, 2), "unit": "GB (Linux)"},
    ]
    write("startup", rows, title="start-up and memory")


if __name__ == "__main__":
    main()
