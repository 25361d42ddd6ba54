"""What goes wrong while a book is built: the builder says what, nothing is left half-done, and the next build recovers by itself.

A book of two small chapters stands in, with the real tools, configuration and library.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import LIMIT_S, ROOT

HEAD = """---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
    format_version: 0.13
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

"""
COPIED = ("tools", "vae_lib", "_config.yml", "jupytext.toml", "package-lock.json", "package.json", "requirements.txt")


class SmallBook:
    """A tree with two chapters, the second of which is exchanged by the tests."""

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self.root, self.environment = root, environment
        for name in COPIED:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, root / name)
        shutil.copytree(ROOT / "book" / "front", root / "book" / "front")
        shutil.copy(ROOT / "book" / "references.bib", root / "book")
        (root / "node_modules").symlink_to(ROOT / "node_modules")
        (root / "_toc.yml").write_text("format: jb-book\nroot: book/index\nchapters:\n  - file: book/other\n")
        self.write("index", "print('one and one is', 1 + 1)")
        self.write("other", "print('well')")

    def write(self, name: str, code: str, text: str = "A sentence.") -> None:
        (self.root / "book" / f"{name}.md").write_text(f"{HEAD}# {name}\n\n{text}\n\n```{{code-cell}} ipython3\n{code}\n```\n")

    def start(self, *options: str, **changes: str) -> subprocess.Popen[str]:
        command = [sys.executable, "tools/build.py", *options]
        environment = {**self.environment, "PYTHONPATH": str(self.root), **changes}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(command, cwd=self.root, env=environment, start_new_session=True, **pipes)  # type: ignore[call-overload, no-any-return]

    def build(self, *options: str, **changes: str) -> tuple[int, str]:
        process = self.start(*options, **changes)
        try:
            printed, _ = process.communicate(timeout=5 * LIMIT_S)  # for what hangs
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return process.returncode, printed

    def write_a_cell_that_waits(self) -> tuple[Path, Path]:
        """Write a cell that makes the first of two files, and goes on once somebody has made the second."""
        begun, end = (self.root / "book" / name for name in ("begun", "end"))
        for file in (begun, end):
            file.unlink(missing_ok=True)
        code = (
            "import os, time\nopen('begun', 'w').close()\nwhile not os.path.exists('end'):\n    time.sleep(0.05)\nprint('slowly')"
        )
        self.write("other", code)
        return begun, end

    def page(self, name: str) -> str:
        return (self.root / "_build" / "html" / "book" / f"{name}.html").read_text(encoding="utf-8")

    def executed(self, printed: str) -> set[str]:
        return set(re.findall(r"book/([\w-]+)\.md: Executed notebook", printed))


def wait_for(file: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a running process has made a file."""
    while not file.exists():
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.05)
            raise AssertionError(f"it ended before it made {file.name}: {process.communicate()[0]}")


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> SmallBook:
    environment = {**os.environ, "KERAS_HOME": str(tmp_path_factory.mktemp("keras")), "MPLBACKEND": "agg"}
    made = SmallBook(tmp_path_factory.mktemp("a book"), environment)
    code, printed = made.build("--strict")
    assert code == 0, printed
    assert made.executed(printed) == {"index", "other"}
    return made


def recovers(book: SmallBook, executed: set[str]) -> str:
    """Put the chapter right and build again; only what had changed is executed."""
    book.write("other", f"print('well again', {time.time_ns()})")
    code, printed = book.build("--strict")
    assert code == 0, printed
    assert book.executed(printed) == executed
    assert "well again" in book.page("other")
    assert "one and one is 2" in book.page("index")
    return printed


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise ValueError('no such digit')", r"book/other\.md: a cell raised ValueError: no such digit"),
        ("import os\nos._exit(3)", r"book/other\.md: its kernel died"),
        ("import time\ntime.sleep(600)", r"book/other\.md: a cell took longer than execute: timeout:"),
    ],
    ids=["raises", "dies", "hangs"],
)
def test_a_cell_that(book: SmallBook, code: str, message: str) -> None:
    config = book.root / "_config.yml"
    text = config.read_text(encoding="utf-8")
    if "sleep" in code:
        config.write_text(re.sub(r"timeout: \d+", "timeout: 3", text, count=1), encoding="utf-8")
    book.write("other", code)
    result, printed = book.build()
    config.write_text(text, encoding="utf-8")
    assert result != 0
    assert re.search(message, printed.splitlines()[-1]), printed[-3000:]
    recovers(book, {"other"})


def test_a_cell_that_prints_a_megabyte_or_a_warning(book: SmallBook) -> None:
    code = "import warnings\nprint('beginning' + 'x' * 1_000_000 + 'end')\nwarnings.warn('careful')"
    book.write("other", code)
    result, printed = book.build()
    assert result == 0, printed
    assert "book/other: a cell prints 1000013 characters; the page shows 20000" in printed
    page = book.page("other")
    assert re.search(r"beginningx+\n\[… 980,013 characters are left out …\]\nx+end", page)
    assert len(page) < 200_000
    assert "UserWarning" not in page
    assert book.build("--strict")[0] != 0, "a strict build does not let it pass"
    recovers(book, {"other"})


def test_what_a_cell_prints_is_text_and_never_markup(book: SmallBook) -> None:
    book.write("other", "print('<script>window.pwned = 1</script><img src=x onerror=alert(1)>')")
    result, printed = book.build("--strict")
    assert result == 0, printed
    assert "&lt;script&gt;window.pwned" in book.page("other")
    assert not re.search(r"<script>window.pwned|<img src=x", book.page("other"))


def test_one_sentence_changes_one_page_and_executes_nothing(book: SmallBook) -> None:
    book.write("other", "print('well')")
    assert book.build("--strict")[0] == 0
    book.write("other", "print('well')", text="Another sentence.")
    start = time.monotonic()
    result, printed = book.build("--strict")
    print(f"a build after one changed sentence: {time.monotonic() - start:.1f} s")
    assert result == 0, printed
    assert book.executed(printed) == set()
    assert "Another sentence." in book.page("other")


def test_a_change_of_the_library_executes_what_imports_it(book: SmallBook) -> None:
    path = book.root / "vae_lib" / "gaussian.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "\n", encoding="utf-8")
    result, printed = book.build("--strict")
    path.write_text(text, encoding="utf-8")
    assert result == 0, printed
    assert book.executed(printed) == {"index", "other"}


def test_killed_in_the_middle(book: SmallBook) -> None:
    begun, _ = book.write_a_cell_that_waits()
    process = book.start()
    wait_for(begun, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    begun.unlink()
    assert "an earlier build did not end well: the pages are written anew" in recovers(book, {"other"})


@pytest.mark.parametrize("damaged", ["cache", "notebook", "doctree", "page"])
def test_what_a_former_build_left_is_damaged(book: SmallBook, damaged: str) -> None:
    recovers(book, {"other"})
    folder = book.root / "_build"
    caches = sorted((folder / ".jupyter_cache").glob("*/global.db"), key=lambda path: path.stat().st_mtime)
    files = {
        "cache": [caches[-1]],
        "notebook": list(caches[-1].parent.glob("executed/*/base.ipynb")),
        "doctree": [*(folder / ".doctrees").rglob("*.doctree"), folder / ".doctrees" / "environment.pickle"],
        "page": [folder / "state.json"],  # as if another version had built
    }[damaged]
    assert files
    for path in files:
        path.write_bytes(b"\x00 not what it was")
    again = {"cache": {"index", "other"}, "notebook": {"index", "other"}, "doctree": {"other"}, "page": {"other"}}[damaged]
    recovers(book, again)


def test_two_builds_at_once_wait_for_each_other(book: SmallBook) -> None:
    begun, end = book.write_a_cell_that_waits()
    first = book.start("--strict")
    wait_for(begun, first)
    second = book.start("--strict")
    assert second.stdout is not None
    waits = "another build is under way in this folder already: waiting for it"
    said = next((line for line in second.stdout if waits in line), "")
    end.touch()
    printed = [process.communicate(timeout=5 * LIMIT_S)[0] for process in (first, second)]
    for file in (begun, end):
        file.unlink()
    assert said, printed
    assert [first.returncode, second.returncode] == [0, 0], printed
    assert "slowly" in book.page("other")


@pytest.mark.parametrize("home", ["missing", "file"])
def test_a_home_that_cannot_be_written_to(book: SmallBook, tmp_path: Path, home: str) -> None:
    (tmp_path / "file").write_text("no folder")
    book.write("other", f"import matplotlib.pyplot, vae_lib\nprint('at home', {time.time_ns()})")
    names = ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME")
    for name in names:
        book.environment.pop(name, None)
    result, printed = book.build("--strict", HOME=str(tmp_path / home / "below"))
    assert result == 0, printed
    assert "at home" in book.page("other")


def test_a_disk_that_is_full_leaves_no_half_page(book: SmallBook) -> None:
    """A limit on the size of files that the system enforces: real errors, in the real places."""
    book.write("other", f"print('x' * 9000, {time.time_ns()})")
    limit = (
        "import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)); "
        "runpy.run_path('tools/build.py', run_name='__main__')"
    )
    environment = {**book.environment, "PYTHONPATH": os.pathsep.join([str(book.root), str(book.root / "tools")])}
    command = [sys.executable, "-c", limit]
    done = subprocess.run(command, cwd=book.root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "File too large" in done.stdout + done.stderr
    recovers(book, {"other"})
