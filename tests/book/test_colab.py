"""Each chapter alone, in an empty folder, with the library from its wheel, where Python believes that it is on Colab."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
# IPython runs this before the first cell, as Colab's own start-up does
STARTUP = "import google.colab\n"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library as Colab gets it: built from the tree, without the tree."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "vae_lib", source / "vae_lib", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(target), str(source)]
    subprocess.run(command, check=True)
    (built,) = target.glob("vae_lib-*.whl")
    return built


def disguise(packages: Path) -> None:
    """Put into a folder of packages what makes a Python believe that it is on Colab."""
    (packages / "google" / "colab").mkdir(parents=True)
    (packages / "google" / "colab" / "__init__.py").touch()


@pytest.fixture(scope="session")
def packages(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Colab's packages as far as they matter: its own, and the library as the set-up cell installs it."""
    target = tmp_path_factory.mktemp("packages")
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-warn-conflicts",
        "--target",
        str(target),
        str(wheel),
    ]
    subprocess.run(install, check=True)
    disguise(target)
    return target


@pytest.fixture
def colab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and IPython's start-up of Colab beside it; returns the folder."""
    profile, empty = tmp_path / "ipython", tmp_path / "empty"
    startup = profile / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "colab.py").write_text(STARTUP)
    empty.mkdir()
    monkeypatch.setenv("IPYTHONDIR", str(profile))
    return empty


def execute(path: Path, folder: Path, extra: str = "") -> nbformat.NotebookNode:
    """Run a copy of a notebook in a folder where there is nothing else."""
    copied = Path(shutil.copy(path, folder))
    notebook = nbformat.read(copied, as_version=4)
    if extra:
        notebook.cells.append(nbformat.v4.new_code_cell(extra))
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    return notebook


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_chapter_runs_alone_in_colab(path: Path, colab: Path, packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(packages))
    where = "import sys, json, vae_lib\nprint(json.dumps([vae_lib.__file__, 'google.colab' in sys.modules]))"
    notebook = execute(path, colab, extra=where)
    file, disguised = json.loads(notebook.cells[-1].outputs[-1].text)
    assert Path(file).is_relative_to(packages), "the library came from the tree, not from the wheel"
    assert disguised
    assert os.listdir(colab) == [path.name], "a chapter left files behind"


def test_without_an_address_the_setup_cell_says_what_to_do(colab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Colab before the owner has set the address: the library is not there, and cannot be fetched."""
    config = (ROOT / "_config.yml").read_text(encoding="utf-8")
    hidden = colab.parent / "packages" / "sitecustomize.py"
    disguise(hidden.parent)
    monkeypatch.setenv("PYTHONPATH", str(hidden.parent))
    # hide the installed library from find_spec, in the kernel alone
    hidden.write_text(
        "import importlib.util as util\n"
        "find = util.find_spec\n"
        "util.find_spec = lambda name, *rest: None if name == 'vae_lib' else find(name, *rest)\n"
    )
    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    setup = next(cell for cell in notebook.cells if cell.cell_type == "code")
    unset = "OWNER" + "_NOT_SET"
    # a copy of the book whose owner has set the address is told apart by putting the placeholder back
    setup.source = setup.source.replace(_address(config), f"https://github.com/{unset}/vae-book")
    notebook.cells = [setup]
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(colab)}})
    with pytest.raises(
        CellExecutionError, match=r"(?s)does not know its own address.*pip install --no-deps git.*make repository URL"
    ) as error:
        client.execute()
    assert "RuntimeError" in str(error.value)


def _address(config: str) -> str:
    return next(line.split()[-1] for line in config.splitlines() if line.strip().startswith("url: "))
