"""Build the book into _build/html: `build.py`, or `build.py --strict`, in which every warning is an error."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import bootstrap
import notebooks
import state
from book_extension import DATA_VARIABLE

ROOT = Path(__file__).parent.parent
VENDOR = ROOT / "_build" / "front" / "vendor"
NOISE = re.compile(r"^[IWE]0000 |All log messages before absl::InitializeLog|NbParserConfig\(|^\[IPKernelApp\] WARNING")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
COMMAND = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()", "build", str(ROOT)]
DISK_NEEDED = 500 * 1000**2


def vendor_sources() -> dict[str, Path]:
    """Return where each third-party file of the published pages comes from, by its place below vendor/."""
    import anywidget

    modules = ROOT / "node_modules"
    mathjax = modules / "mathjax" / "es5"
    manager = modules / "@jupyter-widgets" / "html-manager" / "dist"
    return {
        "requirejs/require.js": modules / "requirejs" / "require.js",
        "html-manager/embed-amd.js": manager / "embed-amd.js",
        "html-manager/embed-amd.js.LICENSE.txt": manager / "embed.js.LICENSE.txt",
        **{f"html-manager/{font.name}": font for font in manager.glob("*.woff2")},
        "anywidget/index.js": Path(anywidget.__file__).parent / "nbextension" / "index.js",
        "mathjax/tex-mml-chtml.js": mathjax / "tex-mml-chtml.js",
        "mathjax/a11y": mathjax / "a11y",
        "mathjax/input": mathjax / "input",
        "mathjax/output/chtml": mathjax / "output" / "chtml",
        "mathjax/sre": mathjax / "sre",
        "mathjax/ui": mathjax / "ui",
    }


def collect_vendor_files() -> None:
    """Copy the browser libraries from their packages, if they are not there in these versions."""
    sources = vendor_sources()
    wanted = hashlib.sha256((ROOT / "package-lock.json").read_bytes() + (ROOT / "requirements.txt").read_bytes()).hexdigest()
    stamp = VENDOR / ".complete"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    shutil.rmtree(VENDOR, ignore_errors=True)
    for place, source in sources.items():
        target = VENDOR / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
    stamp.write_text(wanted)


def data_name() -> str:
    """Find or fetch MNIST before anything is executed; "digits" if it cannot be had."""
    from vae_lib.data import load_mnist

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = load_mnist(fallback=True)
    for warning in caught:
        print(f"· {warning.message}")
    print(f"· data: {data.source}", flush=True)
    return "mnist" if data.is_mnist else "digits"


def run_quietly(command: list[str], environment: dict[str, str]) -> tuple[int, list[str]]:
    """Run a command and show what it prints, less what each start of a kernel says; return its exit code and its lines."""
    lines = []
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace"
    ) as process:
        for line in process.stdout or ():
            lines.append(_COLOUR.sub("", line.rstrip("\n")))
            if not NOISE.search(line):
                print(line, end="", flush=True)
    return process.returncode, lines


def explain(lines: list[str]) -> str:
    """Say which chapter a failed build stopped at, and why; empty if it was none."""
    began = [
        (i, found[1]) for i, line in enumerate(lines) if (found := re.search(r"(book/[\w-]+\.md): Executing notebook", line))
    ]
    if not began:
        return ""
    last, chapter = began[-1]
    after = lines[last:]
    if any("DeadKernelError" in line for line in after):
        return f"{chapter}: its kernel died, of too little memory or of a fault in compiled code."
    if any("CellTimeoutError" in line for line in after):
        return f"{chapter}: a cell took longer than execute: timeout: in _config.yml allows."
    if any("CellExecutionError" in line for line in after):
        raised = [line for line in after if re.match(r"[A-Z]\w*(Error|Exception|Interrupt|Warning|Exit)(:|$)", line)]
        return f"{chapter}: a cell raised {raised[0] if raised else 'an error'}"
    return ""


def build(*, strict: bool) -> int:
    """Execute what has changed, write the pages, and return the exit code."""
    free = shutil.disk_usage(ROOT).free
    if free < DISK_NEEDED:
        print(f"Build stopped: expected {DISK_NEEDED / 1e9:.1f} GB of free disk space, got {free / 1e9:.1f} GB; free some.")
        return 1
    os.environ.update(bootstrap.writable_home())
    with bootstrap.alone(".build.lock", "another build"):
        return build_alone(strict=strict)


def build_alone(*, strict: bool) -> int:
    """Build, while no other process builds in this tree."""
    state.clean_up()
    with state.marked() as outcome:
        notebooks.sync()
        collect_vendor_files()
        code, lines = run_sphinx(strict=strict)
        if code and any("pickle" in line.lower() or line.startswith("EOFError") for line in lines):
            print("· what an earlier build left was damaged: everything but executed chapters is made anew", flush=True)
            state.remove_pages()
            code, lines = run_sphinx(strict=strict)
        outcome["finished"] = code == 0
    if code == 0:
        print(f"\nThe book is ready. Open it in a browser:\n  {(ROOT / '_build' / 'html' / 'index.html').as_uri()}")
    else:
        short = explain(lines) or "see the warnings and errors"
        print(f"\nThe build failed with exit code {code}; the reason stands above. In short:\n  {short}")
    return code


def environment() -> dict[str, str]:
    """Return the variables under which chapters are executed."""
    return {**os.environ, DATA_VARIABLE: data_name(), "PYTHONWARNINGS": "ignore", "TF_CPP_MIN_LOG_LEVEL": "3"}


def run_sphinx(*, strict: bool) -> tuple[int, list[str]]:
    """Execute what has changed and write the pages; return the exit code and what was printed."""
    return run_quietly([*COMMAND, *(["-W", "-n", "--keep-going"] if strict else [])], environment())


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strict", action="store_true", help="every warning is an error")
    try:
        sys.exit(build(strict=parser.parse_args().strict))
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. Run make book again: chapters that were finished are not executed again.")


if __name__ == "__main__":
    main()
