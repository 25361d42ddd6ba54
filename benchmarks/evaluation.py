"""Measure the evaluation of the post's network on MNIST: seconds, peak memory, and what the bare matrix products take.

Usage: python benchmarks/evaluation.py. Prints tables, writes results/ beside this file. Each part runs in a
process of its own, so that its peak memory is its own; it includes what the backend takes for itself.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

from report import write

TOL = 0.01
K, IMAGES, BLOCK = 5000, 1000, 20
ROWS = 2500  # of z in one product: as many as iwae_bound decodes at once for this k


def exact() -> dict[str, float]:
    """Time log p(x) of all test images."""
    import vae_lib

    vae, x = vae_lib.pretrained("mnist-2d"), vae_lib.load_mnist().x_test
    start = time.perf_counter()
    result = vae_lib.exact_log_px(vae, x, tol=TOL)
    return {
        "images": len(x),
        "tol": TOL,
        "seconds": time.perf_counter() - start,
        "points per axis": result.points,
        "last difference": result.difference,
        "mean log p(x)": float(result.log_px.mean()),
    }


def importance() -> dict[str, float]:
    """Time the importance-weighted bound and, in turn with it, the decoder's matrix products for as many z."""
    import numpy as np
    from keras import ops

    import vae_lib

    vae, x = vae_lib.pretrained("mnist-2d"), vae_lib.load_mnist().x_test[:IMAGES]
    kernels = [layer.kernel.value for layer in vae.decoder.layers if layer.weights]
    z = ops.convert_to_tensor(np.random.default_rng(0).standard_normal((ROWS, 2), np.float32))

    def products(blocks: int) -> None:
        for _ in range(blocks * K // ROWS):
            hidden = z
            for kernel in kernels:
                hidden = ops.matmul(hidden, kernel)
        ops.convert_to_numpy(hidden)  # wait for it

    vae_lib.iwae_bound(vae, x[:1], k=K)  # compiles
    products(1)
    seconds, bare, means = 0.0, 0.0, []
    for first in range(0, IMAGES, BLOCK):
        start = time.perf_counter()
        means.append(vae_lib.iwae_bound(vae, x[first : first + BLOCK], k=K, seed=first).mean())
        middle = time.perf_counter()
        products(BLOCK)
        seconds, bare = seconds + middle - start, bare + time.perf_counter() - middle
    return {
        "images": IMAGES,
        "k": K,
        "seconds": seconds,
        "seconds of the bare matrix products": bare,
        "ratio": seconds / bare,
        "mean bound": float(np.mean(means)),
    }


def with_peak_memory(part: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Run one part and add its process's peak memory in GB."""
    unit = 1 if platform.system() == "Darwin" else 1024  # of ru_maxrss, in bytes
    return part() | {"peak memory, GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9}


def main() -> None:
    """Measure each part."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name, part in (("exact_log_px", exact), ("iwae_bound", importance)):
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            measured = process.submit(with_peak_memory, part).result()
        rows = [{"what": what, "value": round(value, 4)} for what, value in measured.items()]
        write(name, rows, title=f"{name}, the post's network, MNIST's test images")


if __name__ == "__main__":
    main()
