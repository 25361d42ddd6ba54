"""What every chapter has: an opening, a summary, whole exercises, short cells, described figures, equations that are used."""

from __future__ import annotations

import itertools
import re
from functools import cache
from pathlib import Path
from typing import Any

import jupytext
import pytest
import yaml

ROOT = Path(__file__).parents[1]
_TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
NOTEBOOKS = [
    name
    for name in (_TOC["root"], *(entry["file"] for entry in _TOC["chapters"]))
    if "\nkernelspec:" in (ROOT / f"{name}.md").read_text(encoding="utf-8")
]
CHAPTERS = [name for name in NOTEBOOKS if name != _TOC["root"]]
MOST_LINES = 18  # of a cell that is neither folded nor part of an exercise; about 15 is the aim


@cache
def cells(name: str) -> list[Any]:
    notebook = jupytext.read(ROOT / f"{name}.md", fmt="md:myst")
    return [cell for cell in notebook.cells if "remove-cell" not in cell.metadata.get("tags", [])]


def prose(name: str) -> str:
    return "\n\n".join(cell.source for cell in cells(name) if cell.cell_type == "markdown")


def is_of_exercise(cell: Any) -> bool:
    return "cellView" in cell.metadata


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_says_what_comes_and_sums_up(name: str) -> None:
    text = prose(name)
    assert re.search(
        r"\A# [A-Z].*?\n\n- \*\*You will\*\* .*?\n- \*\*You will learn\*\* .*?\n- \*\*You need\*\* ", text, flags=re.DOTALL
    )
    assert len(re.findall(r"^# ", text, flags=re.MULTILINE)) == 1
    headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert headings[-2:] == ["Summary", "Exercises"]


def test_each_page_leads_to_the_next_of_the_contents() -> None:
    order = [_TOC["root"], *(entry["file"] for entry in _TOC["chapters"])]
    for name, following in itertools.pairwise(order):
        if name in NOTEBOOKS:
            found = re.findall(r"\[Next\]\(([\w-]+)\.md\)", (ROOT / f"{name}.md").read_text(encoding="utf-8"))
            assert found[-1:] == [Path(following).name], name


@pytest.mark.parametrize("name", CHAPTERS)
def test_exercises_have_a_hint_a_check_and_a_folded_solution(name: str) -> None:
    found = cells(name)
    start = next(i for i, cell in enumerate(found) if re.search(r"^## Exercises$", cell.source, flags=re.MULTILINE))
    rest = found[start:]
    assert [cell.cell_type for cell in rest[:4]] == ["markdown", "code", "code", "code"]
    answers = [cell.source for cell in rest if cell.cell_type == "code" and not is_of_exercise(cell)]
    checks = [cell for cell in rest if cell.source.startswith("# @title Check your answer\n")]
    solutions = [cell for cell in rest if cell.source.startswith("# @title Solution\n")]
    assert 3 <= len(answers) <= 5
    assert len(checks) == len(solutions) == len(answers) == prose(name).count(":::{dropdown} Hint\n")
    for answer, check, solution in zip(answers, checks, solutions, strict=True):
        assert re.match(r"(\w+) = \.\.\.", answer), "the reader's cell leaves the answer open"
        assert "vae_lib.check_answer(" in check.source
        assert "mistakes=" in check.source, "what is wrong is said, too"
        assert "assert vae_lib.check_answer(" in solution.source
        assert check.metadata["tags"] == ["hide-input"]
        assert solution.metadata["tags"] == ["hide-cell"]
        assert check.metadata["cellView"] == solution.metadata["cellView"] == "form"


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_cells_are_short_and_each_has_a_sentence_before_it(name: str) -> None:
    found = cells(name)
    for before, cell in itertools.pairwise(found):
        if cell.cell_type == "code" and not is_of_exercise(cell):
            assert before.cell_type == "markdown", f"no sentence before: {cell.source}"
            assert not before.source.splitlines()[-1].startswith("#"), f"no sentence before: {cell.source}"
            if "hide-input" not in cell.metadata.get("tags", []):
                assert cell.source.count("\n") < MOST_LINES, cell.source


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_each_figure_has_a_caption_and_a_description(name: str) -> None:
    for cell in cells(name):
        if "mystnb" in cell.metadata and "figure" in cell.metadata["mystnb"]:
            assert len(cell.metadata["mystnb"]["figure"]["caption"]) > 60, cell.source
            assert len(cell.metadata["mystnb"]["image"]["alt"]) > 60, cell.source


def test_each_numbered_equation_is_referred_to() -> None:
    text = "\n".join(prose(name) for name in NOTEBOOKS)
    labels = re.findall(r"^\$\$ \(([\w-]+)\)$", text, flags=re.MULTILINE)
    assert len(labels) == len(set(labels))
    assert set(labels) - set(re.findall(r"\{eq\}`([\w-]+)`", text)) == set()
