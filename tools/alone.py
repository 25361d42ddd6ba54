"""Run every cell of every chapter under nbval, each as on Colab: alone in an empty folder, with the library from its wheel.

And without a network, so with the digits that stand in for MNIST, which the build of the book executes the same cells with.
One execution shows that every cell runs, on either data, and that a chapter needs nothing but itself and the library.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import notebooks

ROOT = Path(__file__).parent.parent
# IPython runs this before the first cell, as Colab's own start-up does
STARTUP = "import google.colab\n"
LAST_CELL = """\
import pathlib, sys, vae_lib
assert "google.colab" in sys.modules
assert pathlib.Path(vae_lib.__file__).is_relative_to({packages!r}), "the library came from the tree, not from the wheel"
sys.path.append({tools!r})
import legible

legible.check_all()
"""


def install_library(packages: Path) -> None:
    """Build the library's wheel from a copy of its sources, and unpack it into a folder.

    Parameters
    ----------
    packages
        The folder, which is made.
    """
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source", Path(folder) / "wheel"
        source.mkdir()
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, source)
        shutil.copytree(ROOT / "vae_lib", source / "vae_lib", ignore=shutil.ignore_patterns("__pycache__"))
        pip = [sys.executable, "-m", "pip"]
        subprocess.run([*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(target), str(source)], check=True)
        (wheel,) = target.glob("vae_lib-*.whl")
        subprocess.run(
            [*pip, "install", "-q", "--no-deps", "--no-warn-conflicts", "--target", str(packages), str(wheel)], check=True
        )


def offline(folder: Path) -> dict[str, str]:
    """Return an environment in which MNIST is nowhere to be had: every connection is refused.

    Parameters
    ----------
    folder
        Where nothing is.
    """
    environment = {name: value for name, value in os.environ.items() if name != "VAE_LIB_MNIST"}
    refused = "http://127.0.0.1:9"
    return {**environment, "KERAS_HOME": str(folder / "empty"), "http_proxy": refused, "https_proxy": refused, "no_proxy": ""}


def disguise(folder: Path, packages: Path) -> dict[str, str]:
    """Make a Python believe that it is on Colab; return the variables that do it.

    Parameters
    ----------
    folder
        Where IPython's start-up may stand.
    packages
        A folder of packages.
    """
    (packages / "google" / "colab").mkdir(parents=True, exist_ok=True)
    (packages / "google" / "colab" / "__init__.py").touch()
    startup = folder / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "colab.py").write_text(STARTUP, encoding="utf-8")
    return {"PYTHONPATH": str(packages), "IPYTHONDIR": str(folder / "ipython")}


def put_alone(chapter: Path, folder: Path, packages: Path) -> Path:
    """Copy a chapter's notebook into an empty folder, with one more cell, which checks where it ran and how it looks.

    Parameters
    ----------
    chapter
        The .ipynb.
    folder
        Where the chapter's own folder is made.
    packages
        From where the library has to come.
    """
    target = folder / chapter.stem / chapter.name
    target.parent.mkdir(parents=True)
    notebook = nbformat.read(chapter, as_version=4)  # type: ignore[no-untyped-call]
    notebook.cells.append(nbformat.v4.new_code_cell(LAST_CELL.format(packages=str(packages), tools=str(ROOT / "tools"))))  # type: ignore[no-untyped-call]
    nbformat.write(notebook, target)  # type: ignore[no-untyped-call]
    return target


def main() -> None:
    """Run the chapters that are named, or all; exit code 1 if a cell fails or a chapter leaves files behind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chapters", nargs="*", help="names such as derivation; by default all")
    names = parser.parse_args().chapters
    with tempfile.TemporaryDirectory() as place:
        folder, packages = Path(place) / "chapters", Path(place) / "packages"
        install_library(packages)
        environment = {**offline(Path(place)), **disguise(Path(place), packages)}
        chapters = [path.with_suffix(".ipynb") for path in notebooks.chapters() if not names or path.stem in names]
        copies = [put_alone(chapter, folder, packages) for chapter in chapters]
        options = ["-p", "nbval", "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=600", "--timeout=900"]
        where = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder), "-p", "no:cacheprovider", "--durations=8"]
        two_at_once = ["-n", "2", "--dist", "loadfile"]
        command = [sys.executable, "-m", "pytest", *options, *where, *two_at_once, *map(str, copies)]
        code = subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
        left = [path for copy in copies for path in copy.parent.iterdir() if path != copy]
    for path in left:
        print(f"the chapter {path.parent.name} left {path.name} behind")
    sys.exit(1 if code or left else 0)


if __name__ == "__main__":
    main()
