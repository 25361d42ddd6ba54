"""Build the book into _build/html: `build.py`, or `build.py --strict`, in which every warning is an error."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
import warnings
from pathlib import Path
from typing import Any

import bootstrap
import notebooks
import state
import vendor
import yaml
from book_extension import DATA_VARIABLE

ROOT = Path(__file__).parent.parent
VENDOR = ROOT / "_build" / "front" / "vendor"
NOISE = re.compile(r"^[IWE]0000 |All log messages before absl::InitializeLog|NbParserConfig\(|^\[IPKernelApp\] WARNING")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# jsonschema, which nbformat brings, would compile a grammar of addresses that no notebook here needs: a second at each start
WITHOUT_GRAMMAR = "import sys; sys.modules['rfc3987_syntax'] = None"
COMMAND = [sys.executable, "-c", f"{WITHOUT_GRAMMAR}; from jupyter_book.cli.main import main; main()", "build", str(ROOT)]
DISK_NEEDED = 500 * 1000**2
ICONS = [
    "angle-left", "angle-right", "arrow-up", "bars", "circle-half-stroke", "download", "expand", "file", "file-pdf", "github",
    "list", "magnifying-glass", "moon", "rocket", "sun", "xmark",
]  # fmt: skip
SAFE_IN_ADDRESS = "/:=' "


def theme_scripts() -> Path:
    """Return the folder of the scripts that come with the theme."""
    import pydata_sphinx_theme

    return Path(pydata_sphinx_theme.__file__).parent / "theme" / "pydata_sphinx_theme" / "static" / "scripts"


def icons() -> str:
    """Return the theme's icons that the pages use as a style sheet: the theme itself would load all 2,000, in 1.5 MB."""
    script = (theme_scripts() / "fontawesome.js").read_text(encoding="utf-8")
    notice = re.search(r"Font Awesome Free [\d.]+", script)
    rules = [f"/* {notice[0] if notice else 'Font Awesome Free'}, https://fontawesome.com, CC BY 4.0: made by tools/build.py */"]
    boxes = ".fa-solid, .fas, .fa-brands, .fab"
    mask = "mask: var(--icon) center / contain no-repeat"
    rules.append(
        f"{boxes} {{ display: inline-block; width: 1em; height: 1em; background: currentColor; -webkit-{mask}; {mask}; "
        "vertical-align: -0.125em; forced-color-adjust: none; }"
    )
    rules.append(".fa-lg { font-size: 1.25em; line-height: 0.05em; }")
    for name in ICONS:
        found = re.search(rf'[{{,]"?{name}"?:\[(\d+),(\d+),\[[^]]*\],"[0-9a-f]+","([^"]+)"\]', script)
        if found is None:
            raise RuntimeError(f"expected the icon {name} in the theme's fontawesome.js, found none")
        width, height, path = found.groups()
        picture = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width} {height}'><path d='{path}'/></svg>"
        rules.append(f'.fa-{name} {{ --icon: url("data:image/svg+xml,{urllib.parse.quote(picture, safe=SAFE_IN_ADDRESS)}"); }}')
    return "\n".join(rules) + "\n"


def bundle_widget_manager(target: Path) -> None:
    """Join tools/widget_manager.js with the packages that it imports: widgets.js, widgets.css and their licences."""
    import anywidget

    modules = ROOT / "node_modules"
    # anywidget comes as an AMD module: give it the `define` that it calls
    amd = (Path(anywidget.__file__).parent / "nbextension" / "index.js").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        wrapped = Path(folder) / "anywidget.mjs"
        wrapped.write_text(
            "export default (base) => { let made; const define = (_, make) => { made = make(base); };\n"
            + amd
            + "\nreturn made; };\n",
            encoding="utf-8",
        )
        command = [
            str(modules / ".bin" / "esbuild"), str(ROOT / "tools" / "widget_manager.js"), "--bundle", "--minify", "--format=iife",
            "--target=es2022", "--legal-comments=linked", "--log-level=warning", f"--alias:anywidget={wrapped}",
            f"--alias:sanitize-html={ROOT / 'tools' / 'plain_text.js'}", f"--outfile={target / 'widgets.js'}",
            f"--metafile={target / 'inputs.json'}",
        ]  # fmt: skip
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
        subprocess.run(command, cwd=ROOT, env={**os.environ, "PATH": path}, check=True)


def vendor_libraries(target: Path) -> dict[str, Any]:
    """Put into a folder what third parties give to the published pages; return the list of libraries."""
    import anywidget

    fonts = ROOT / "node_modules" / "mathjax" / "es5" / "output" / "chtml" / "fonts" / "woff-v2"
    shutil.copytree(fonts, target / "mathjax" / "fonts", dirs_exist_ok=True)
    (target / "icons.css").write_text(icons(), encoding="utf-8")
    bundle_widget_manager(target)
    metafile = target / "inputs.json"
    used = [ROOT / name for name in json.loads(metafile.read_text(encoding="utf-8"))["inputs"]]
    metafile.unlink()
    return {
        **vendor.npm_libraries([*used, *sorted(fonts.iterdir())]),
        "anywidget": vendor.pip_library("anywidget", [Path(anywidget.__file__).parent / "nbextension" / "index.js"], "MIT"),
        "Font Awesome Free": vendor.pip_library("pydata-sphinx-theme", [theme_scripts() / "fontawesome.js"], "CC BY 4.0"),
    }


def digest_of(folder: Path) -> str:
    """Return the SHA-256 of all files below a folder and of their names."""
    return hashlib.sha256(json.dumps(state.sums(folder)).encode()).hexdigest()


def collect_vendor_files() -> None:
    """Make what third parties give to the published pages, from their packages, if it is not there whole in these versions."""
    inputs = [
        "package-lock.json",
        "requirements.txt",
        "tools/build.py",
        "tools/widget_manager.js",
        "tools/plain_text.js",
        "tools/vendor.json",
    ]
    wanted = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in inputs)).hexdigest()
    stamp = ROOT / "_build" / "vendor.complete"
    if bootstrap.is_done(str(stamp), f"{wanted} {digest_of(VENDOR)}"):
        return
    shutil.rmtree(VENDOR, ignore_errors=True)
    VENDOR.mkdir(parents=True)
    libraries = vendor_libraries(VENDOR)
    vendor.verify(libraries, json.loads(vendor.LIST.read_text(encoding="utf-8")))
    shutil.copy(vendor.LIST, VENDOR / "libraries.json")
    bootstrap.mark_done(str(stamp), f"{wanted} {digest_of(VENDOR)}")


def missing_pages() -> list[str]:
    """Return which pages of the table of contents are not there, or empty."""
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    names = [contents["root"], *(entry["file"] for entry in contents.get("chapters", []))]
    pages = {name: ROOT / "_build" / "html" / f"{name}.html" for name in names}
    return [name for name, page in pages.items() if not page.is_file() or not page.stat().st_size]


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
    state.clean_up(strict=strict)
    with state.marked(strict=strict) as outcome:
        notebooks.sync()
        collect_vendor_files()
        code, lines = run_sphinx(strict=strict)
        if code and any("pickle" in line.lower() or line.startswith("EOFError") for line in lines):
            print("· what an earlier build left was damaged: everything but executed chapters is made anew", flush=True)
            state.remove_pages()
            code, lines = run_sphinx(strict=strict)
        if code == 0 and (missing := missing_pages()):
            code, lines = 1, [f"expected a page for each chapter, got none or an empty one of {', '.join(missing)}"]
            print(lines[0])
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
    sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment] # as above
    try:
        sys.exit(build(strict=parser.parse_args().strict))
    except vendor.VendorError as error:
        sys.exit(f"Build stopped: {error}.")
    except KeyboardInterrupt:
        sys.exit("\nInterrupted. Run make book again: chapters that were finished are not executed again.")


if __name__ == "__main__":
    main()
