"""Set up all that the book needs in .venv and node_modules: `python3 bootstrap.py`, with any Python that is installed.

Runs before anything is installed, so it uses the standard library alone, and syntax that Python 3.6 can read, so that it can say
what is wrong with an old Python. Each step ends in a stamp with the hash of what it installed: a second run does nothing, and an
interrupted one is taken up again.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Dict, Iterator, List, NoReturn  # noqa: UP035 -- for Python 3.6

OLDEST, NEWEST = (3, 11), (3, 13)
DISK_NEEDED = 4 * 1000**3
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")


def fail(message: str) -> NoReturn:
    """Say what is wrong and stop."""
    sys.exit("\nSet-up stopped: " + message)


def suitable_python() -> str:
    """Return a Python that the pinned packages support: this one, else another on the PATH."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return sys.executable
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        # a version manager may leave a command that refuses to run
        if found and subprocess.call([found, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            return found
    fail(
        f"expected Python 3.{OLDEST[1]} to 3.{NEWEST[1]} (TensorFlow has no packages for others), "
        f"got {sys.version_info[0]}.{sys.version_info[1]} at {sys.executable}.\n"
        f"Install one of those, or name it: make PYTHON=/path/to/python3.12 book"
    )


def check_disk(needed: float = DISK_NEEDED) -> None:
    """Stop if there is too little room, before anything is half-installed."""
    free = shutil.disk_usage(ROOT).free
    if free < needed:
        fail(
            f"expected at least {needed / 1e9:.1f} GB of free disk space for the packages, got {free / 1e9:.1f} GB "
            f"on the disk of {ROOT}.\nFree some, or clone the repository onto another disk."
        )


def digest(*names: str) -> str:
    """Return the SHA-256 of files of the tree, and of its place: an environment does not survive being moved."""
    total = hashlib.sha256(ROOT.encode())
    for name in names:
        with open(os.path.join(ROOT, name), "rb") as file:
            total.update(file.read())
    return total.hexdigest()


@contextlib.contextmanager
def alone(name: str, what: str) -> Iterator[None]:
    """Let one process at a time do this in this tree; others say that they wait. The system lets go of it whatever happens."""
    with open(os.path.join(ROOT, name), "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f"· {what} is under way in this folder already: waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_done(stamp: str, wanted: str) -> bool:
    """Tell whether a step has been finished with the same inputs."""
    try:
        with open(stamp) as file:
            return file.read() == wanted
    except (OSError, ValueError):  # a ValueError of what is no text
        return False


def mark_done(stamp: str, value: str) -> None:
    """Note that a step is finished."""
    with open(stamp, "w") as file:
        file.write(value)


def run(what: str, command: List[str], counted: int = 0) -> None:  # noqa: UP006 -- for Python 3.6
    """Run one step; show how many of `counted` packages pip has come to; if it fails, show the end of what it printed."""
    print("· " + what, flush=True)
    # npm looks for node on the PATH, where there need not be another
    path = os.pathsep.join([os.path.join(VENV, "bin"), os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, "PATH": path, **writable_home()}
    lines, parts = [], 0
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
    ) as process:
        for line in process.stdout or ():
            lines.append(line)
            if counted and line.startswith(("Collecting ", "Processing ", "Installing collected")):
                parts += 1
                show_progress(line, parts, counted)
    if counted and sys.stdout.isatty():
        print()
    if process.returncode:
        print("".join(lines[-40:]))
        check_disk(500 * 1000**2)
        fail(f"{what} failed with exit code {process.returncode}; the reason stands above. Run make again to go on from here.")


def show_progress(line: str, parts: int, counted: int) -> None:
    """Show how far pip has come: one line that is redrawn on a terminal, a few lines elsewhere."""
    name = line.split()[1].split("/")[-1].split("==")[0]
    show = f"  {parts} of {counted}: {name}" if parts <= counted else "  unpacking, which takes another minute"
    if sys.stdout.isatty():
        print("\r" + show.ljust(70), end="", flush=True)
    elif parts % 50 == 0 or parts > counted:
        print(show, flush=True)


def writable_home() -> Dict[str, str]:  # noqa: UP006 -- for Python 3.6
    """Return variables that lead npm, pip, Jupyter, Matplotlib and Keras elsewhere where the home folder cannot be written to."""
    try:
        with tempfile.TemporaryFile(dir=os.path.expanduser("~")):
            return {}
    except OSError:
        pass
    place = os.path.join(ROOT, "_build", "home")
    os.makedirs(place, exist_ok=True)
    names = ["IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "KERAS_HOME", "MPLCONFIGDIR"]
    names += ["NPM_CONFIG_CACHE", "PIP_CACHE_DIR", "XDG_CACHE_HOME"]
    return {name: os.environ.get(name) or os.path.join(place, name.lower()) for name in names}


def works(python: str) -> bool:
    """Tell whether a Python is there and starts."""
    try:
        return subprocess.call([python, "-c", "import pip"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    except OSError:
        return False


def install_python_packages() -> None:
    """Create .venv with the pinned packages and this library."""
    stamp = os.path.join(VENV, "installed")
    wanted = digest("requirements.txt", "pyproject.toml")
    if is_done(stamp, wanted) and works(PYTHON):
        return
    check_disk()
    created = os.path.join(VENV, "created")
    if not (is_done(created, ROOT) and works(PYTHON)):
        shutil.rmtree(VENV, ignore_errors=True)
        run("creating .venv (on Debian and Ubuntu this needs the package python3-venv)", [sys.executable, "-m", "venv", VENV])
        mark_done(created, ROOT)
    with open(os.path.join(ROOT, "requirements.txt")) as file:
        counted = sum("==" in line for line in file)
    pip = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check"]
    pinned = [*pip, "--require-hashes", "-r", "requirements.txt"]
    run("installing the pinned Python packages, about two minutes", pinned, counted)
    # apart, for pip wants a hash of everything in one call
    run("installing vae_lib from this folder", [*pip, "--no-deps", "--no-build-isolation", "-e", "."])
    mark_done(stamp, wanted)


def install_browser_libraries() -> None:
    """Install the browser libraries that the book serves itself, with the Node that came as a Python package."""
    stamp = os.path.join(ROOT, "node_modules", ".installed")
    wanted = digest("package-lock.json")
    if is_done(stamp, wanted):
        return
    run("installing the browser libraries", [os.path.join(VENV, "bin", "npm"), "ci", "--no-audit", "--no-fund"])
    mark_done(stamp, wanted)


def main() -> None:
    """Set up everything, in a Python that can."""
    python = suitable_python()
    if os.path.realpath(python) != os.path.realpath(sys.executable):
        print("· using " + python, flush=True)
        sys.exit(subprocess.call([python, os.path.abspath(__file__)]))
    try:
        with alone(".setup.lock", "the set-up"):
            install_python_packages()
            install_browser_libraries()
    except OSError as error:
        check_disk(500 * 1000**2)
        fail(str(error))
    except KeyboardInterrupt:
        fail("interrupted. Run make again to go on from here.")


if __name__ == "__main__":
    main()
