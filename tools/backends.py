"""Run the unit tests with Keras on JAX and on PyTorch: `make test-backends`, or `backends.py --all` for all tests.

Those that are marked `backends`, a tenth of them, run in `make test`; every week all run that are not marked `tensorflow_only`.
Both frameworks are installed into an environment of their own, _build/backends, which takes everything else from .venv: nothing
but these tests sees them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import extra

ROOT = Path(__file__).parent.parent
BACKENDS = ("jax", "torch")
DISK_NEEDED = 8 * 1000**3  # on Linux, PyTorch's ordinary packages bring CUDA's; where pip finds a CPU build, a sixth of it
SOME, ALL = "backends and not tensorflow_only", "not tensorflow_only"


def run(python: str, backend: str, expression: str) -> int:
    """Run the tests that an expression selects, with Keras on one backend; return pytest's exit code, 5 where there is none.

    Parameters
    ----------
    python
        That of the environment with all backends.
    backend
        One of `BACKENDS`.
    expression
        Of markers.
    """
    environment = {
        **os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3",
    }  # fmt: skip
    # warnings of packages that the book does not use are no fault of the library
    options = ["-q", "-W", "default", "-p", "no:cacheprovider", "-n", "2", "--ignore=tests/book", "-m", expression]
    print(f"· Keras on {backend}: the unit tests that are {expression}", flush=True)
    command = [python, "-m", "pytest", *options, "tests"]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def main() -> None:
    """Install the frameworks, and run the tests on each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backend", nargs="*", help=f"of {', '.join(BACKENDS)}; by default both")
    parser.add_argument("--all", action="store_true", help="all unit tests, not a chosen tenth")
    arguments = parser.parse_args()
    if unknown := set(arguments.backend) - set(BACKENDS):
        parser.error(f"expected backends of {', '.join(BACKENDS)}, got {', '.join(sorted(unknown))}")
    python = extra.environment("backends", "test-backends", DISK_NEEDED)
    chosen = arguments.backend or BACKENDS
    codes = [run(python, backend, ALL if arguments.all else SOME) for backend in chosen]
    print(f"backends: {codes.count(0)} passed, {len(codes) - codes.count(0)} failed")
    sys.exit(any(codes))


if __name__ == "__main__":
    main()
