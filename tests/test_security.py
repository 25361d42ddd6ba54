"""Nothing that is loaded is ever executed: no pickle, no Keras archive, no eval, no markup out of data."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = sorted([*(ROOT / "vae_lib").rglob("*.py"), *(ROOT / "tools").glob("*.py")])
SCRIPTS = sorted([*(ROOT / "vae_lib").rglob("*.js"), *(ROOT / "book" / "front").glob("*.js")])
FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "load_model", "unsafe_load", "enable_unsafe_deserialization", "system"}
# what would take data for code or markup in a page
FORBIDDEN_IN_SCRIPTS = re.compile(
    r"\beval\(|new Function\(|\.innerHTML\b|\.outerHTML\b|insertAdjacentHTML|document\.write|srcdoc"
)


def offences(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += [f"line {node.lineno}: imports {name}" for name in names if name.split(".")[0] in FORBIDDEN_MODULES]
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            builtin = isinstance(node.func, ast.Name) or name not in ("compile",)  # re.compile and Keras's are harmless
            if name in FORBIDDEN_CALLS and builtin:
                found.append(f"line {node.lineno}: calls {name}")
            found += [
                f"line {node.lineno}: {keyword.arg}"
                for keyword in node.keywords
                if keyword.arg in ("allow_pickle", "shell")
                and not (isinstance(keyword.value, ast.Constant) and not keyword.value.value)
            ]
    return found


@pytest.mark.parametrize("path", PYTHON, ids=lambda path: path.name)
def test_no_python_of_ours_executes_what_it_loads(path: Path) -> None:
    assert offences(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "np.load(f, allow_pickle=True)",
        "keras.models.load_model(p)",
        "eval(text)",
        "subprocess.run(x, shell=True)",
    ],
)
def test_the_search_finds_what_it_looks_for(code: str) -> None:
    assert offences(ast.parse(code))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_of_ours_takes_data_for_code_or_markup(path: Path) -> None:
    assert FORBIDDEN_IN_SCRIPTS.findall(path.read_text(encoding="utf-8")) == []


def test_archives_are_read_by_the_one_reader_that_checks_them_first() -> None:
    """`np.load` believes what an archive says of its size; `files.Archive` reads no array before its header has been compared."""
    sources = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "vae_lib").rglob("*.py")}
    assert [name for name, text in sources.items() if re.search(r"\bnp\.load\(|\bzipfile\.ZipFile\(", text)] == ["files.py"]
    assert "np.load(" not in sources["files.py"]
    assert {name for name, text in sources.items() if "Archive(" in text} == {"data.py", "weights.py"}


def test_no_file_of_the_library_has_a_name_that_others_can_foresee() -> None:
    for path in sorted((ROOT / "vae_lib").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        assert "getpid" not in text, path
        assert ".partial" not in text or path.name == "files.py", path
