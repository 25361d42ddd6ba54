"""Join a widget's JavaScript with the maths it imports into the one module that anywidget ships.

A published page has no folder from which a widget could import, so `import … from "./maths.js"` is replaced by that file.
The sources stay ordinary ES modules, which Node tests and editors understand.
"""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./(?P<name>[\w-]+\.js)";\n', flags=re.MULTILINE)
_MODULE_SYNTAX = re.compile(r"^\s*(?:import\b|export\b).*", flags=re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?function\*? |const |class )", flags=re.MULTILINE)


def bundle(name: str) -> str:
    """Return a widget's module with its imports put in place, each once.

    Parameters
    ----------
    name
        A .js file beside this one.

    Returns
    -------
    str
        One ES module without imports.

    Raises
    ------
    ValueError
        If an import or export has a form that is not understood here, files import each other in a ring, or the text could break
        out of a script element of a page, where its state is embedded.
    """
    parts: dict[str, str] = {}
    _collect(name, parts)
    own = parts.pop(name)
    maths = "\n".join(_EXPORT.sub("", part) for part in parts.values())
    if left := _MODULE_SYNTAX.search(maths) or re.search(r"^\s*import\b.*", own, flags=re.MULTILINE):
        raise ValueError(
            f'{name}: expected import {{ … }} from "./file.js"; and export before a declaration, got {left[0].strip()!r}'
        )
    text = f"{maths}\n{own}" if maths else own
    if re.search("<!--|</?script", text, flags=re.IGNORECASE):
        raise ValueError(f"{name}: expected JavaScript without '<!--' and '<script', which end or change a page's script element")
    return text


def _collect(name: str, parts: dict[str, str], open_files: tuple[str, ...] = ()) -> None:
    """Add a file's text without its imports to `parts`, after the files that it imports."""
    if name in open_files:
        raise ValueError(f"{name}: expected no ring of imports, got {' → '.join((*open_files, name))}")
    source = (FOLDER / name).read_text(encoding="utf-8")
    for match in _IMPORT.finditer(source):
        if match["name"] not in parts:
            _collect(match["name"], parts, (*open_files, name))
    parts[name] = _IMPORT.sub("", source)
