"""The set-up cell of a book that does not know its own address. All chapters as on Colab: tools/alone.py."""

from __future__ import annotations

from pathlib import Path

import alone
import nbformat
import pytest
from conftest import LIMIT_S, ROOT
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))


@pytest.fixture
def colab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and the rest of the disguise beside it; returns the folder."""
    for name, value in alone.disguise(tmp_path, tmp_path / "packages").items():
        monkeypatch.setenv(name, value)
    empty = tmp_path / "empty"
    empty.mkdir()
    return empty


def test_without_an_address_the_setup_cell_says_what_to_do(colab: Path) -> None:
    """As on Colab before the owner has set the address: the library is not there, and cannot be fetched."""
    config = (ROOT / "_config.yml").read_text(encoding="utf-8")
    hidden = colab.parent / "packages" / "sitecustomize.py"
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
    client = NotebookClient(notebook, timeout=LIMIT_S, kernel_name="python3", resources={"metadata": {"path": str(colab)}})
    with pytest.raises(
        CellExecutionError, match=r"(?s)does not know its own address.*pip install --no-deps git.*make repository URL"
    ) as error:
        client.execute()
    assert "RuntimeError" in str(error.value)


def _address(config: str) -> str:
    return next(line.split()[-1] for line in config.splitlines() if line.strip().startswith("url: "))
