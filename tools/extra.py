"""Environments in _build that add packages to .venv, for checks that the book itself does not need.

Each takes all that is in .venv and adds what a list of requirements names; nothing but its check sees that.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import bootstrap

ROOT = Path(__file__).parent.parent


def environment(name: str, target: str, disk: float) -> str:
    """Create an environment, if it is not there with these versions, and return its Python.

    Parameters
    ----------
    name
        Of the list tools/NAME.txt, and of the folder in _build.
    target
        What to call in the Makefile once it can be made.
    disk
        Bytes that have to be free.

    Raises
    ------
    SystemExit
        If it cannot be made; says what to do.
    """
    folder, listed = ROOT / "_build" / name, ROOT / "tools" / f"{name}.txt"
    stamp, python = str(folder / "installed"), str(folder / "bin" / "python")
    wanted = bootstrap.digest(f"tools/{name}.txt", "requirements.txt")
    with bootstrap.alone(".setup.lock", "the set-up"):
        if bootstrap.is_done(stamp, wanted) and bootstrap.works(python):
            return python
        names = ", ".join(line for line in listed.read_text(encoding="utf-8").splitlines() if "==" in line)
        if (free := shutil.disk_usage(ROOT).free) < disk:
            sys.exit(
                f"expected {disk / 1e9:.1f} GB of free disk space for {names}, got {free / 1e9:.1f} GB; free some: other "
                f"environments are _build/backends, _build/bench, .venv-oldest and .venv-colab"
            )
        print(f"· installing {names} into _build/{name}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        code = subprocess.run([sys.executable, "-m", "venv", str(folder)], check=False).returncode
        if code == 0:
            own = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
            (own / "book.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n", encoding="utf-8")
            pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "-r", str(listed)]
            code = subprocess.run(pip, check=False).returncode
        if code:
            sys.exit(
                f"expected {names} in _build/{name}, got exit code {code}; its reason stands above. Connect to the network and "
                f"run make {target} again; where there is no such version for this machine, name another in tools/{name}.txt"
            )
        bootstrap.mark_done(stamp, wanted)
    return python
