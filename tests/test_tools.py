"""The tools around the book: set-up that says what is wrong, notebooks in step, one address."""

from __future__ import annotations

import contextlib
import inspect
import shutil
import sqlite3
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
import yaml
from pybtex.database import parse_file

import vae_lib
from vae_lib import config, evaluation

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import bootstrap  # noqa: E402 -- tools/ is no package
import browser  # noqa: E402
import build  # noqa: E402
import environments  # noqa: E402
import extra  # noqa: E402
import mutation  # noqa: E402
import notebooks  # noqa: E402
import release  # noqa: E402
import state  # noqa: E402

PLACEHOLDER = "OWNER" + "_NOT_SET"
Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize("version", [(3, 8, 18), (3, 10, 0), (3, 14, 0)])
def test_a_python_that_does_not_serve_is_named(monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int]) -> None:
    monkeypatch.setattr(bootstrap.sys, "version_info", version)
    monkeypatch.setattr(bootstrap.shutil, "which", lambda _: None)
    with pytest.raises(SystemExit, match=rf"expected Python 3\.11 to 3\.13.*got 3\.{version[1]} at .*\n.*make PYTHON="):
        bootstrap.suitable_python()


def test_another_python_on_the_path_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap.sys, "version_info", (3, 9, 0))
    monkeypatch.setattr(bootstrap.shutil, "which", lambda name: sys.executable if name == "python3.12" else None)
    assert bootstrap.suitable_python() == sys.executable


def test_a_full_disk_is_named_before_anything_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap.shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 10**8))
    with pytest.raises(SystemExit, match=r"expected at least 4\.0 GB of free disk space.*got 0\.1 GB"):
        bootstrap.check_disk()


def test_a_full_disk_stops_the_build(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(build.shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 10**8))
    assert build.build(strict=True) == 1
    assert "expected 0.5 GB of free disk space, got 0.1 GB" in capsys.readouterr().out


def test_a_failing_step_shows_its_output_and_how_to_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"counting failed with exit code 3.*Run make again"):
        bootstrap.run("counting", [sys.executable, "-c", "print('one, two'); raise SystemExit(3)"])
    assert "one, two" in capsys.readouterr().out


def test_a_changed_style_sheet_makes_pages_stale(tmp_path: Path) -> None:
    for name in ("_config.yml", "_toc.yml", "requirements.txt", "package-lock.json"):
        (tmp_path / name).touch()
    (tmp_path / "book" / "front").mkdir(parents=True)
    style = tmp_path / "book" / "front" / "book.css"
    style.write_text("a {}")
    before = state.key(tmp_path)
    assert state.key(tmp_path) == before
    style.write_text("b {}")
    assert state.key(tmp_path) != before


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A tree of which a strict build has ended well, with two pages and a script."""
    for name in ("_config.yml", "_toc.yml", "requirements.txt", "package-lock.json"):
        (tmp_path / name).touch()
    html = tmp_path / "_build" / "html"
    (html / "_static" / "vendor").mkdir(parents=True)
    for name in ("index.html", "other.html", "_static/vendor/widgets.js"):
        (html / name).write_text(f"this is {name}")
    (tmp_path / "_build" / ".doctrees").mkdir()
    with state.marked(tmp_path, strict=True) as outcome:
        outcome["finished"] = True
    return tmp_path


def cut(path: Path) -> None:
    path.write_bytes(b"")


def turn_one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["index.html", "_static/vendor/widgets.js"])
@pytest.mark.parametrize("damage", [cut, Path.unlink, turn_one_bit])
def test_a_page_or_script_that_is_damaged_is_noticed_and_written_anew(
    built: Path, capsys: pytest.CaptureFixture[str], name: str, damage: Callable[[Path], None]
) -> None:
    state.clean_up(built, strict=True)
    assert (built / "_build" / "html" / "index.html").exists()
    assert capsys.readouterr().out == ""
    damage(built / "_build" / "html" / name)
    state.clean_up(built, strict=True)
    assert not (built / "_build" / "html").exists()
    assert not (built / "_build" / ".doctrees").exists()
    expected = f"1 of the 3 files of an earlier build were damaged or deleted, {name} first: the pages are written anew"
    assert expected in capsys.readouterr().out


def test_what_is_added_to_the_pages_afterwards_is_no_damage(built: Path) -> None:
    html = built / "_build" / "html"
    (html / "book.pdf").write_bytes(b"%PDF")
    state.clean_up(built, strict=True)
    assert html.exists()
    (html / "other.html").write_text("with a link to the PDF")
    state.record(built)
    state.clean_up(built, strict=True)
    assert html.exists()
    (html / "book.pdf").unlink()
    state.clean_up(built, strict=True)
    assert not html.exists()


def test_a_build_that_did_not_end_well_stays_one_when_pages_are_added(built: Path) -> None:
    with state.marked(built, strict=True):
        state.record(built)
    state.clean_up(built, strict=True)
    assert not (built / "_build" / "html").exists()


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "3", "null", "{}", '"finished"', "{not JSON", "[" * 100_000, '{"finished": true}', '{"outputs": []}',
        '{"outputs": {"a": 1}}',
    ],
)  # fmt: skip
def test_a_note_that_is_none_leads_to_a_rebuild(built: Path, capsys: pytest.CaptureFixture[str], content: str) -> None:
    (built / "_build" / "state.json").write_text(content)
    state.record(built)
    state.clean_up(built)
    assert not (built / "_build" / "html").exists()
    assert "an earlier build left no note of itself: the pages are written anew" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "3", "[]", "null", "[" * 100_000, "\xff"])
def test_a_damaged_notebook_in_the_cache_is_noticed(tmp_path: Path, content: str) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "global.db")) as connection:
        connection.execute("CREATE TABLE nbcache (pk INTEGER)")
    notebook = tmp_path / "executed" / "one" / "base.ipynb"
    notebook.parent.mkdir(parents=True)
    notebook.write_text('{"cells": []}')
    assert state.whole(tmp_path)
    notebook.write_text(content, encoding="latin-1")
    assert not state.whole(tmp_path)


def test_a_stamp_that_is_no_text_is_no_stamp(tmp_path: Path) -> None:
    stamp = tmp_path / "stamp"
    bootstrap.mark_done(str(stamp), "wanted")
    assert bootstrap.is_done(str(stamp), "wanted")
    stamp.write_bytes(b"\xff\xfe")
    assert not bootstrap.is_done(str(stamp), "wanted")


def test_vendored_files_that_were_damaged_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    def make(target: Path) -> dict[str, str]:
        made.append(target)
        (target / "widgets.js").write_text("a script")
        (target / "more").mkdir()
        (target / "more" / "widgets.css").write_text("a style")
        return {}

    for name in ("tools", "package-lock.json", "requirements.txt"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "VENDOR", tmp_path / "_build" / "front" / "vendor")
    monkeypatch.setattr(build, "vendor_libraries", make)
    monkeypatch.setattr(build.vendor, "verify", lambda *_: None)
    for _ in range(2):
        build.collect_vendor_files()
    assert len(made) == 1
    for damage in (cut, Path.unlink, turn_one_bit):
        for name in ("widgets.js", "more/widgets.css", "libraries.json"):
            made.clear()
            damage(build.VENDOR / name)
            build.collect_vendor_files()
            assert len(made) == 1, (damage, name)
    assert [path.name for path in (tmp_path / "_build" / "front").iterdir()] == ["vendor"]  # all of it goes into the pages


def test_a_page_of_the_table_of_contents_that_is_missing_or_empty_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "ROOT", tmp_path)
    (tmp_path / "_toc.yml").write_text("root: index\nchapters:\n  - file: one\n  - file: two\n")
    html = tmp_path / "_build" / "html"
    html.mkdir(parents=True)
    (html / "index.html").write_text("a page")
    (html / "two.html").touch()
    assert build.missing_pages() == ["one", "two"]


def test_a_missing_browser_fails_and_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[list[list[str]]] = []
    monkeypatch.setattr(browser, "installed", lambda _: iter(["/nonexistent/browser"]))
    monkeypatch.setattr(browser, "_attempt", attempts.append)
    monkeypatch.setattr(browser.shutil, "which", lambda _: "/usr/bin/apt-get")
    monkeypatch.setattr(browser.os, "geteuid", lambda: 0)
    with pytest.raises(SystemExit, match=r"found none.*\n.*apt-get install chromium.*CHROME_PATH"):
        browser.find()
    assert [commands[-1][:2] for commands in attempts] == [[sys.executable, "-m"], ["apt-get", "install"]]
    with pytest.raises(SystemExit, match=r"found none.*\n.*apt-get install firefox-esr.*FIREFOX_PATH"):
        browser.find("firefox")
    assert [commands[-1][-1] for commands in attempts[2:]] == ["firefox-esr"]


def test_without_rights_the_system_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[list[list[str]]] = []
    monkeypatch.setattr(browser, "installed", lambda _: iter([]))
    monkeypatch.setattr(browser, "_attempt", attempts.append)
    monkeypatch.setattr(browser.os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit):
        browser.find()
    assert len(attempts) == 1  # Playwright's download needs no rights


def test_each_chapter_has_its_notebook_in_step_and_without_outputs(
    copy_of_book: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chapters = notebooks.chapters(copy_of_book)
    assert len(chapters) >= 4
    notebooks.sync(copy_of_book)
    assert capsys.readouterr().out == "", "run make sync, and commit what it writes"
    assert {path.with_suffix(".ipynb") for path in chapters} == set((copy_of_book / "book").glob("*.ipynb"))
    for chapter in chapters:
        notebook = nbformat.read(chapter.with_suffix(".ipynb"), as_version=4)
        nbformat.validate(notebook)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_a_changed_sentence_changes_the_notebook_and_no_cell_id(copy_of_book: Path) -> None:
    chapter = copy_of_book / "book" / "index.md"
    target = chapter.with_suffix(".ipynb")
    before = nbformat.read(target, as_version=4)
    chapter.write_text(chapter.read_text(encoding="utf-8").replace("Move it slowly.", "Move it very slowly."), encoding="utf-8")
    notebooks.sync(copy_of_book)
    after = nbformat.read(target, as_version=4)
    changed = [(a, b) for a, b in zip(before.cells, after.cells, strict=True) if a.source != b.source]
    assert len(changed) == 1
    code = [[cell.id for cell in book.cells if cell.cell_type == "code"] for book in (before, after)]
    assert code[0] == code[1]


def setup_cells(root: Path) -> dict[str, str]:
    """Return the first code cell of each chapter's notebook."""
    books = {path.stem: nbformat.read(path, as_version=4) for path in sorted((root / "book").glob("*.ipynb"))}
    return {name: next(cell.source for cell in book.cells if cell.cell_type == "code") for name, book in books.items()}


def test_the_setup_cell_is_the_same_everywhere_and_holds_the_address_of_the_configuration() -> None:
    cells = setup_cells(ROOT)
    assert len(set(cells.values())) == 1
    address = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]
    assert f'repository = "{address}"' in next(iter(cells.values()))


def test_make_repository_leaves_no_old_address_behind(copy_of_book: Path) -> None:
    old, new = notebooks.repository_url(copy_of_book), "https://github.com/someone-else/another-book"
    notebooks.set_repository(new + ".git", copy_of_book)
    assert notebooks.repository_url(copy_of_book) == new
    for path in copy_of_book.rglob("*"):
        if path.is_file() and ".git" not in path.parts:
            text = path.read_bytes().decode("utf-8", errors="ignore")
            assert old not in text, path
            if path.suffix in (".ipynb", ".md", ".yml", ".toml", ".cff"):
                assert PLACEHOLDER + "/" not in text, path
    assert all(f'repository = "{new}"' in cell for cell in setup_cells(copy_of_book).values())


@pytest.mark.parametrize(
    "url", ["", "github.com/a/b", "http://github.com/a/b", "https://github.com/a", "https://github.com/a/b/c d"]
)
def test_make_repository_refuses_what_is_no_address(copy_of_book: Path, url: str) -> None:
    with pytest.raises(SystemExit, match="URL: expected an address such as"):
        notebooks.set_repository(url, copy_of_book)


def test_the_execution_cache_follows_the_library_the_requirements_and_the_data(
    copy_of_book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import book_extension

    monkeypatch.setattr(book_extension, "ROOT", copy_of_book)
    monkeypatch.setenv(book_extension.DATA_VARIABLE, "mnist")
    keys = [book_extension.execution_key()]
    (copy_of_book / "book" / "index.md").write_text("# Another\n")
    assert book_extension.execution_key() == keys[0], "a chapter's text has its own place in the cache"
    for name in ("vae_lib/gaussian.py", "vae_lib/widgets/network.js", "requirements.txt"):
        with (copy_of_book / name).open("a") as file:
            file.write("\n")
        keys.append(book_extension.execution_key())
    monkeypatch.setenv(book_extension.DATA_VARIABLE, "digits")
    keys.append(book_extension.execution_key())
    assert len(set(keys)) == len(keys)


def test_the_page_of_the_library_names_types_in_few_words() -> None:
    import book_extension

    names = vars(config) | vars(evaluation)
    for annotation, expected in (
        ("int | None", "int | None"),
        ("tuple[int, ...]", "tuple[int, ...]"),
        ("NDArray[np.float32] | None", "NDArray[float32] | None"),
        ("Floats", "NDArray[floating]"),
        ("Activation", "'relu' | 'tanh'"),
        ("Literal['float32', 'float16']", "'float32' | 'float16'"),
        ("Sequence[keras.callbacks.Callback]", "Sequence[Callback]"),
        ("ArrayLike | None", "array | None"),
        ("Mapping[float, Any]", ""),
    ):
        assert book_extension.short_type(annotation, names) == expected


def test_arguments_that_are_explained_together_share_a_type_and_results_of_the_library_are_links() -> None:
    import book_extension

    for name, expected in (
        ("aggregate_log_prob", ["z : NDArray[floating]", "mu, log_var : NDArray[floating]", "ndarray"]),
        ("elbo", ["vae : VAE", "labels", "samples : int", ":class:`~vae_lib.ElboTerms`"]),
        ("Dataset", ["x_train, x_test : NDArray[float32]", "source : str"]),
    ):
        thing = getattr(vae_lib, name)
        lines = (inspect.getdoc(thing) or "").splitlines()
        what = "class" if inspect.isclass(thing) else "function"
        book_extension.name_types(None, what, name, thing, None, lines)
        assert [line for line in lines if line in expected] == expected


def test_a_release_sets_its_version_everywhere(copy_of_book: Path) -> None:
    release.set_version("7.8.9", "2030-01-02", copy_of_book)
    texts = {
        name: (copy_of_book / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "CITATION.cff", "CHANGELOG.md")
    }
    assert 'version = "7.8.9"' in texts["pyproject.toml"]
    assert "version: 7.8.9\ndate-released: 2030-01-02" in texts["CITATION.cff"]
    assert "## Unreleased\n\n## 7.8.9, 2030-01-02\n\n- " in texts["CHANGELOG.md"]
    assert '__version__ = "7.8.9"' in (copy_of_book / "vae_lib" / "__init__.py").read_text(encoding="utf-8")
    with pytest.raises(SystemExit, match="expected entries under '## Unreleased', found none"):
        release.set_version("7.8.10", "2030-01-03", copy_of_book)


@pytest.mark.parametrize("version", ["", "1.2", "v1.2.3", "1.2.3; rm"])
def test_a_release_needs_a_version(copy_of_book: Path, version: str) -> None:
    with pytest.raises(SystemExit, match=r"VERSION: expected three numbers such as 1\.2\.0"):
        release.set_version(version, "2030-01-02", copy_of_book)


@pytest.fixture
def copy_of_book(tmp_path: Path) -> Path:
    """The tracked texts in a git checkout of their own."""
    target = tmp_path / "copy"
    for name in ("book", "vae_lib", "tools", "tests", ".github"):
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":  # a file in a linked worktree, whose index git would change
            shutil.copy(path, target)
    for command in (["git", "init", "-q"], ["git", "add", "-A"]):
        subprocess.run(command, cwd=target, check=True)
    return target


class Change(NamedTuple):
    """A change as Cosmic Ray describes it."""

    start_pos: tuple[int, int]
    end_pos: tuple[int, int]
    operator_name: str = "operator"
    occurrence: int = 0


SOURCE = """\
from __future__ import annotations
if TYPE_CHECKING:
    import numpy as np
def f(x: int | None, y: float = 1 + 2) -> str | None:
    size: int | str = 3 * x
    if x < 0:
        raise ValueError(f"x: expected {x + 1}")
    return size - 1  # pragma: no mutate
    return list(zip(x, y, strict=True)) == True
"""


def test_annotations_messages_and_marked_lines_are_left_as_they_are() -> None:
    left_out = mutation.untried(SOURCE)

    def tried(line: int, text: str) -> bool:
        place = (line, SOURCE.splitlines()[line - 1].index(text))
        return not any(start <= place < end for start, end in left_out)

    assert [text for line, text in [(4, "1 + 2"), (5, "3 * x"), (6, "< 0"), (9, "== True")] if not tried(line, text)] == []
    untouched = [(3, "import"), (4, "int | None"), (4, "str | None"), (5, "int | str"), (7, "x + 1"), (8, "- 1"), (9, "True))")]
    assert [text for line, text in untouched if tried(line, text)] == []


def test_each_place_is_drawn_once_and_the_same_seed_draws_the_same() -> None:
    changes = [Change((line, 4), (line, 6), name) for line in range(10, 40) for name in ("one", "two", "three")]
    drawn = mutation.sample(changes, SOURCE, 12, "a week")
    assert len({change.start_pos for change in drawn}) == len(drawn) == 12
    assert mutation.sample(reversed(changes), SOURCE, 12, "a week") == drawn
    assert mutation.sample(changes, SOURCE, 12, "another week") != drawn
    assert len({change.operator_name for change in drawn}) > 1
    assert len(mutation.sample(changes, SOURCE, 1000, "a week")) == 30


@pytest.mark.parametrize(("survivors", "code"), [(0, 0), (1, 0), (2, 1)])
def test_a_score_below_the_floor_fails_and_shows_what_survived(
    capsys: pytest.CaptureFixture[str], survivors: int, code: int
) -> None:
    outcomes = [mutation.Outcome("tiny", "survived", f"change {number}") for number in range(survivors)]
    outcomes += [mutation.Outcome("data", "timeout", "")] + [mutation.Outcome("data", "killed", "")] * (19 - survivors)
    assert mutation.report(outcomes, 95) == code
    printed = capsys.readouterr().out
    assert printed.count("survived in tiny:\nchange") == survivors
    assert f"mutation score {100 - 5 * survivors:.1f} %, expected at least 95 %: {'FAILED' if code else 'passed'}" in printed


def test_no_outcome_is_no_success() -> None:
    assert mutation.report([], 95) == 1


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree in which an environment of a small package can be made."""
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "more.txt").write_text("# a list\nsmall==1.0\n")
    (tmp_path / "requirements.txt").write_text("")
    monkeypatch.setattr(extra, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "ROOT", str(tmp_path))
    return tmp_path


def test_an_environment_that_cannot_be_made_says_what_to_do(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extra.shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 10**8))
    with pytest.raises(SystemExit, match=r"expected 8\.0 GB of free disk space for small==1\.0, got 0\.1 GB; free some"):
        extra.environment("more", "test-more", 8e9)
    monkeypatch.undo()
    monkeypatch.setattr(extra, "ROOT", tree)
    monkeypatch.setattr(bootstrap, "ROOT", str(tree))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tree))
    with pytest.raises(SystemExit, match=r"expected small==1\.0 in _build/more, got exit code \d.*run make test-more again"):
        extra.environment("more", "test-more", 1)
    assert not (tree / "_build" / "more" / "installed").exists()


def test_an_environment_has_what_the_books_has_and_is_made_once(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "tools" / "more.txt").write_text("# nothing more\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    python = extra.environment("more", "test-more", 1)
    asked = "import numpy, pytest, vae_lib; print(vae_lib.__file__)"
    done = subprocess.run([python, "-c", asked], cwd=tree, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == vae_lib.__file__
    assert "installing" in capsys.readouterr().out
    assert extra.environment("more", "test-more", 1) == python
    assert capsys.readouterr().out == ""


BEFORE = "keras==3.13.2\nnumpy==2.1.3\n"


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (BEFORE + "vae-lib @ git+file:///repository@0123abcd\n", []),
        (BEFORE, ["vae-lib is not there"]),
        (BEFORE.replace("2.1.3", "2.4.6") + "vae-lib==0.1.0\n", ["numpy==2.1.3 became numpy==2.4.6"]),
        ("numpy==2.1.3\nvae-lib==0.1.0\n", ["keras==3.13.2 became absent"]),
        (BEFORE + "six==1.17\nvae-lib==0.1.0\n", ["six==1.17 was added"]),
    ],
    ids=["only the library", "nothing", "an upgrade", "a removal", "another package"],
)
def test_a_setup_that_changes_what_colab_brings_is_told(after: str, expected: list[str]) -> None:
    assert environments.changes(BEFORE, after) == expected


def test_the_check_of_colab_takes_the_chapters_own_setup_cell_and_all_chapters() -> None:
    source, address = environments.setup_cell(ROOT / environments.CHAPTERS["colab"][0])
    assert address.startswith("https://")
    assert "--no-deps git+{repository}" in source
    assert {Path(name).stem for name in environments.CHAPTERS["colab"]} == {path.stem for path in ROOT.glob("book/*.ipynb")}


def test_a_chapter_without_setup_cell_is_named(tmp_path: Path) -> None:
    notebook = tmp_path / "chapter.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")]), notebook)
    with pytest.raises(SystemExit, match=r"chapter\.ipynb: expected the set-up cell"):
        environments.setup_cell(notebook)


def test_the_oldest_environment_takes_each_lower_bound() -> None:
    bounds = environments.oldest()
    assert "tensorflow" in bounds
    assert all(set(version) <= set("0123456789.") for version in bounds.values())


def test_each_reference_leads_to_its_source() -> None:
    entries = parse_file(ROOT / "book" / "references.bib").entries
    assert [key for key, entry in entries.items() if not {"doi", "eprint", "url"} & set(entry.fields)] == []
