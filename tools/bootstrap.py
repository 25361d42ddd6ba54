"""Set up all that the book needs in .venv and node_modules: `python3 bootstrap.py`, with any Python that is installed.

Runs before anything is installed, so it uses the standard library alone, and syntax that an old Python can read, so that it can say
what is wrong with that Python. Each step ends in a stamp with the hash of what it installed: a second run does nothing, and an
interrupted one is taken up again.
"""

import hashlib
import os
import shutil
import subprocess
import sys

OLDEST, NEWEST = (3, 11), (3, 13)
DISK_NEEDED = 4 * 1000**3
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")


def fail(message):
    """Say what is wrong and stop."""
    sys.exit("\nSet-up stopped: " + message)


def suitable_python():
    """Return a Python that the pinned packages support: this one, else another on the PATH."""
    if OLDEST <= sys.version_info[:2] <= NEWEST:
        return sys.executable
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        found = shutil.which("python3.%d" % minor)  # noqa: UP031 -- an old Python must be able to read this
        # a version manager may leave a command that refuses to run
        if found and subprocess.call([found, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            return found
    return fail(
        "expected Python 3.%d to 3.%d (TensorFlow has no packages for others), got %d.%d at %s.\n"  # noqa: UP031
        "Install one of those, or name it: make PYTHON=/path/to/python3.12 book"
        % (OLDEST[1], NEWEST[1], sys.version_info[0], sys.version_info[1], sys.executable)
    )


def check_disk(needed=DISK_NEEDED):
    """Stop if there is too little room, before anything is half-installed."""
    free = shutil.disk_usage(ROOT).free
    if free < needed:
        fail(
            "expected at least %.1f GB of free disk space for the packages, got %.1f GB on the disk of %s.\n"  # noqa: UP031
            "Free some, or clone the repository onto another disk." % (needed / 1e9, free / 1e9, ROOT)
        )


def digest(*names):
    """Return the SHA-256 of files and of the Python that is used."""
    total = hashlib.sha256(sys.version.encode())
    for name in names:
        with open(os.path.join(ROOT, name), "rb") as file:
            total.update(file.read())
    return total.hexdigest()


def is_done(stamp, wanted):
    """Tell whether a step has been finished with the same inputs."""
    try:
        with open(stamp) as file:
            return file.read() == wanted
    except OSError:
        return False


def mark_done(stamp, value):
    """Note that a step is finished."""
    with open(stamp, "w") as file:
        file.write(value)


def run(what, command):
    """Run one step; if it fails, say which, and whether the disk is full."""
    print("· " + what, flush=True)
    # npm looks for node on the PATH, where there need not be another
    path = os.pathsep.join([os.path.join(VENV, "bin"), os.environ.get("PATH", os.defpath)])
    code = subprocess.call(command, cwd=ROOT, env={**os.environ, "PATH": path})
    if code:
        check_disk(500 * 1000**2)
        fail(what + " failed with exit code %d; the reason stands above. Run make again to go on from here." % code)  # noqa: UP031


def install_python_packages():
    """Create .venv with the pinned packages and this library."""
    stamp = os.path.join(VENV, "installed")
    wanted = digest("requirements.txt", "pyproject.toml") + ROOT  # an environment does not survive being moved
    if is_done(stamp, wanted):
        return
    check_disk()
    if not is_done(os.path.join(VENV, "created"), sys.version + ROOT):
        shutil.rmtree(VENV, ignore_errors=True)
        run("creating .venv (on Debian and Ubuntu this needs the package python3-venv)", [sys.executable, "-m", "venv", VENV])
        mark_done(os.path.join(VENV, "created"), sys.version + ROOT)
    pip = [PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "on"]
    run("installing the pinned Python packages (about two minutes)", [*pip, "-r", "requirements.txt"])
    mark_done(stamp, wanted)


def install_browser_libraries():
    """Install the browser libraries that the book serves itself, with the Node that came as a Python package."""
    stamp = os.path.join(ROOT, "node_modules", ".installed")
    wanted = digest("package-lock.json")
    if is_done(stamp, wanted):
        return
    run("installing the browser libraries", [os.path.join(VENV, "bin", "npm"), "ci", "--no-audit", "--no-fund"])
    mark_done(stamp, wanted)


def main():
    """Set up everything, in a Python that can."""
    python = suitable_python()
    if os.path.realpath(python) != os.path.realpath(sys.executable):
        print("· using " + python, flush=True)
        sys.exit(subprocess.call([python, os.path.abspath(__file__)]))
    try:
        install_python_packages()
        install_browser_libraries()
    except OSError as error:
        check_disk(500 * 1000**2)
        fail(str(error))
    except KeyboardInterrupt:
        fail("interrupted. Run make again to go on from here.")


if __name__ == "__main__":
    main()
