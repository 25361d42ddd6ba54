"""Start a JupyterLab in folders of its own, with one notebook, for tests and benchmarks that need a real one."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat

_STARTING_S = 600  # what takes longer hangs
_SETTINGS: dict[str, dict[str, Any]] = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # cells that are scrolled out of view stay in the page
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
# `jupyterapp` in the page is the application, whose commands a test can call
_COMMAND = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0", "--expose-app-in-browser"]


@contextlib.contextmanager
def serve(home: Path, notebook: Any) -> Iterator[str]:
    """Write a notebook, serve it, and end the server afterwards.

    Parameters
    ----------
    home
        An empty folder; everything that JupyterLab reads or writes lies in it.
    notebook
        From nbformat.

    Yields
    ------
    str
        The address at which it opens, token included.

    Raises
    ------
    RuntimeError
        If the server does not start; with what it said.
    """
    notebook.metadata.setdefault("kernelspec", {"name": "python3", "display_name": "Python 3"})  # else it asks which one
    (home / "work").mkdir()
    nbformat.write(notebook, home / "work" / "notebook.ipynb")  # type: ignore[no-untyped-call]
    for name, settings in _SETTINGS.items():
        file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings), encoding="utf-8")
    own = {f"JUPYTER_{name.upper()}_DIR": str(home / name) for name in ("config", "data", "runtime")}
    own |= {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "IPYTHONDIR": str(home / "ipython")}
    command = [*_COMMAND, f"--ServerApp.root_dir={home / 'work'}"]
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, env={**os.environ, **own}, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield _address(home, server)
    finally:
        server.terminate()
        server.wait(timeout=30)


def _address(home: Path, server: subprocess.Popen[bytes]) -> str:
    """Wait until the server says where it is."""
    end = time.monotonic() + _STARTING_S
    while time.monotonic() < end and server.poll() is None:
        for file in (home / "runtime").glob("jpserver-*.json"):
            if text := file.read_text(encoding="utf-8"):
                known = json.loads(text)
                return f"{known['url']}lab/tree/notebook.ipynb?token={known['token']}"
        time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start:\n{(home / 'log').read_text(encoding='utf-8')}")


def run_all(page: Any, timeout_s: float) -> None:
    """Wait in an opened page until the kernel is there, and run all cells."""
    page.locator(".jp-Notebook .jp-CodeCell").first.wait_for(timeout=1000 * timeout_s)
    idle = "jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
    page.wait_for_function(idle, timeout=1000 * timeout_s)
    page.evaluate("() => jupyterapp.commands.execute('notebook:run-all-cells').then(() => true)")
