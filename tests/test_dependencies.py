"""What is imported is declared: each package that a file imports stands in pyproject.toml, for those who run that file."""

from __future__ import annotations

import ast
import functools
import re
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FOLDERS = ("vae_lib", "tools", "tests", "benchmarks")
OURS = {"vae_lib"} | {path.stem for name in FOLDERS for path in (ROOT / name).rglob("*.py")}
# which modules a distribution holds, also where it is not installed: what `make bench` and `make test-backends` fetch
ELSEWHERE = {"jax": "jax", "jaxlib": "jaxlib", "torch": "torch", "optax": "optax", "google": "google-colab"}
COLAB = "google-colab"  # its own machine brings it; the set-up cell asks whether it is there


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(*extras: str) -> set[str]:
    """The names in pyproject.toml, of the library and of extras."""
    needs = [*PROJECT["dependencies"], *(need for extra in extras for need in PROJECT["optional-dependencies"][extra])]
    return {normal(re.match(r"[\w.-]+", need)[0]) for need in needs}  # type: ignore[index]


def fetched(name: str) -> set[str]:
    """The names in a list of requirements of its own."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return {normal(re.match(r"[\w.-]+", line)[0]) for line in lines if re.match(r"\w", line)}  # type: ignore[index]


def imported(source: str) -> set[str]:
    """The top-level modules that a text imports, whether at once or later, less Python's own."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "import_module", "importorskip", "__import__",
        ):  # fmt: skip
            found |= {argument.value.split(".")[0] for argument in node.args[:1] if isinstance(argument, ast.Constant)}
    return found - set(sys.stdlib_module_names)


@functools.cache
def installed() -> Mapping[str, list[str]]:
    """For each module that is installed, the packages that hold it."""
    return packages_distributions()


def distributions(modules: set[str]) -> set[str]:
    """The packages that hold modules; a module that no installed package holds stands for itself."""
    return {normal(ELSEWHERE.get(module) or installed().get(module, [module])[0]) for module in modules - OURS}


def cells(notebook: Path) -> str:
    """The code of a notebook, less the lines that are IPython's."""
    book = nbformat.read(notebook, as_version=4)
    source = "\n".join(cell.source for cell in book.cells if cell.cell_type == "code")
    return re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.MULTILINE)


@pytest.mark.parametrize("path", sorted((ROOT / "vae_lib").rglob("*.py")), ids=lambda path: path.stem)
def test_the_library_imports_what_its_users_get_with_it(path: Path) -> None:
    assert distributions(imported(path.read_text(encoding="utf-8"))) <= declared("jax", "torch")  # where Keras runs on them


@pytest.mark.parametrize("path", sorted((ROOT / "book").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_chapter_imports_what_comes_with_the_library(path: Path) -> None:
    assert distributions(imported(cells(path))) <= declared() | {COLAB}


@pytest.mark.parametrize(
    ("folder", "more"),
    [
        ("tools", declared("book", "test") | fetched("tools/mutation.txt")),
        ("tests", declared("book", "test", "jax", "torch")),
        ("benchmarks", declared("book", "test") | fetched("benchmarks/requirements.txt")),
    ],
)
def test_tools_tests_and_benchmarks_import_what_is_declared_for_them(folder: str, more: set[str]) -> None:
    missing = {
        path.relative_to(ROOT).as_posix(): lacking
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (lacking := distributions(imported(path.read_text(encoding="utf-8"))) - more)
    }
    assert missing == {}


def test_the_tools_that_build_the_book_need_no_more_than_it() -> None:
    """`make book` has to work where nobody tests: its own tools import nothing of the extra `test`."""
    wanted, seen = ["build.py", "book_extension.py", "page_extension.py", "finish_pages.py"], set()
    while wanted:
        name = wanted.pop()
        modules = imported((ROOT / "tools" / name).read_text(encoding="utf-8"))
        seen.add(name)
        wanted += [
            f"{module}.py" for module in modules if (ROOT / "tools" / f"{module}.py").exists() and f"{module}.py" not in seen
        ]
        assert distributions(modules) <= declared("book"), name


def test_what_is_declared_for_the_library_is_imported_by_it_or_by_a_chapter() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "vae_lib").rglob("*.py")]
    modules = {module for text in [*texts, *map(cells, (ROOT / "book").glob("*.ipynb"))] for module in imported(text)}
    assert declared() - distributions(modules) == set()


def test_the_backends_that_are_tested_are_those_that_are_declared() -> None:
    assert fetched("tools/backends.txt") == declared("jax", "torch") - declared()


def test_the_pinned_environment_holds_all_that_is_declared() -> None:
    pinned = {normal(name) for name in re.findall(r"^([\w.-]+)==", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.M)}
    assert declared("book", "test") <= pinned


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import scipy.stats as s, os", {"scipy"}),
        ("def f():\n    from PIL import Image", {"PIL"}),
        ("from . import other", set()),
        ("pytest.importorskip('jax.numpy')", {"jax"}),
        ("from importlib import import_module\nimport_module('torch')", {"torch"}),
        ("if TYPE_CHECKING:\n    import keras", {"keras"}),
    ],
)
def test_the_search_finds_what_it_looks_for(source: str, expected: set[str]) -> None:
    assert imported(source) == expected
